"""`vlbench predict` and `export`: a trained model asked about pictures, and for other programs."""

from __future__ import annotations

import json as jsonlib
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from vlbench import cli
from vlbench.cli import options as opt
from vlbench.errors import UsageError
from vlbench.files import check_out, write_out

if TYPE_CHECKING:
    from vlbench.runs.folder import RunFolder
    from vlbench.runs.spec import RunSpec

Format = StrEnum("Format", "MERGED PEFT ADAPTER")


def predict(
    run: str = opt.argument(
        ...,
        "A method (its best seed on validation), words such as 'lora seed 0', a key, or the folder "
        "of an exported adapter.",
    ),
    image: list[Path] | None = opt.option(
        None, "A picture, a clip's folder of frames, or a folder of these; repeatable."
    ),
    text: list[str] | None = opt.option(None, "What is asked of each picture; repeatable."),
    candidate: list[str] | None = opt.option(
        None, "An answer whose probability is wanted too; repeatable."
    ),
    questions: Path | None = opt.option(
        None, "JSON Lines of image (or images), text and more, in place of --image."
    ),
    task: str | None = opt.option(None, "Which of the run's tasks, where it has several."),
    device: str = opt.DEVICE,
    out: Path | None = opt.option(None, "Write the answers to this file, as JSON Lines."),
    outside_code: bool = opt.OUTSIDE_CODE,
    results: Path = opt.RESULTS,
    json: bool = opt.JSON,
) -> None:
    """Ask a trained model about pictures of your own.

    Prints each answer with the probabilities of its candidates.
    """
    if bool(image) == bool(questions):
        many = "leave one out." if image else "name pictures, or a file of JSON Lines."
        raise UsageError(f"--image or --questions: {many}")
    if questions and (text or candidate):
        raise UsageError(f"--text and --candidate: {questions} has them, line by line: leave out.")
    if out is not None:
        check_out(out)
        if questions and out.resolve() == questions.resolve():
            raise UsageError(f"--out {out}: is the file of the questions. Name another one.")
    from vlbench.data.questions import read_questions, typed_questions
    from vlbench.runs.predict import predict
    from vlbench.runs.trained import find_best_seed, task_named, weights_of

    folder = find_best_seed(results, run, task, cli.note)
    spec = _trusted(folder, outside_code)
    weights, name = weights_of(folder, spec), task_named(spec.task_names, task)
    card = next(card for card in spec.tasks if card.name == name)
    if questions:
        examples = read_questions(questions, card)
    else:
        examples = typed_questions(image or (), text or (), candidate or (), card)
    device = opt.torch_device(device)
    answers, seconds = predict(spec, weights, card, examples, device, cli.note)
    items = [
        {
            **{key: example.annotation[key] for key in ("id", "images", "text")},
            "answer": answers[example.id].answer,
            "candidates": answers[example.id].candidates,
        }
        for example in examples
    ]
    if out is not None:
        write_out(out, "".join(jsonlib.dumps(item) + "\n" for item in items))
    if json:
        cli.print_json("predict", items)
    elif out is None:
        rows = [
            [", ".join(map(str, item["images"])), item["text"], item["answer"], _shares(item)]
            for item in items
        ]
        cli.print_table(rows, ("picture", "text", "answer", "probability"))
    where = f" Written: {out}" if out else ""
    cli.note(
        f"{len(items):,} answers of {spec.name} to {name} in {seconds:.1f} s "
        f"({len(items) / seconds:,.0f} a second, pictures included).{where}"
    )


def _shares(item: dict[str, dict[str, float]]) -> str:
    """The probabilities, the highest first; of the answer alone without its name."""
    shares = sorted(item["candidates"].items(), key=lambda pair: -pair[1])
    names = len(shares) > 1
    return ", ".join(f"{name} {share:.3f}" if names else f"{share:.3f}" for name, share in shares)


def export(
    run: str = opt.argument(..., "The begin of a key, or words such as 'lora seed 0'."),
    out: Path = opt.option(..., "A new folder."),
    format: Format = opt.option(
        Format.MERGED,
        "merged: a transformers folder. peft: an adapter, of LoRA alone. adapter: what any method "
        "trained, for 'vlbench predict'.",
    ),
    task: str | None = opt.option(None, "Whose weights, where each task has its own."),
    outside_code: bool = opt.OUTSIDE_CODE,
    results: Path = opt.RESULTS,
) -> None:
    """Write a trained model for transformers, peft or vlbench."""
    from vlbench.runs import export as exporting
    from vlbench.runs.folder import find_run
    from vlbench.runs.trained import weights_of
    from vlbench.verify.inputs import read_rows

    folder = find_run(results, run)
    spec = _trusted(folder, outside_code)
    weights, rows = weights_of(folder, spec), read_rows(folder.result) if folder.is_done else []
    exporting.export(spec, weights, format.value, task, out, rows)
    cli.note(f"Written: {out}")


def _trusted(folder: RunFolder, outside_code: bool) -> RunSpec:
    """The spec of a run; UsageError where building its model needs code that is not allowed."""
    from vlbench.runs.spec import RunSpec
    from vlbench.verify.inputs import outside_names, refusal

    spec = RunSpec.read(folder.spec_file)
    if (code := outside_names(spec)) and not outside_code:
        raise UsageError(f"{folder.path}: its model {refusal(code)}.")
    return spec
