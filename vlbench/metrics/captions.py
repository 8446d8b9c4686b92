"""Caption scores of COCO and VALUE: CIDEr-D, BLEU-1 to 4, ROUGE-L, METEOR and SPICE.

All as pycocoevalcap gives them. CIDEr weighs n-grams by how many images hold them, so every score
depends on the whole set; on a single image it is 0. What the references need is done once per set.
VALUE's tasks (TVC, YC2C) replace every character outside ASCII with a space, on both sides.

Tokens are those of Stanford's PTBTokenizer without punctuation. pycocoevalcap's wrapper is not
used: it writes into its own folder (fails in a read-only install), lets Java's notes through to the
terminal and, when a caption holds a carriage return or U+2028, shifts all later ones to the wrong
image.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

import numpy as np
import pycocoevalcap
from pycocoevalcap.bleu.bleu_scorer import BleuScorer, cook_refs, cook_test
from pycocoevalcap.meteor import meteor as official
from pycocoevalcap.tokenizer import ptbtokenizer

from vlbench.errors import DataError, MissingError, RunFailed
from vlbench.files import cache_folder, write_atomically
from vlbench.metrics import Annotations, Predictions, Scored, check_ids
from vlbench.metrics.cider import CiderD, N
from vlbench.metrics.java import java_command, java_environment, java_failed, run_java

ONE_IMAGE = (
    "needs two images or more: an n-gram weighs by how many of them hold it; officially 0.00"
)
PTB_JAR = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
DROPPED = frozenset(ptbtokenizer.PUNCTUATIONS)
LINE_BREAK = re.compile(r"[\n\r\v\f\u2028\u2029]")
"""What ends a line for the tokenizer; other space stays, as it can change tokens ("5 1/2")."""
BETA = 1.2
"""Weight of recall in ROUGE-L."""
METEOR_OPTIONS = ("-", "-", "-stdio", "-l", "en", "-norm")
DYING_SECONDS = 5
"""How long a METEOR that broke off its answer is given to end by itself."""
SPICE_FOLDER = Path(next(iter(pycocoevalcap.__path__))) / "spice"
SPICE_MODELS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
SPICE_OPEN = "--add-opens java.base/java.lang=ALL-UNNAMED"
"""For Java 16 and newer; older ones do not read that variable or need not."""
KEPT_SETS = 4
"""Sets of references kept in this process: the captions of a suite's val and test."""
KEPT_FILES = 16
"""Sets of references whose tokens are kept in the cache folder; one of COCO takes 1.5 MB."""


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
    """`score` without METEOR, which takes longer than all else together."""
    return score(annotations, predictions, meteor=False)


def score_value(annotations: Annotations, predictions: Predictions, meteor: bool = True) -> Scored:
    """`score` of captions in ASCII, as VALUE scores them."""
    return score(ascii_captions(annotations), ascii_texts(predictions), meteor)


def score_value_without_meteor(annotations: Annotations, predictions: Predictions) -> Scored:
    """`score_value` without METEOR."""
    return score_value(annotations, predictions, meteor=False)


def ascii_texts(texts: Mapping[str, str]) -> dict[str, str]:
    """The texts with one space for each character outside ASCII."""
    return {name: re.sub(r"[^\x00-\x7f]", " ", text) for name, text in texts.items()}


def ascii_captions(annotations: Annotations) -> dict[str, dict[str, Any]]:
    """The annotations with their `captions` in ASCII."""
    return {
        image: {
            **record,
            "captions": [re.sub(r"[^\x00-\x7f]", " ", text) for text in record.get("captions", ())],
        }
        for image, record in annotations.items()
    }


