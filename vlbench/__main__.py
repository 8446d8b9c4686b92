"""`python -m vlbench` is the `vlbench` command."""

from vlbench.cli.app import main

if __name__ == "__main__":
    main()
