"""`python -m bench`, and the command recurrent-bench: see bench.cli."""

from bench.startup import prepare_process


def main() -> None:
    """Run the command line in `sys.argv`."""
    prepare_process()
    from bench.cli import main as run_command  # not before: it imports conf, which must be ours

    run_command()


if __name__ == "__main__":
    main()
