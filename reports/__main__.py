"""`python -m reports`: write the report of stored sweeps."""

import argparse
import sys
from pathlib import Path


def main() -> None:
    """Run the command line in `sys.argv`."""
    parser = argparse.ArgumentParser(
        prog="python -m reports", description="Write the report of one or several stored sweeps."
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="results/NAME", help="a sweep's folder")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where to (default: report/ in the first folder)")
    arguments = parser.parse_args()

    from bench.errors import ConfigError, explain_os, printable
    from reports.load import LoadError
    from reports.report import write_report

    try:
        print(write_report(arguments.folders, arguments.output).path)
    except (LoadError, ConfigError, OSError) as error:
        reason = explain_os(error) if isinstance(error, OSError) else str(error)
        print(f"error: {printable(reason)}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
