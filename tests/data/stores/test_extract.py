from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import picture
from tests.data.toy_encoder import OtherEncoder, ToyEncoder
from vlbench.data.stores.base import FixedFrames, fixed_frames
from vlbench.data.stores.extract import ClipEncoder, extract_store, store_for
from vlbench.data.stores.own import FeatureStore, partial_of
from vlbench.data.stores.published import open_store
from vlbench.errors import DataError, RunFailed, UsageError


@pytest.fixture
def pictures(tmp_path) -> dict[str, Path]:
    """Five pictures by id."""
    return {f"p{n}": picture(tmp_path / f"pictures/p{n}.png", n * 40) for n in range(5)}


@pytest.fixture
def encoder() -> ToyEncoder:
    return ToyEncoder()


def test_a_run_extracts_features_once_with_progress(encoder, pictures, cache) -> None:
    calls: list[tuple[int, int]] = []
    store = store_for(encoder, pictures, cache, 2, lambda *at: calls.append(at))
    assert calls == [(2, 5), (4, 5), (5, 5)]
    assert list(store.ids) == sorted(pictures)
    assert store.index["encoder"] == {"name": "toy", "hash": "abc", "tokens": 3, "width": 2}
    assert store.get(["p2"])[0][:, 0].tolist() == [80, 175, 7]
    assert store_for(encoder, pictures, cache).path == store.path
    store_for(encoder, dict(list(pictures.items())[:2]), cache)  # a store of more serves fewer
    assert encoder.seen == 5


def test_another_encoder_changed_pictures_and_damage_are_extracted_again(
    encoder, pictures, cache
) -> None:
    store = store_for(encoder, pictures, cache)
    (store.path / "index.json").write_text("{")
    assert store_for(encoder, pictures, cache).get(["p0"]).shape == (1, 3, 2)
    assert encoder.seen == 10
    encoder.hash = "other"
    store_for(encoder, pictures, cache)
    assert encoder.seen == 15
    os.utime(pictures["p0"], ns=(1, 1))
    store_for(encoder, pictures, cache)
    assert encoder.seen == 20


def test_unreadable_pictures_come_together_and_leave_no_store(encoder, pictures, cache) -> None:
    for name in ("p1", "p4"):
        pictures[name].write_bytes(pictures[name].read_bytes()[:60])
    with pytest.raises(DataError) as caught:
        store_for(encoder, pictures, cache, batch_size=1)
    assert caught.value.exit_code == 3
    assert [name in str(caught.value) for name in sorted(pictures)] == [0, 1, 0, 0, 1]
    assert encoder.seen == 1
    assert not [path for path in cache.rglob("*") if path.is_file()]
    pictures["p3"].unlink()
    with pytest.raises(DataError, match=r"p3.png: picture cannot be read: No such file"):
        store_for(encoder, pictures, cache)
    assert encoder.seen == 1


def test_an_encoder_of_another_shape_is_refused(encoder, pictures, cache) -> None:
    encoder.tokens = 4
    with pytest.raises(RunFailed, match=r"should be \(5, 4, 2\), found \(5, 3, 2\)"):
        store_for(encoder, pictures, cache)


def test_the_fingerprint_depends_on_pixels_and_encoder_only(encoder, pictures, tmp_path) -> None:
    first = store_for(encoder, pictures, tmp_path / "1")
    moved = {name: path.rename(tmp_path / f"{name}.png") for name, path in pictures.items()}
    second = store_for(encoder, moved, tmp_path / "2")
    ids = ["p0", "p1"]
    assert first.fingerprint(ids) == second.fingerprint([*ids, "p0"]) != first.fingerprint(["p0"])
    encoder.hash = "other"
    assert store_for(encoder, moved, tmp_path / "3").fingerprint(ids) != first.fingerprint(ids)


def _extract(encoder, pictures, cache, barrier) -> None:
    barrier.wait(20)
    store_for(encoder, pictures, cache)


