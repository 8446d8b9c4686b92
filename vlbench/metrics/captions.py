"""COCO's caption scores: CIDEr-D, BLEU-1 to 4, ROUGE-L and METEOR, as pycocoevalcap gives them.

CIDEr weighs n-grams by how many images hold them, so every score depends on the whole set; on a
single image it is 0. What the references need is done once per set (`references.prepare`). SPICE,
which hardly anybody can run, is a matter of its own (`spice.py`).
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from pycocoevalcap.meteor import meteor as official

from vlbench.errors import DataError
from vlbench.metrics import rouge
from vlbench.metrics.java import java_command, java_environment, java_failed
from vlbench.metrics.ngrams import find_ngrams
from vlbench.metrics.ptb import tokenize
from vlbench.metrics.references import prepare
from vlbench.metrics.scored import Annotations, Predictions, Scored, check_ids

ONE_IMAGE = (
    "needs two images or more: an n-gram weighs by how many of them hold it; officially 0.00"
)
METEOR_OPTIONS = ("-", "-", "-stdio", "-l", "en", "-norm")
DYING_SECONDS = 5
"""How long a METEOR that broke off its answer is given to end by itself."""


@dataclass(frozen=True, slots=True)
class CaptionScores:
    """Metric -> value over all images, and metric -> image -> value: 0 to 1, CIDEr 0 to 10."""

    overall: dict[str, float]
    per_image: dict[str, dict[str, float]]
    undefined: dict[str, str]
    """Metric -> why its value says nothing of these captions."""


def score(annotations: Annotations, predictions: Predictions, meteor: bool = True) -> Scored:
    """All caption scores x 100; every annotation holds `captions`, its reference texts."""
    references = {}
    for image in check_ids(annotations, predictions):
        captions = annotations[image].get("captions")
        if not captions:
            raise DataError(f"Image {image}: the annotation has no captions.")
        references[image] = captions
    scores = evaluate(references, predictions, meteor)
    metrics = {name: 100 * value for name, value in scores.overall.items()}
    return Scored(metrics, scores.per_image["cider"], undefined=scores.undefined)


def score_without_meteor(annotations: Annotations, predictions: Predictions) -> Scored:
    """What `score` gives, without METEOR, which takes longer than all else together."""
    return score(annotations, predictions, meteor=False)


def evaluate(
    references: Mapping[str, Sequence[str]], candidates: Mapping[str, str], meteor: bool = True
) -> CaptionScores:
    """The scores of one candidate caption per image against the image's references."""
    with ExitStack() as stack:
        # METEOR's Java reads its tables for six seconds: it starts first and does so meanwhile.
        scorer = stack.enter_context(_meteor()) if meteor else None
        prepared = prepare(references)
        tokens = tokenize(candidates[image] for image in references)
        found = [find_ngrams(text, prepared.row_of) for text in tokens]
        bleu, bleus = prepared.bleu.score(found)
        scores: dict[str, tuple[float, Sequence[float]]] = {
            "cider": prepared.cider.score(found),
            **{f"bleu_{n}": (bleu[n - 1], bleus[n - 1]) for n in range(1, 5)},
            "rouge_l": rouge.score(prepared.tokens, tokens),
        }
        if scorer is not None:
            predicted = {image: [text] for image, text in zip(references, tokens, strict=True)}
            scores["meteor"] = scorer.compute_score(prepared.tokens, predicted)
    return CaptionScores(
        {name: float(overall) for name, (overall, _) in scores.items()},
        {
            name: {image: float(each) for image, each in zip(references, values, strict=True)}
            for name, (_, values) in scores.items()
        },
        {"cider": ONE_IMAGE} if len(tokens) == 1 else {},
    )


_shared: list[tuple[ExitStack, list[Any]]] = []
"""Blocks within which evaluations share one METEOR: what ends it, and METEOR once it runs."""


@contextmanager
def one_meteor(at_once: bool = False) -> Iterator[None]:
    """Evaluations within the block share a METEOR, which starts with the first of them, or at once.

    At once, it reads its tables while the answers to score are still to come.
    """
    with ExitStack() as ends:
        _shared.append((ends, [ends.enter_context(running_meteor())] if at_once else []))
        try:
            yield
        finally:
            _shared.pop()


@contextmanager
def _meteor() -> Iterator[Any]:
    """The METEOR of the block around, else one for this evaluation alone."""
    if not _shared:
        with running_meteor() as scorer:
            yield scorer
        return
    ends, running = _shared[-1]
    if not running:
        running.append(ends.enter_context(running_meteor()))
    yield running[0]


@contextmanager
def running_meteor() -> Iterator[Any]:
    """METEOR 1.5 in a Java of its own, ended afterwards; it can score several sets."""
    scorer = official.Meteor.__new__(official.Meteor)  # its __init__ starts Java as PATH has it
    scorer.lock = Lock()
    scorer.meteor_p = subprocess.Popen(
        java_command("-Xmx2G", "-jar", official.METEOR_JAR, *METEOR_OPTIONS),
        cwd=Path(official.__file__).parent,
        env=java_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield scorer
    except (OSError, ValueError) as error:
        if scorer.lock.locked():  # it failed while it was scoring
            raise java_failed("METEOR", *_end(scorer)) from error
        raise
    finally:
        _end(scorer)


def _end(scorer: Any) -> tuple[int | None, bytes]:
    """Stop METEOR's Java, close its pipes; return the code it had ended with, and its stderr.

    After a failure the wrapper still holds its own lock and would wait for it for ever at its end.
    """
    process, code = scorer.meteor_p, None
    if scorer.lock.locked():
        scorer.lock.release()
        with suppress(subprocess.TimeoutExpired):
            code = process.wait(DYING_SECONDS)
    with suppress(OSError):
        process.stdin.close()
    process.kill()
    said = b"" if process.stderr.closed else process.stderr.read()
    process.stdout.close()
    process.stderr.close()
    process.wait()
    return code, said
