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

from tests.data.conftest import picture
from tests.data.toy_encoder import OtherEncoder, ToyEncoder
from vlbench.data.stores.base import FixedFrames, fixed_frames
from vlbench.data.stores.extract import extract, extract_below
from vlbench.data.stores.own import FeatureStore
from vlbench.data.stores.published import open_store
from vlbench.errors import DataError, MissingError, RunFailed, UsageError


@pytest.fixture
def pictures(tmp_path) -> dict[str, Path]:
    """Five pictures by id."""
    return {f"p{n}": picture(tmp_path / f"pictures/p{n}.png", n * 40) for n in range(5)}


@pytest.fixture
def encoder() -> ToyEncoder:
    return ToyEncoder()


@pytest.fixture(autouse=True)
def two_at_once(monkeypatch) -> None:
    monkeypatch.setattr("vlbench.data.stores.extract.BATCH_SIZE", 2)


def test_a_run_extracts_features_once_with_progress(encoder, pictures) -> None:
    calls: list[tuple[int, int]] = []
    store = extract(encoder, pictures, progress=lambda *at: calls.append(at))
    assert calls == [(0, 5), (2, 5), (4, 5), (5, 5)]
    assert list(store.ids) == sorted(pictures)
    assert store.identity == {"name": "toy", "hash": "abc", "tokens": 3, "width": 2}
    assert store.get(["p2"])[0][:, 0].tolist() == [80, 175, 7]
    assert extract(encoder, pictures).path == store.path
    assert encoder.seen == 5
    encoder.hash = "other"
    extract(encoder, pictures)
    os.utime(pictures["p0"], ns=(1, 1))
    extract(encoder, pictures)
    assert encoder.seen == 15


def test_an_encoder_of_another_shape_or_beyond_float16_is_refused(encoder, pictures) -> None:
    class Loud(ToyEncoder):
        def encode(self, images):
            return super().encode(images) * 1e4

    with pytest.raises(RunFailed, match="features of p0 are not finite in float16"):
        extract(Loud(), pictures)
    encoder.tokens = 4
    with pytest.raises(RunFailed, match=r"should be \(2, 4, 2\), found \(2, 3, 2\)"):
        extract(encoder, pictures)


def test_the_fingerprint_depends_on_pixels_and_encoder_only(encoder, pictures, tmp_path) -> None:
    first = extract(encoder, pictures)
    moved = {name: path.rename(tmp_path / f"{name}.png") for name, path in pictures.items()}
    ids = ["p0", "p1"]
    second = extract(encoder, moved).fingerprint([*ids, "p0"])
    assert first.fingerprint(ids) == second != first.fingerprint(["p0"])
    encoder.hash = "other"
    assert extract(encoder, moved).fingerprint(ids) != second


def test_processes_that_extract_at_once_agree_on_one_store(encoder, pictures, cache) -> None:
    with get_context("fork").Pool(3) as pool:
        stores = pool.starmap(extract, [(encoder, pictures)] * 3)
    assert len({store.path for store in stores}) == 1
    assert np.isfinite(FeatureStore(stores[0].path).get(sorted(pictures))).all()


