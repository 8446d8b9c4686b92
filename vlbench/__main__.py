"""The `vlbench` command, also as `python -m vlbench`."""

from __future__ import annotations

import sys

from vlbench.process import AnswerLost, collect_rarely, flush_answer, guard_streams, isolate


def main() -> None:
    """Run the command line; Ctrl-C and SIGTERM end it quietly, also while it is being imported.

    Once it has ended they change nothing: Python takes its handlers away before its last moments,
    and a command that had done its work would end as a killed one.
    """
    isolate()
    import signal

    from vlbench.errors import INTERRUPTED, explain

    collect_rarely()
    guard_streams()
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            from vlbench.cli.app import main as run
        except (ImportError, MemoryError, OSError) as error:
            if (explained := explain(error)) is None:
                raise
            print(f"vlbench: {explained}", file=sys.stderr)
            sys.exit(explained.exit_code)
        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except AnswerLost as lost:
        sys.exit(lost.exit_code)
    finally:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        flush_answer()


if __name__ == "__main__":
    main()
