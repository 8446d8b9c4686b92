"""SPICE (Anderson et al., 2016) of captions, where its models are: pycocoevalcap's jar, run by us.

The models (384 MB) are not part of the package and are never downloaded here. Java 16 and newer
must be told to open `java.lang` to the jar; older ones do not read that variable or need not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pycocoevalcap

from vlbench.errors import MissingError, RunFailed
from vlbench.metrics.java import run_java
from vlbench.metrics.ptb import tokenize
from vlbench.metrics.references import prepare

FOLDER = Path(next(iter(pycocoevalcap.__path__))) / "spice"
MODELS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
OPEN = "--add-opens java.base/java.lang=ALL-UNNAMED"


def score(
    references: Mapping[str, Sequence[str]], candidates: Mapping[str, str]
) -> dict[str, float]:
    """Image -> F-score, 0 to 1; a MissingError if the models are not there."""
    absent = [name for name in MODELS if not (FOLDER / "lib" / name).is_file()]
    if absent:
        raise MissingError(f"not available: its models are not in {FOLDER.name}/lib: {absent[0]}")
    texts = tokenize(candidates[image] for image in references)
    tokens = prepare(references).tokens
    items: list[dict[str, Any]] = [
        {"image_id": image, "test": text, "refs": tokens[image]}
        for image, text in zip(tokens, texts, strict=True)
    ]
    with TemporaryDirectory() as folder:
        return _run(Path(folder), items)


def _run(folder: Path, items: list[dict[str, Any]]) -> dict[str, float]:
    (folder / "in.json").write_text(json.dumps(items), encoding="utf-8")
    run_java(
        "SPICE",
        *("-Xmx8G", "-jar", "spice-1.0.jar", f"{folder}/in.json", "-cache", f"{folder}/cache"),
        *("-out", f"{folder}/out.json", "-subset", "-silent"),
        cwd=FOLDER,
        JDK_JAVA_OPTIONS=OPEN,
    )
    found = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    scores = {each["image_id"]: each["scores"]["All"]["f"] for each in found}
    empty = [image for image, value in scores.items() if value is None]
    if empty:
        raise RunFailed(f"SPICE gives no score for image {empty[0]}")
    return {str(item["image_id"]): float(scores[item["image_id"]]) for item in items}
