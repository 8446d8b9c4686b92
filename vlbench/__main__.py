"""The `vlbench` command, also as `python -m vlbench`."""

from __future__ import annotations

import sys

from vlbench.errors import INTERRUPTED
from vlbench.garbage import collect_rarely


def main() -> None:
    """Run the command line; an interrupt while it is still being imported ends quietly too."""
    collect_rarely()
    try:
        from vlbench.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
