"""`python -m reports`: write the report of stored sweeps, list them, show a run."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

# What each command is called with, and what it does; the first one has no name.
COMMANDS = {
    "": (
        "results/NAME [...] [--output DIR] [--html] [--latex] [--tables]",
        "Write the report of one or several stored sweeps. Other commands: list, show, dashboard, each with --help.",
    ),
    "list": ("list [RESULTS]", "List the stored sweeps of a folder."),
    "show": (
        "show RUN_ID [--results RESULTS]",
        "Show what is stored of a run: outcome, evaluations, settings and the command that repeats it.",
    ),
    "dashboard": (
        "dashboard results/NAME [--dry-run] [--project NAME] [--entity NAME]",
        "Create or update a sweep's workspace and report in W&B.",
    ),
}


def main() -> None:
    """Run the command line in `sys.argv`."""
    sys.path.insert(0, str(Path(__file__).parents[1]))  # where `bench` is ours, whatever the working directory has
    from bench.startup import prepare_process

    prepare_process()
    from bench.record.errors import ConfigError, explain_memory, explain_os, printable
    from bench.record.files import Damaged
    from reports.isolation import isolated
    from reports.load import LoadError

    words = sys.argv[1:]
    command = {"list": _list, "show": _show, "dashboard": _dashboard}.get(words[0] if words else "", _write)
    try:
        with isolated():
            said = command(words)
        print("\n".join(map(printable, said.split("\n"))), flush=True)
    except (LoadError, ConfigError, Damaged, OSError) as error:
        reason = explain_os(error) if isinstance(error, OSError) else str(error)
        print(f"error: {printable(reason)}", file=sys.stderr)
        raise SystemExit(2) from None
    except MemoryError as error:
        print(f"error: {explain_memory(error)}", file=sys.stderr)
        raise SystemExit(2) from None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        from bench.record.errors import ConfigError

        raise ConfigError(f"{message}; `{self.prog} --help` shows what is possible")


def _parser(command: str, *arguments: tuple[str, dict[str, Any]]) -> Callable[[Sequence[str]], argparse.Namespace]:
    usage, description = COMMANDS[command]
    program = f"python -m reports {command}".strip()
    parser = _Parser(prog=program, usage=f"python -m reports {usage}", description=description)
    for name, options in arguments:
        parser.add_argument(name, **options)
    return parser.parse_args


def _write(words: Sequence[str]) -> str:
    from bench.record.errors import ConfigError

    arguments = _parser(
        "",
        ("folders", {"nargs": "+", "type": Path, "metavar": "results/NAME", "help": "a sweep's folder"}),
        ("--output", {"type": Path, "metavar": "DIR", "help": "output folder (default: report/ in the first)"}),
        ("--html", {"action": "store_true", "help": "also write a page to explore, in one file"}),
        ("--latex", {"action": "store_true", "help": "also write tables and figures for a paper, in latex/"}),
        (
            "--tables",
            {"action": "store_true", "help": "also write the tables that the report is made from, to publish"},
        ),
    )(words)
    for folder in arguments.folders:
        if not folder.is_dir():
            raise _missing(folder)
    if arguments.tables and (len(arguments.folders) > 1 or not arguments.output):
        raise ConfigError("--tables: give one sweep, and --output with the folder for its report and tables")
    from reports.archive import write_tables
    from reports.latex import FOLDER, write_latex
    from reports.page import write_page
    from reports.report import write_report

    if arguments.tables:
        write_tables(arguments.folders[0], arguments.output)
        arguments.folders = [arguments.output]  # so that the report is of what is there for others to read
    report = write_report(arguments.folders, arguments.output, FOLDER if arguments.latex else "")
    paths = [report.path]
    paths += [write_page(report.path, report.stored)] if arguments.html else []
    paths += [write_latex(report.path)] if arguments.latex else []
    return "\n".join(map(str, paths))


def _missing(folder: Path) -> Exception:
    """Return the error of a sweep's folder that is not there, with the sweep or command of a name like it."""
    from difflib import get_close_matches

    from reports.load import LoadError

    near = {path.name: str(path) for parent in (Path("results"), folder.parent) for path in parent.glob("*/")}
    commands = {name: f"python -m reports {name}" for name in COMMANDS if name and len(folder.parts) == 1}
    alike = get_close_matches(folder.name, {**near, **commands}, n=1)
    return LoadError(f"{folder}: no such folder{f'; did you mean {(near | commands)[alike[0]]}?' if alike else ''}")


def _list(words: Sequence[str]) -> str:
    arguments = _parser(
        "list",
        (
            "results",
            {"nargs": "?", "type": Path, "default": Path("results"), "help": "folder of sweeps (default: results)"},
        ),
    )(words[1:])
    from reports.listing import list_sweeps

    return list_sweeps(arguments.results)


def _show(words: Sequence[str]) -> str:
    arguments = _parser(
        "show",
        ("run_id", {"metavar": "RUN_ID", "help": "a run's id, or how it begins"}),
        ("--results", {"type": Path, "default": Path("results"), "help": "folder of sweeps (default: results)"}),
    )(words[1:])
    from reports.listing import show_run

    return show_run(arguments.results, arguments.run_id)


def _dashboard(words: Sequence[str]) -> str:
    arguments = _parser(
        "dashboard",
        ("folder", {"type": Path, "metavar": "results/NAME", "help": "a sweep's folder"}),
        ("--dry-run", {"action": "store_true", "help": "print what would be created, without a network"}),
        ("--project", {"help": "W&B project (default: the project of the runs)"}),
        ("--entity", {"help": "W&B user or team (default: that of the runs, or the owner of the key)"}),
    )(words[1:])
    from bench.record.errors import ConfigError
    from reports.load import load
    from reports.report import summarize

    try:
        from reports.dashboard import build, describe, save, tracked_as
    except ModuleNotFoundError as error:
        raise ConfigError("dashboards need wandb-workspaces: pip install 'recurrent-bench[dashboard]'") from error
    content = summarize(load(arguments.folder), arguments.folder / "report")
    entity, project = tracked_as(arguments.folder)
    entity, project = arguments.entity or entity, arguments.project or project
    if arguments.dry_run:
        return describe(build(content, entity, project))
    return "\n".join(save(content, arguments.folder, entity, project))


if __name__ == "__main__":
    main()
