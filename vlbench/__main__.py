"""The `vlbench` command, also as `python -m vlbench`."""

from __future__ import annotations

import sys

from vlbench.process import collect_rarely, guard_output, isolate


def main() -> None:
    """Run the command line; Ctrl-C and SIGTERM end it quietly, also while it is being imported."""
    isolate()
    import signal

    from vlbench.errors import INTERRUPTED

    collect_rarely()
    guard_output()
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        from vlbench.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:  # a command that has done its work ends with its own code, whatever signal comes
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if sys.stdout is not None:
            sys.stdout.flush()  # while an error still has an exit code


if __name__ == "__main__":
    main()
