"""A disk of our own, small enough to be filled, which can be made read-only."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOSPC
from pathlib import Path

SIZE_MB = 48
IN_OWN_NAMESPACE = "FAULTS_NAMESPACE"


def enter_namespace() -> None:
    """Start again where mounts are our own and end with us; return where the system forbids it."""
    if IN_OWN_NAMESPACE in os.environ:
        return
    environment = {**os.environ, IN_OWN_NAMESPACE: "1"}
    for options in (["-m"], ["-U", "-r", "-m"]):
        command = ["unshare", *options, "--propagation", "private"]
        if _works([*command, "mount", "-t", "tmpfs", "-o", "size=1m", "none", "/mnt"]):
            again = [*command, sys.executable, "-m", "faults", *sys.argv[1:]]
            os.execvpe(command[0], again, environment)


def _works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


class SmallDisk:
    """A tmpfs; there is one only in a namespace of our own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        options = f"size={SIZE_MB}m"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(path)], check=True)

    @contextmanager
    def full(self) -> Iterator[None]:
        """No byte is free while this lasts."""
        ballast = self.path / "ballast"
        with ballast.open("wb", buffering=0) as file:
            for size in (1 << 20, 4096):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError as error:
                    if error.errno != ENOSPC:
                        raise
        try:
            yield
        finally:
            ballast.unlink()

    @contextmanager
    def read_only(self, folder: Path) -> Iterator[None]:
        """Whoever opens something in the folder meets a read-only file system while this lasts.

        Files that are open stay writable, as the system refuses to take that away.
        """
        aside = self.path / "read-only"
        aside.mkdir()
        # It becomes so where nobody writes: a mount that something was opened in is busy.
        for words in (
            ("-o", "bind", str(folder), str(aside)),
            ("-o", "remount,bind,ro", str(aside)),
            ("--move", str(aside), str(folder)),
        ):
            subprocess.run(["mount", *words], check=True)
        aside.rmdir()
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)

    def remove(self) -> None:
        """Give the memory back."""
        subprocess.run(["umount", "-l", str(self.path)], check=True)