def evaluate(
    references: Mapping[str, Sequence[str]], candidates: Mapping[str, str], meteor: bool = True
) -> CaptionScores:
    """The scores of one candidate caption per image against the image's references."""
    with ExitStack() as stack:
        # METEOR's Java reads its tables for six seconds: it starts first and does so meanwhile.
        scorer = stack.enter_context(_meteor()) if meteor else None
        prepared = prepare(references)
        tokens = tokenize(candidates[image] for image in references)
        predicted = {image: [text] for image, text in zip(references, tokens, strict=True)}
        bleu, bleus = prepared.bleu(tokens)
        scores: dict[str, tuple[float, Sequence[float]]] = {
            "cider": prepared.cider.score(tokens),
            **{f"bleu_{n}": (bleu[n - 1], bleus[n - 1]) for n in range(1, N + 1)},
            "rouge_l": rouge_l(prepared.tokens, tokens),
        }
        if scorer is not None:
            scores["meteor"] = scorer.compute_score(prepared.tokens, predicted)
    return CaptionScores(
        {name: float(overall) for name, (overall, _) in scores.items()},
        {
            name: {image: float(value) for image, value in zip(references, values, strict=True)}
            for name, (_, values) in scores.items()
        },
        {"cider": ONE_IMAGE} if len(tokens) == 1 else {},
    )


def rouge_l(
    references: Mapping[str, Sequence[str]], candidates: Sequence[str]
) -> tuple[float, list[float]]:
    """ROUGE-L as pycocoevalcap's, beta 1.2, bit for bit: the mean, and each image's F-score.

    Precision and recall are the best over the references, each by itself. Words are split at single
    spaces, so that an empty caption is one empty word. The longest common subsequence comes a row
    of its table at a time (Hyyrö, 2004), ten times as fast as there: bits of `row` that are off
    tell where the length grows along the candidate, whose words' positions are bits too.
    """
    scores = []
    for candidate, texts in zip(candidates, references.values(), strict=True):
        words = candidate.split(" ")
        positions: dict[str, int] = {}
        for number, word in enumerate(words):
            positions[word] = positions.get(word, 0) | 1 << number
        every = (1 << len(words)) - 1
        precision = recall = 0.0
        for others in (text.split(" ") for text in texts):
            row = every
            for word in others:
                matched = row & positions.get(word, 0)
                row = ((row + matched) | (row - matched)) & every
            common = len(words) - row.bit_count()
            precision = max(precision, common / len(words))
            recall = max(recall, common / len(others))
        both = recall + BETA**2 * precision
        scores.append((1 + BETA**2) * precision * recall / both if both else 0.0)
    return float(np.mean(np.array(scores))), scores


def spice(
    references: Mapping[str, Sequence[str]], candidates: Mapping[str, str]
) -> dict[str, float]:
    """Image -> F-score of SPICE (Anderson et al., 2016), 0 to 1.

    Its models (384 MB) are not part of pycocoevalcap and are never downloaded here: without them a
    MissingError.
    """
    absent = [name for name in SPICE_MODELS if not (SPICE_FOLDER / "lib" / name).is_file()]
    if absent:
        raise MissingError(
            f"not available: its models are not in {SPICE_FOLDER.name}/lib: {absent[0]}"
        )
    texts = tokenize(candidates[image] for image in references)
    items = [
        {"image_id": image, "test": text, "refs": refs}
        for (image, refs), text in zip(prepare(references).tokens.items(), texts, strict=True)
    ]
    with TemporaryDirectory() as folder:
        (Path(folder) / "in.json").write_text(json.dumps(items), encoding="utf-8")
        run_java(
            "SPICE",
            *("-Xmx8G", "-jar", "spice-1.0.jar", f"{folder}/in.json", "-cache", f"{folder}/cache"),
            *("-out", f"{folder}/out.json", "-subset", "-silent"),
            cwd=SPICE_FOLDER,
            JDK_JAVA_OPTIONS=SPICE_OPEN,
        )
        results = json.loads((Path(folder) / "out.json").read_text(encoding="utf-8"))
    scores = {result["image_id"]: result["scores"]["All"]["f"] for result in results}
    empty = [image for image, value in scores.items() if value is None]
    if empty:
        raise RunFailed(f"SPICE gives no score for image {empty[0]}")
    return {image: float(scores[image]) for image in references}


