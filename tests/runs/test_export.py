"""Trained models as plain peft and plain transformers load them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from tests.backbones.families import BY_NAME, batch_of, load, rows_of, write_family
from tests.runs.builders import Bench, do, write_published_bart
from vlbench.backbones import find_backbone
from vlbench.errors import DataError, UsageError
from vlbench.runs.export import export
from vlbench.runs.folder import RunFolder
from vlbench.runs.model_card import license_of, model_card
from vlbench.runs.plan import Selection, plan
from vlbench.runs.spec import RunSpec
from vlbench.runs.trained import trained_model
from vlbench.verify.inputs import read_rows

NEAR = 1e-5
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")  # peft asks for it
RANK = ("params.rank=4", "params.biases=false")
QUICK = ("train.epochs=1", "train.batch_size=4", "train.learning_rate=1e-2")


def slow(method: str) -> Any:
    return pytest.param(method, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(BY_NAME["llava"], tmp_path_factory.mktemp("llava") / "tiny-llava")


def trained(bench: Bench, folder: Path, results: Path, method: str, *more: str) -> RunFolder:
    """A run on a chat model."""
    (spec,) = plan(
        Selection(
            methods=(method,),
            tasks="vqav2",
            backbone=str(folder),
            root=bench.root,
            settings=(*QUICK, *more),
            limit=4,
        )
    )
    return do(spec, results)


def written(run: RunFolder, what: str, out: Path, task: str | None = None) -> torch.Tensor:
    """Export the run; return its own logits of the families' rows."""
    spec = RunSpec.read(run.spec_file)
    export(spec, run.adapter, what, task, out)
    model = trained_model(spec, run.adapter)
    with torch.no_grad():
        return model.label_logits(batch_of(load("llava"), rows_of(load("llava")), "vqav2"))