def test_processes_that_extract_at_once_agree_on_one_store(encoder, pictures, cache) -> None:
    context = get_context("fork")
    barrier = context.Barrier(3)
    started = [
        context.Process(target=_extract, args=(encoder, pictures, cache, barrier)) for _ in range(3)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(30)
    assert [process.exitcode for process in started] == [0, 0, 0]
    [folder] = (cache / "features").glob("*/*")
    assert np.isfinite(FeatureStore(folder).get(sorted(pictures))).all()


SLOW = """
import sys, time
from pathlib import Path
from tests.data.toy_encoder import ToyEncoder
from vlbench.data.stores.extract import extract_store

class Slow(ToyEncoder):
    def encode_frames(self, images):
        time.sleep(0.05)
        return super().encode_frames(images)

images, store, kind = map(Path, sys.argv[1:])
extract_store(Slow(), images, store, kind.name, 1, lambda *_: None, print)
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    for number in range(8):
        picture(tmp_path / f"images/{number % 3}/p{number}.png", number * 30)
    return tmp_path / "images"


@pytest.fixture
def clips(tmp_path) -> Path:
    for clip, frames in (("a", 3), ("-b_1", 1), ("c", 5)):
        for frame in range(frames):
            picture(tmp_path / f"clips/tv/{clip}/{frame:03}.png", frame * 40)
    return tmp_path / "clips"


def run(images, store, kind="pictures", encoder=None, log=None, size=2, progress=lambda *_: None):
    log = [] if log is None else log
    return extract_store(encoder or ToyEncoder(), images, store, kind, size, progress, log.append)


def files(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(store.iterdir())}


def test_pictures_become_a_store_of_our_own(folder, tmp_path) -> None:
    calls: list[tuple[int, int]] = []
    store = run(folder, tmp_path / "s", size=3, progress=lambda *at: calls.append(at))
    assert calls == [(0, 8), (3, 8), (6, 8), (8, 8)]
    assert sorted(files(tmp_path / "s")) == ["features.npy", "index.json"]
    assert list(store.ids) == [f"p{number}" for number in range(8)]
    assert store.read("p2").tolist() == [[60, 20], [195, 65], [7, np.float16(7 / 3)]]
    assert open_store(tmp_path / "s").encoder == "toy"
    assert not partial_of(tmp_path / "s").exists()


def test_frames_become_archives_in_the_layout_of_value(clips, tmp_path) -> None:
    run(clips, tmp_path / "s", "frames")
    assert sorted(files(tmp_path / "s")) == ["-b_1.npz", "a.npz", "c.npz", "clips.json"]
    with np.load(tmp_path / "s" / "a.npz") as archive:
        assert archive["features"].dtype == np.float16
        assert archive["features"][:, 0].tolist() == [0, 40, 80]
    store = open_store(tmp_path / "s")
    assert store.encoder == "toy" and store.read("c").shape == (5, 3)


@pytest.mark.parametrize("kind", ["pictures", "frames"])
def test_killed_and_started_again_the_store_has_the_same_bytes(
    kind, folder, clips, tmp_path
) -> None:
    images = folder if kind == "pictures" else clips
    run(images, tmp_path / "whole", kind, size=1)
    store, partial = tmp_path / "s", partial_of(tmp_path / "s")
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, images, store, kind], cwd=Path(__file__).parents[3]
    )
    deadline = time.monotonic() + 60
    while not list(partial.glob("shard-*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not store.exists()
    log: list[str] = []
    encoder = ToyEncoder()
    run(images, store, kind, encoder, log, size=1)
    assert "going on behind" in log[0]
    assert 0 < encoder.seen < (8 if kind == "pictures" else 9)
    assert files(store) == files(tmp_path / "whole")


@pytest.mark.parametrize("full", ["shard-00000005.npz", "features.npy"])
def test_on_a_full_disk_nothing_is_lost(full, folder, tmp_path, monkeypatch) -> None:
    whole = files(run(folder, tmp_path / "whole", size=1).path)
    opened = Path.open

    def refuse(path, mode="r", *rest, **more):
        if full in path.name and "w" in mode:
            raise OSError(28, "No space left on device")
        return opened(path, mode, *rest, **more)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(RunFailed, match="s: cannot be written: No space left on device"):
        run(folder, tmp_path / "s", size=1)
    monkeypatch.undo()
    encoder = ToyEncoder()
    run(folder, tmp_path / "s", encoder=encoder, size=1)
    assert encoder.seen == (3 if "shard" in full else 0)
    assert files(tmp_path / "s") == whole


@pytest.fixture
def stopped(folder, tmp_path) -> Path:
    """A store of which five pictures are extracted."""

    class Stops(ToyEncoder):
        def encode(self, images):
            if self.seen == 5:
                raise KeyboardInterrupt
            return super().encode(images)

    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "s", encoder=Stops(), size=1)
    return tmp_path / "s"


@pytest.mark.parametrize("lost", [1, 4])
def test_a_damaged_shard_is_named_and_made_again(stopped, folder, tmp_path, lost: int) -> None:
    shard = partial_of(stopped) / f"shard-{lost:08}.npz"
    os.truncate(shard, 100)
    with pytest.raises(DataError, match=rf"{shard.name}: damaged: .*Delete it: it is made again"):
        run(folder, stopped)
    shard.unlink()
    encoder = ToyEncoder()
    store = run(folder, stopped, encoder=encoder)
    assert encoder.seen == 4
    whole = run(folder, tmp_path / "whole")
    assert sorted(store.ids) == list(whole.ids)
    assert np.array_equal(store.get(list(whole.ids)), whole.get(list(whole.ids)))
    partial_of(stopped).mkdir()  # as a kill leaves it right at the end
    assert len(run(folder, stopped).ids) == 8
    assert not partial_of(stopped).exists()


def test_another_encoder_or_changed_pictures_do_not_go_on(stopped, folder) -> None:
    with pytest.raises(UsageError, match=r"begun with .*'toy'.*, not with .*'other'.* Delete it"):
        run(folder, stopped, encoder=OtherEncoder())
    os.utime(folder / "1" / "p4.png", (1, 1))
    (folder / "0" / "p0.png").unlink()
    with pytest.raises(UsageError, match=r"2 of its pictures or clips are gone or .* p0"):
        run(folder, stopped)


def test_pictures_may_come_and_go_as_long_as_they_are_not_extracted(stopped, folder) -> None:
    (folder / "0" / "p6.png").unlink()
    picture(folder / "more" / "a.png")
    assert sorted(run(folder, stopped).ids) == ["a", "p0", "p1", "p2", "p3", "p4", "p5", "p7"]


def test_a_second_process_is_turned_away(stopped, folder) -> None:
    class Nested(ToyEncoder):
        def encode(self, images):
            with pytest.raises(UsageError, match="another process is at work"):
                run(folder, stopped)
            return super().encode(images)

    assert len(run(folder, stopped, encoder=Nested(), size=8).ids) == 8


def test_unreadable_pictures_hold_up_no_other_and_come_at_the_end(folder, clips, tmp_path) -> None:
    broken = {name: (folder / name).read_bytes() for name in ("1/p1.png", "0/p6.png")}
    for name, content in broken.items():
        (folder / name).write_bytes(content[:50])
    with pytest.raises(DataError) as caught:
        run(folder, tmp_path / "s", size=3)
    text = str(caught.value)
    assert caught.value.exit_code == 3 and text.startswith("2 of 8 pictures cannot be read:")
    assert "p1.png" in text and "p6.png" in text and "p2.png" not in text
    assert f"kept in {tmp_path / 's'}.partial" in text and not (tmp_path / "s").exists()
    for name, content in broken.items():
        (folder / name).write_bytes(content)
    encoder = ToyEncoder()
    store = run(folder, tmp_path / "s", encoder=encoder)
    assert encoder.seen == 2 and store.missing([f"p{n}" for n in range(8)]) == []
    (clips / "tv/c/002.png").write_bytes(b"none")
    with pytest.raises(DataError, match=r"1 of 3 clips cannot be read:\n.*tv/c/002\.png"):
        run(clips, tmp_path / "t", "frames")


def test_a_store_that_is_complete_stays_and_another_one_is_not_overwritten(
    folder, clips, tmp_path
) -> None:
    for kind, images in (("pictures", folder), ("frames", clips)):
        store, log, encoder = tmp_path / kind, [], ToyEncoder()
        run(images, store, kind)
        run(images, store, kind, encoder, log)
        assert encoder.seen == 0 and log == [f"{store}: complete already"]
        with pytest.raises(UsageError, match="of another encoder is there already"):
            run(images, store, kind, OtherEncoder())
    with pytest.raises(UsageError, match="something else is there already"):
        run(folder, tmp_path / "images")


def test_features_that_float16_cannot_hold_are_refused(folder, tmp_path) -> None:
    class Loud(ToyEncoder):
        def encode(self, images):
            return super().encode(images) * 1e4

    with pytest.raises(RunFailed, match="features of p0 are not finite in float16"):
        run(folder, tmp_path / "s", encoder=Loud())


RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("frames", [1, 63, 64])
def test_a_short_clip_ends_with_zeros(frames: int) -> None:
    features = RANDOM.normal(size=(frames, 8)).astype(np.float16)
    fixed = fixed_frames(features, 64)
    assert fixed.shape == (64, 8) and fixed.dtype == np.float16
    np.testing.assert_array_equal(fixed[:frames], features)
    assert not fixed[frames:].any()


@pytest.mark.parametrize("frames", [65, 100, 127, 128, 1000])
def test_a_long_clip_is_pooled_as_torch_pools_it(frames: int) -> None:
    import torch

    features = RANDOM.normal(size=(frames, 8)).astype(np.float32)
    pooled = torch.nn.functional.adaptive_max_pool1d(torch.from_numpy(features).T[None], 64)
    np.testing.assert_array_equal(fixed_frames(features, 64), pooled[0].T.numpy())


def test_clips_of_any_length_are_read_as_one_array(clips, tmp_path) -> None:
    stored = run(clips, tmp_path / "s", "frames")
    store = FixedFrames(stored, 3)
    array = store.get(["c", "-b_1"])
    assert array.shape == (2, 3, 3) and not array[1, 1:].any()
    assert array[0, -1].tolist() == stored.read("c")[3:].max(axis=0).tolist()
    assert store.missing(["a", "x"]) == ["x"] and (store.width, store.encoder) == (3, "toy")
    assert store.fingerprint(["a"]) == stored.fingerprint(["a"])


def test_a_clips_frames_are_encoded_one_by_one(encoder) -> None:
    clip_encoder = ClipEncoder(encoder, 2, batch_size=3)
    red, blue = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    np.testing.assert_array_equal(
        clip_encoder.encode([[red], [blue, red], [blue, blue, red, red]]),
        [[[255, 0, 0], [0, 0, 0]], [[0, 0, 255], [255, 0, 0]], [[0, 0, 255], [255, 0, 0]]],
    )
    assert (clip_encoder.tokens, clip_encoder.width, clip_encoder.name) == (2, 3, "toy-clips")
    with pytest.raises(UsageError, match="clips need encode_frames and frame_width"):
        ClipEncoder(type("Pictures", (), {"name": "pictures", "hash": ""}), 2)
