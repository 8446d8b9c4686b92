"""VQAv2 from `karpathy_{train,val,test}.json`, the files of VL-T5 and VL-Adapter.

They hold the targets of training. To be scored by, the ten answers are wanted: in the record where
it has `answers`, else in the official annotation file that the image's name tells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from vlbench.data.example import Example
from vlbench.data.faults import Faults, RecordFault
from vlbench.data.readers.authors_json import read_questions
from vlbench.data.readers.coco import FOLDERS, folder_of
from vlbench.data.readers.vqav2_answers import read_raw, require_answers
from vlbench.errors import MissingError


def read_karpathy(
    path: Path, annotation_file: Callable[[str], Path], faults: Faults, for_training: bool
) -> list[Example]:
    """The examples of the authors' file; `annotation_file` tells the official one of a folder."""
    examples: list[Example] = []
    without: dict[str, dict[int, int]] = {}
    """Folder -> question id -> place in `examples`, of those whose answers are elsewhere."""
    for where, example, record in read_questions(path, int, faults):
        with faults.of(path, where):
            family = str(record.get("question_type", ""))
            if for_training:
                examples.append(replace(example, family=family))
                continue
            if "answers" in record:
                require_answers(record)
            else:
                folder = folder_of(example.images[0])
                if folder not in FOLDERS:
                    raise RecordFault(
                        f"'img_id' should be COCO_val2014_..., found {example.images[0]}"
                    )
                without.setdefault(folder, {})[record["question_id"]] = len(examples)
            examples.append(replace(example, annotation=record, family=family))
    files = {annotation_file(folder): places for folder, places in without.items()}
    _require(files, path)
    for file, places in files.items():
        _add_answers(examples, places, file, faults)
    return examples


def _require(files: dict[Path, dict[int, int]], path: Path) -> None:
    missing = [file for file in files if not file.is_file()]
    if missing:
        shown = "".join(f"\n  {file}" for file in missing)
        raise MissingError(
            f"{path}: has no 'answers' to score by, only what training needs. The ten answers of "
            f"each question are in the official annotations; looked for:{shown}"
        )


def _add_answers(
    examples: list[Example], places: dict[int, int], file: Path, faults: Faults
) -> None:
    """Put the official annotations of these questions where they belong."""
    for question, record in read_raw(file, places, faults):
        place = places.pop(question)
        family = str(record.get("question_type", "")) or examples[place].family
        examples[place] = replace(examples[place], annotation=record, family=family)
    for question in places:
        faults.add(file, f"question {question}", "no annotation")
