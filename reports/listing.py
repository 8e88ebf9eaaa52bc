"""What is stored, for the terminal: sweeps of a results folder, and a single run."""

from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from bench.record.asked import read_asked, widest
from bench.record.columns import RESULT_TYPES
from bench.record.encoding import flat
from bench.record.errors import nearest, printable
from bench.record.frames import read_readable
from bench.record.records import FAILED
from bench.record.store import RunFolder, StoredRun
from reports import text
from reports.load import LoadError

MOST_NAMED = 4  # cells, tasks or seeds of a sweep
MOST_EVALUATIONS = 12  # of a run
TABLES = ("results.parquet", "timing.parquet")


def list_sweeps(results: Path) -> str:
    """Return a table of a results folder's sweeps: how many of their runs ended how, and of what they are.

    Raises:
        LoadError: no such folder, or no sweep in it.
    """
    if not results.is_dir():
        raise LoadError(f"{results}: no such folder")
    rows = [_sweep(folder) for folder in sorted(results.iterdir()) if _is_sweep(folder)]
    if not rows:
        raise LoadError(f"{results}: has no sweep; python -m bench +sweep=quick makes one")
    return _table(rows)


def show_run(results: Path, name: str) -> str:
    """Return what is stored of a run: its outcome, evaluations, settings, and the command that repeats it.

    Args:
        name: its run_id, or how that begins.

    Raises:
        LoadError: no such run, or several.
        Damaged: it is not what was written.
    """
    folders = [path for path in results.glob("*/runs/*") if path.is_dir() and not path.is_symlink()]
    matching = [path for path in folders if path.name == name] or [
        path for path in folders if path.name.startswith(name)
    ]  # fmt: skip
    if not matching:
        raise LoadError(f"{name}: no such run in {results}.{nearest(name, {path.name for path in folders})}")
    if len(matching) > 1:
        some = ", ".join(str(path.relative_to(results)) for path in sorted(matching)[:MOST_NAMED])
        raise LoadError(f"{name}: {len(matching)} runs begin so, as {some}; give more of the name")
    folder = RunFolder(matching[0].parents[1], matching[0].name)
    run = folder.read()
    if run is None:
        record = folder.read_progress()
        at = f", at step {record.step:,}" if record else ""
        return f"{matching[0].name}: not finished{at}; its sweep's command continues it\n{folder.path}"
    return _describe(folder, run)


def _is_sweep(folder: Path) -> bool:
    return folder.is_dir() and ((folder / "runs").is_dir() or any((folder / name).is_file() for name in TABLES))


def _sweep(folder: Path) -> dict[str, str]:
    begun = sum(path.is_dir() for path in folder.glob("runs/*"))
    unfinished = begun - sum(1 for _ in folder.glob("runs/*/result.json"))
    report = folder / "report" / "README.md"
    runs = read_readable(folder / "results.parquet", RESULT_TYPES, lambda _: None)
    return {
        "sweep": printable(folder.name),
        "runs": f"{max(begun, len(runs)):,}",
        "solved": f"{int(runs['solved'].sum()):,}" if len(runs) else "",
        "failed": f"{int(runs['status'].isin(FAILED).sum()) or ''}",
        "unfinished": f"{unfinished or ''}",
        **{f"{column}s": _some(runs[column]) for column in ("cell", "task", "seed")},
        "report": str(report) if report.exists() else "",
    }


def _some(values: "pd.Series[Any]") -> str:
    distinct = [printable(str(value)) for value in sorted(values.unique())]
    more = len(distinct) - MOST_NAMED
    return ", ".join(distinct[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _describe(folder: RunFolder, run: StoredRun) -> str:
    result, config = flat(run.result), run.config
    tested = result.get("test_loss") is not None  # and so there is nothing to solve
    status = f"{result['status']}: {result['error']}" if result.get("error") else str(result["status"])
    status = "ended" if tested and status == "unsolved" else status
    # What failed before it trained has a status and little else.
    outcome = {
        "status": printable(status),
        **({} if tested else {"solved at": _steps(result.get("steps_to_solve"))}),
        "trained for": _steps(result.get("steps")),
        "seconds": _number(result.get("seconds")),
        **({"test loss": _number(result.get("test_loss"))} if tested else {}),
        "final loss": _number(result.get("final_loss")),
        "loss without memory": _number(result.get("baseline_loss")),
        "parameters": text.count(result.get("parameters")),
        "a step takes, ms": _number(result.get("step_ms")),
        "computed by": f"{result.get('backend') or text.NONE} on {config['device']}",
    }
    settings = {
        f"{group}.{key}": printable(str(value))
        for group in ("cell", "task", "training")
        for key, value in config[group].items()
        if not key.startswith("_")
    }
    kept = run.metrics[:: max(1, -(-len(run.metrics) // MOST_EVALUATIONS))]
    kept += run.metrics[-1:] if run.metrics and kept[-1] is not run.metrics[-1] else []
    evaluations = [
        {
            "step": f"{record['step']:,}",
            "loss": _number(record.get("loss")),
            **{key.partition(".")[2]: _number(value) for key, value in record.items() if key.startswith("score.")},
        }
        for record in map(flat, kept)
    ]
    command = widest(read_asked(folder.path.parents[1]).commands)
    narrowed = f" cell={config['cell']['name']} task={config['task']['name']} seed={config['seed']}"
    parts = [
        f"{folder.path.name}, of sweep {printable(str(config['name']))}, seed {config['seed']}",
        *(tabulate(list(each.items()), tablefmt="plain", disable_numparse=True) for each in (outcome, settings)),
        _table(evaluations) if evaluations else "",
        f"Again: {printable(command)}{narrowed}" if command else "",
        str(folder.path),
    ]
    return "\n\n".join(filter(None, parts))


def _table(rows: list[dict[str, str]]) -> str:
    shown = [key for key in rows[0] if any(row.get(key) for row in rows)]
    return tabulate([[row.get(key, "") for key in shown] for row in rows], shown, "simple", disable_numparse=True)


def _steps(value: int | None) -> str:
    return text.NONE if value is None else f"{value:,} steps"


def _number(value: float | None) -> str:
    return text.NONE if value is None else f"{value:.4g}"