SLOW = """
import sys, time
from pathlib import Path
from tests.data.toy_encoder import ToyEncoder
from vlbench.data.stores import extract

class Slow(ToyEncoder):
    def encode_frames(self, images):
        time.sleep(0.05)
        return super().encode_frames(images)

extract.BATCH_SIZE = 2
images, store, is_video = *map(Path, sys.argv[1:3]), bool(sys.argv[3:])
extract.extract_below(Slow(), images, store, is_video, lambda *_: None, print)
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


def run(images, store, is_video=False, encoder=None) -> FeatureStore:
    return extract_below(
        encoder or ToyEncoder(), images, store, is_video, lambda *_: None, lambda _: None
    )


def files(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.iterdir() if path.name != "lock"}


def test_pictures_and_clips_become_a_store_of_our_own(folder, clips, tmp_path) -> None:
    store = run(folder, tmp_path / "s")
    assert sorted(files(tmp_path / "s")) == [*(f"{n:06}.npy" for n in range(4)), "index.jsonl"]
    assert list(store.ids) == [f"p{number}" for number in range(8)]
    assert store.load("p2").tolist() == [[60, 20], [195, 65], [7, np.float16(7 / 3)]]
    assert open_store(tmp_path / "s").encoder == "toy"
    stored = run(clips, tmp_path / "t", is_video=True)
    assert stored.encoder == "toy" and stored.load("a")[:, 0].tolist() == [0, 40, 80]
    fixed = FixedFrames(stored, 3)
    array = fixed.get(["c", "-b_1"])
    assert array.shape == (2, 3, 3) and not array[1, 1:].any()
    assert array[0, -1].tolist() == stored.load("c")[3:].max(axis=0).tolist()
    assert fixed.missing(["a", "x"]) == ["x"] and (fixed.width, fixed.encoder) == (3, "toy")
    assert fixed.fingerprint(["a"]) == stored.fingerprint(["a"])


@pytest.mark.parametrize("is_video", [False, True])
def test_killed_and_started_again_the_store_has_the_same_bytes(
    is_video, folder, clips, tmp_path
) -> None:
    images = clips if is_video else folder
    run(images, tmp_path / "whole", is_video)
    store = tmp_path / "s"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, images, store, *["video"] * is_video],
        cwd=Path(__file__).parents[3],
    )
    deadline = time.monotonic() + 60
    while len(list(store.glob("*.npy"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    with pytest.raises(MissingError, match="is begun"):
        open_store(store)
    encoder = ToyEncoder()
    run(images, store, is_video, encoder)
    assert 0 < encoder.seen < (9 if is_video else 8)
    assert files(store) == files(tmp_path / "whole")


@pytest.fixture
def stopped(folder, tmp_path) -> Path:
    """A store of which four pictures are extracted."""

    class Stops(ToyEncoder):
        def encode(self, images):
            if self.seen == 4:
                raise KeyboardInterrupt
            return super().encode(images)

    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "s", encoder=Stops())
    return tmp_path / "s"


def test_a_shard_that_is_gone_and_a_torn_line_are_made_again(stopped, folder, tmp_path) -> None:
    (stopped / "000000.npy").unlink()
    with (stopped / "index.jsonl").open("a") as index:
        index.write('{"shard": 2, "ids": ["p4')
    encoder = ToyEncoder()
    store = run(folder, stopped, encoder=encoder)
    whole = run(folder, tmp_path / "whole")
    assert encoder.seen == 6 and sorted(store.ids) == list(whole.ids)
    assert np.array_equal(store.get(list(whole.ids)), whole.get(list(whole.ids)))
    (stopped / "000001.npy").unlink()
    assert len(run(folder, stopped, encoder=encoder).ids) == encoder.seen == 8


def test_another_encoder_and_changed_pictures_are_refused_whether_the_store_is_complete_or_not(
    stopped, folder, tmp_path
) -> None:
    for store in (stopped, run(folder, tmp_path / "whole").path):
        with pytest.raises(UsageError, match="there are features of another encoder"):
            run(folder, store, encoder=OtherEncoder())
    with pytest.raises(UsageError, match="something else is there already"):
        run(folder, folder)
    os.utime(folder / "1" / "p1.png", (1, 1))
    for store in (stopped, tmp_path / "whole"):
        with pytest.raises(UsageError, match="gone or have changed, such as p1"):
            run(folder, store)


def test_unreadable_pictures_hold_up_no_other_and_come_at_the_end(
    folder, clips, tmp_path, pictures
) -> None:
    broken = {name: (folder / name).read_bytes() for name in ("1/p1.png", "0/p6.png")}
    for name, content in broken.items():
        (folder / name).write_bytes(content[:50])
    with pytest.raises(DataError) as caught:
        run(folder, tmp_path / "s")
    text = str(caught.value)
    assert caught.value.exit_code == 3 and text.startswith("2 pictures or clips cannot be read")
    assert "p1.png" in text and "p6.png" in text and "p2.png" not in text
    for name, content in broken.items():
        (folder / name).write_bytes(content)
    encoder = ToyEncoder()
    store = run(folder, tmp_path / "s", encoder=encoder)
    assert encoder.seen == 2 and store.missing([f"p{n}" for n in range(8)]) == []
    (clips / "tv/c/002.png").write_bytes(b"none")
    with pytest.raises(DataError, match=r"1 pictures or clips cannot be read:\n.*c/002\.png"):
        run(clips, tmp_path / "t", is_video=True)
    pictures["p3"].unlink()
    with pytest.raises(DataError, match=r"p3.png: cannot be read: No such file"):
        extract(encoder, pictures)


def test_a_short_clip_ends_with_zeros_and_a_long_one_is_pooled_as_torch_pools_it() -> None:
    import torch

    for frames in (1, 63, 64, 65, 100, 128, 1000):
        features = np.random.default_rng(0).normal(size=(frames, 8)).astype(np.float32)
        expected = np.concatenate([features, np.zeros((max(0, 64 - frames), 8), np.float32)])
        if frames > 64:
            tensor = torch.from_numpy(features).T[None]
            expected = torch.nn.functional.adaptive_max_pool1d(tensor, 64)[0].T.numpy()
        np.testing.assert_array_equal(fixed_frames(features, 64), expected)