def tokenize(captions: Iterable[str]) -> list[str]:
    """One string of tokens per caption, separated by single spaces; one start of Java for all."""
    lines = [LINE_BREAK.sub(" ", caption) for caption in captions]
    stdout = run_java(
        "PTBTokenizer",
        *("-cp", str(PTB_JAR), "edu.stanford.nlp.process.PTBTokenizer"),
        *("-preserveLines", "-lowerCase"),
        stdin="".join(f"{line}\n" for line in lines).encode(errors="replace"),
    )
    out = stdout.decode(errors="replace").split("\n")[:-1]
    if len(out) != len(lines):
        fault = f"{len(out)} lines for {len(lines)} captions"
        raise java_failed("PTBTokenizer", 0, fault.encode())
    return [
        " ".join(token for token in line.rstrip().split(" ") if token not in DROPPED)
        for line in out
    ]


class References:
    """A set of reference captions ready for scoring: its tokens, and its n-grams."""

    def __init__(self, tokens: dict[str, list[str]]) -> None:
        """`tokens`: image -> the tokens of each of its references, single spaces between."""
        self.tokens = tokens
        self.cider = CiderD(list(tokens.values()))
        self._cooked = [cook_refs(texts, n=N) for texts in tokens.values()]

    def bleu(self, candidates: Sequence[str]) -> tuple[list[float], list[list[float]]]:
        """BLEU-1 to 4 over all images, and each of them image by image."""
        scorer = BleuScorer(n=N)
        pairs = zip(candidates, self._cooked, strict=True)
        scorer.ctest = [cook_test(text, refs, n=N) for text, refs in pairs]
        scorer.crefs = self._cooked
        bleu, bleus = scorer.compute_score(option="closest", verbose=0)
        return bleu, bleus


_recent: dict[str, References] = {}
"""What was used last, by content, for the evaluations of one training."""


def prepare(references: Mapping[str, Sequence[str]]) -> References:
    """The references made ready, in the given order; Java runs once per set of captions."""
    texts = [list(captions) for captions in references.values()]
    key = hashlib.sha256(json.dumps([_tokenizer_hash(), texts]).encode()).hexdigest()
    prepared = _recent.pop(key, None)
    if prepared is None or list(prepared.tokens) != list(references):
        lines = iter(_cached_tokens(key, [caption for captions in texts for caption in captions]))
        own = zip(references, texts, strict=True)
        prepared = References({image: [next(lines) for _ in captions] for image, captions in own})
    _recent[key] = prepared
    while len(_recent) > KEPT_SETS:
        del _recent[next(iter(_recent))]
    return prepared


@lru_cache(maxsize=1)
def _tokenizer_hash() -> str:
    """Hash of what tokens depend on besides the captions."""
    digest = hashlib.sha256(PTB_JAR.read_bytes())
    digest.update(json.dumps(sorted(DROPPED)).encode())
    return digest.hexdigest()


def _cached_tokens(key: str, captions: Sequence[str]) -> list[str]:
    """The captions' tokens from the cache folder, else from Java and then kept there.

    A file is named by the hash of the captions and begins with the hash of its lines: a damaged one
    is made again, and two processes that write at a time write the same.
    """
    try:
        path = cache_folder() / "references" / f"{key}.txt"
    except MissingError:  # nowhere to keep them: the scores are the same
        path = None
    if path is not None:
        with suppress(OSError, ValueError):
            checksum, _, text = path.read_bytes().decode().partition("\n")
            if checksum == hashlib.sha256(text.encode()).hexdigest():
                os.utime(path)
                return text.split("\n")
    lines = tokenize(captions)
    if not any(line.split() for line in lines):
        raise DataError("No reference caption holds a word.")
    if path is not None:
        text = "\n".join(lines)
        content = f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}".encode()
        with suppress(OSError):
            write_atomically(path, content)
            by_age = sorted(path.parent.glob("*.txt"), key=_last_used, reverse=True)
            for old in by_age[KEPT_FILES:]:
                old.unlink(missing_ok=True)
    return lines


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another process has just removed it
        return 0.0


_shared: list[tuple[ExitStack, list[Any]]] = []
"""Blocks within which evaluations share one METEOR: what ends it, and METEOR once it runs."""


@contextmanager
def one_meteor(at_once: bool = False) -> Iterator[None]:
    """Share a METEOR among the evaluations within the block, started by the first, or at once.

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
    stderr = b"" if process.stderr.closed else process.stderr.read()
    process.stdout.close()
    process.stderr.close()
    process.wait()
    return code, stderr