def loaded_as_told(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that the instructions of a folder's model card bind, typed where it lies."""
    text = (folder / "README.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    patch.chdir(folder.parent)
    names: dict[str, Any] = {}
    exec(code, names)
    return names


def logits_of(language: Any) -> torch.Tensor:
    """Logits at the labels of the same rows, by the library alone."""
    backbone = load("llava")
    batch = batch_of(backbone, rows_of(backbone))
    with torch.no_grad():
        logits = language.eval()(**batch.tensors).logits
    return logits[:, :-1][batch.labels[:, 1:] != -100]


LORAS = {
    "shared-lora": ("lora", RANK),
    "peft-dora": ("peft", ("params.r=4", "train.norms=false")),
    "peft-lora": ("peft", ("params.r=4", 'params.target_modules=["query","feed_forward_in"]')),
}


@pytest.mark.parametrize("method", ["shared-lora", slow("peft-lora"), slow("peft-dora")])
def test_plain_peft_loads_an_adapter_with_equal_logits(
    bench: Bench, folder: Path, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained(bench, folder, tmp_path, method, *LORAS[method][1])
    expected = written(run, "peft", tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    base = AutoModelForImageTextToText.from_pretrained(config["base_model_name_or_path"])
    before = logits_of(base)
    model = loaded_as_told(tmp_path / "adapter", monkeypatch)["model"]
    torch.testing.assert_close(logits_of(model), expected, atol=NEAR, rtol=NEAR)
    assert not torch.allclose(before, expected, atol=1e-3)


@pytest.mark.parametrize(
    "method", ["peft-lora", "norms", *map(slow, ("shared-lora", "peft-dora", "full", "zero-shot"))]
)
def test_plain_transformers_loads_a_merged_folder_with_equal_logits(
    bench: Bench, folder: Path, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = LORAS[method][1] if method in LORAS else ()
    run = trained(bench, folder, tmp_path, method, *more)
    expected = written(run, "merged", tmp_path / "merged")
    names = loaded_as_told(tmp_path / "merged", monkeypatch)
    torch.testing.assert_close(logits_of(names["model"]), expected, atol=NEAR, rtol=NEAR)
    assert names["processor"].tokenizer


def test_an_encoder_decoder_s_language_model_is_exported_with_its_visual_embedding(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_published_bart(tmp_path / "bart", ["true false"])
    card = tmp_path / "mine.toml"
    card.write_text(
        'title = "Mine"\nkind = "bart"\nsource = "./bart"\n'
        'features.image = { encoder = "mini", width = 128, tokens = 16 }\n'
    )
    settings = (*QUICK, "params.rank=4")
    run = do(
        bench.spec("lora", backbone=str(card), backbone_path=None, settings=settings), tmp_path
    )
    spec = RunSpec.read(run.spec_file)
    with pytest.raises(UsageError, match=r"--task says whose \(vqav2, nlvr2\)"):
        export(spec, run.adapter, "merged", None, tmp_path / "out")
    model = trained_model(spec, run.adapter)
    ids = torch.tensor([[5, 6, 7, 2]])
    for task in spec.task_names:
        export(spec, run.adapter, "merged", task, tmp_path / task)
        export(spec, run.adapter, "peft", task, tmp_path / f"{task}-adapter")
        model.backbone.current_task.enter(task)
        adapter = loaded_as_told(tmp_path / f"{task}-adapter", monkeypatch)["model"].eval()
        names = loaded_as_told(tmp_path / task, monkeypatch)
        merged = names["model"].eval()
        assert names["tokenizer"]("true")["input_ids"]
        with torch.no_grad():
            expected = model.backbone.language(input_ids=ids, decoder_input_ids=ids).logits
            for language in (merged, adapter):
                logits = language(input_ids=ids, decoder_input_ids=ids).logits
                known = logits.shape[-1]  # without the tokens that vlbench adds
                torch.testing.assert_close(logits, expected[..., :known], atol=NEAR, rtol=NEAR)
        visual = load_file(tmp_path / f"{task}-adapter" / "visual.safetensors")
        for name, tensor in model.backbone.visual.state_dict().items():
            assert torch.equal(visual[name], tensor)
        assert torch.equal(visual["token_rows"], model.backbone.token_embedding[-16:])


def test_what_a_format_cannot_hold_is_refused(bench: Bench, folder: Path, tmp_path: Path) -> None:
    run = do(bench.spec("shared-adapter"), tmp_path)
    spec = RunSpec.read(run.spec_file)
    for what, words in {
        "peft": "only LoRA is written, and this run used 'Adapter'",
        "merged": "'Adapter' adds layers",
    }.items():
        with pytest.raises(UsageError, match=words):
            export(spec, run.adapter, what, None, tmp_path / "out")
    with pytest.raises(UsageError, match=r"exists\. Name a new folder"):
        export(spec, run.adapter, "merged", None, run.path)
    with pytest.raises(DataError, match="are not those that the run read"):
        trained_model(spec.model_copy(update={"backbone_hash": "0" * 64}), run.adapter)

    saved = ("params.r=4", 'params.target_modules=["query"]', 'params.modules_to_save=["o_proj"]')
    run = trained(bench, folder, tmp_path, "peft-lora", *saved)
    spec = RunSpec.read(run.spec_file)
    with pytest.raises(UsageError, match="which an adapter of peft does not hold here"):
        export(spec, run.adapter, "peft", None, tmp_path / "out")
    with pytest.raises(UsageError, match="is beside the model's own weights"):
        export(spec, run.adapter, "merged", None, tmp_path / "out")
    ia3 = trained(bench, folder, tmp_path, "peft-ia3")
    with pytest.raises(UsageError, match="this run used 'IA3Config'"):
        export(RunSpec.read(ia3.spec_file), ia3.adapter, "peft", None, tmp_path / "out")
    run = do(bench.spec("lora", settings=(*QUICK, "params.rank=4")), tmp_path)
    with pytest.raises(UsageError, match="'mini-bart' is no model that transformers loads"):
        export(RunSpec.read(run.spec_file), run.adapter, "peft", "vqav2", tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob("*.tmp"))


@pytest.mark.slow
def test_what_started_from_weights_is_exported_with_them(
    bench: Bench, folder: Path, tmp_path: Path
) -> None:
    first = trained(bench, folder, tmp_path, "full")
    (spec,) = plan(
        Selection(
            methods=("shared-lora",),
            tasks="vqav2",
            backbone=str(folder),
            init=first.adapter,
            root=bench.root,
            settings=(*QUICK, *RANK),
            limit=4,
        )
    )
    run = do(spec, tmp_path)
    expected = written(run, "merged", tmp_path / "merged")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits_of(model), expected, atol=NEAR, rtol=NEAR)
    with pytest.raises(UsageError, match=r"the run began from adapter\.safetensors"):
        export(spec, run.adapter, "peft", None, tmp_path / "out")


def test_a_model_card_has_scores_data_and_the_licence_that_is_known(
    bench: Bench, finished: tuple[RunSpec, RunFolder], tmp_path: Path
) -> None:
    spec, run = finished
    rows = read_rows(run.result)
    text = model_card(spec, "merged", "vqav2", "mine", rows)
    data = ModelCard(text).data
    assert (data.license, data.library_name) == ("unknown", "transformers")  # a folder of its own
    main = next(row for row in rows if row["metric"] == "vqav2.accuracy" and not row["family"])
    assert f"| vqav2.accuracy | {main['value']:.2f} | {main['majority']:.2f} |" in text
    assert [result.metric_value for result in data.eval_results if result.dataset_type == "vqav2"]
    assert spec.data["nlvr2"][:12] in text and "The weights are those for VQAv2 (vqav2)." in text
    assert "Unknown: neither vlbench nor the files of `mini-bart` name the licence" in text
    assert "no result yet" in model_card(spec, "merged", "", "mine", [])

    own = spec.model_copy(update={"backbone_path": ""})
    known = {"mini-bart": "mit", "clip-bart": "apache-2.0", "clip-t5": "apache-2.0"}
    for name, license in known.items():
        assert license_of(find_backbone(name), own)[0] == license
    folder = tmp_path / "bart"
    write_published_bart(folder)
    theirs = find_backbone(str(folder))
    assert license_of(theirs, own) == ("unknown", "")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "license": "mpl-2.0"}))
    assert license_of(theirs, own)[0] == "mpl-2.0"
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# Theirs\n")
    assert license_of(theirs, own)[0] == "cc-by-nc-4.0"
    (folder / "README.md").write_text("---\nlicense: [\n---\n")
    assert license_of(theirs, own)[0] == "mpl-2.0"
