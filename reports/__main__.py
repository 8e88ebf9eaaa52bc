"""`python -m reports`: write the report of stored sweeps, list them, show a run."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

USAGE = """\
python -m reports results/NAME [...] [--output DIR] [--html]
                                                            write the report of one or several stored sweeps
       python -m reports list [RESULTS]                     the sweeps that are stored
       python -m reports show RUN_ID [--results RESULTS]    what is stored of a run, by its run_id or how that begins"""


def main() -> None:
    """Run the command line in `sys.argv`."""
    from bench.errors import ConfigError, explain_os, print_to_reader, printable
    from bench.files import Damaged
    from reports.load import LoadError

    words = sys.argv[1:]
    command = {"list": _list, "show": _show}.get(words[0] if words else "", _write)
    try:
        print_to_reader(command(words))
    except (LoadError, ConfigError, Damaged, OSError) as error:
        reason = explain_os(error) if isinstance(error, OSError) else str(error)
        print(f"error: {printable(reason)}", file=sys.stderr)
        raise SystemExit(2) from None


def _parser(*arguments: tuple[str, dict[str, object]]) -> Callable[[Sequence[str]], argparse.Namespace]:
    parser = argparse.ArgumentParser(prog="python -m reports", usage=USAGE)
    for name, options in arguments:
        parser.add_argument(name, **options)  # type: ignore[arg-type]
    return parser.parse_args


def _write(words: Sequence[str]) -> str:
    arguments = _parser(
        ("folders", {"nargs": "+", "type": Path, "metavar": "results/NAME", "help": "a sweep's folder"}),
        ("--output", {"type": Path, "metavar": "DIR", "help": "where to (default: report/ in the first folder)"}),
        ("--html", {"action": "store_true", "help": "as a page too: one file, its tables sort and filter"}),
    )(words)
    from reports.page import write_page
    from reports.report import write_report

    path = write_report(arguments.folders, arguments.output).path
    return f"{path}\n{write_page(path)}" if arguments.html else str(path)


def _list(words: Sequence[str]) -> str:
    arguments = _parser(("results", {"nargs": "?", "type": Path, "default": Path("results")}))(words[1:])
    from reports.listing import list_sweeps

    return list_sweeps(arguments.results)


def _show(words: Sequence[str]) -> str:
    arguments = _parser(
        ("run_id", {"metavar": "RUN_ID"}), ("--results", {"type": Path, "default": Path("results")})
    )(words[1:])  # fmt: skip
    from reports.listing import show_run

    return show_run(arguments.results, arguments.run_id)


if __name__ == "__main__":
    main()
