"""`python -m bench`, and the command recurrent-bench: see bench.cli."""

import sys

from bench.startup import leave, prepare_process


def main() -> None:
    """Run the command line in `sys.argv`."""
    prepare_process()
    from bench.cli import main as run_command  # not before: it imports conf, which must be ours

    try:
        run_command()
    except SystemExit as end:
        if "torch" in sys.modules and isinstance(end.code, int):
            leave(end.code)
        raise


if __name__ == "__main__":
    main()
