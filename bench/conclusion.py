"""What follows the runs of a sweep: its cells are timed, its tables and its report written, its failures told."""

import shlex
import time
from contextlib import AbstractContextManager
from pathlib import Path

from bench.execute.leases import Lease, alone, leased
from bench.execute.plan import Plan
from bench.execute.progress import describe, tell
from bench.record.asked import COMMANDS_FILE
from bench.record.errors import printable
from bench.record.files import Damaged
from bench.record.records import FAILED
from bench.record.store import RunFolder
from bench.track.tracker import track_report

POLL_SECONDS = 1.0
MOST_TOLD = 10  # failed runs that are named; the report has all
ASKING = "asking"  # the lease on what is written down before the runs
CONCLUSION = "conclusion"  # the lease on what follows the runs; no run is called so


def conclude(plan: Plan, trained: bool) -> int:
    """Time the cells, gather the tables, write the report, and say what it answers and where it is.

    Args:
        trained: whether any run was taken just now.

    Returns:
        The exit code: 1 if any planned run failed or has no result, else 0.
    """
    from bench.execute.study import time_cells  # pandas: half a second
    from bench.record.frames import write_frames
    from reports.load import LoadError

    report = None
    with concluding(plan.sweep):
        # A single run has nothing beside it to be compared with.
        timed = len(plan.configs) > 1 or bool(plan.timed)
        timed = timed and plan.first.sweep.timing.enabled and time_cells(plan, _wait_for_quiet)
        if plan.configs:
            for reason in write_frames(plan.sweep):
                tell(f"left out: {reason}")
        try:
            from reports.report import write_report  # which fails where matplotlib does

            report = write_report([plan.sweep])
        except LoadError as error:
            tell(f"no report: {error}")
        else:
            if trained or timed:
                track_report(plan.first, plan.sweep, report.headline, report.step_times)
    failures = _tell_failures(plan)
    if report is not None:
        if report.answer:
            tell(report.answer)
        print(printable(str(report.path)))
    return int(failures > 0 or report is None)


def conclude_single(plan: Plan) -> int:
    """Gather the tables, and say how a single run ended and where it is stored. It has nothing beside it to be compared
    with: `python -m reports` writes a report where one is wanted.

    Returns:
        The exit code: 1 if the run failed or has no result, else 0.
    """
    (key,) = plan.configs
    folder = RunFolder(plan.sweep, key)
    with concluding(plan.sweep):
        if not _has_tables(plan.sweep, folder):
            from bench.record.frames import write_frames  # pandas: half a second

            for reason in write_frames(plan.sweep):
                tell(f"left out: {reason}")
    failures = _tell_failures(plan)
    if not failures and (result := folder.read_result()) is not None:
        loss = [f"loss {result.final_loss:.3g}"] if result.final_loss is not None else []
        loss += [f"baseline {result.baseline_loss:.3g}"] if loss and result.baseline_loss is not None else []
        tell("; ".join([describe(result), *([", ".join(loss)] if loss else [])]))
        tell(f"a report, if wanted: python -m reports {shlex.quote(str(plan.sweep))}")
    print(printable(str(folder.path)))
    return int(failures > 0)


def _has_tables(sweep: Path, folder: RunFolder) -> bool:
    """Tell whether a sweep's tables were written after this run, and after the last new command."""
    try:
        written = min((sweep / name).stat().st_mtime_ns for name in ("results.parquet", "curves.parquet"))
        sources = [*folder.path.iterdir(), folder.path, folder.path.parent, sweep / COMMANDS_FILE]
        return all(path.stat().st_mtime_ns < written for path in sources)
    except FileNotFoundError:
        return False


def concluding(sweep: Path) -> AbstractContextManager[None]:
    """Have one command at a time write tables and report of a sweep."""
    return alone(sweep, CONCLUSION, lambda: tell("waiting for another command to conclude this sweep"))


def _wait_for_quiet(sweep: Path) -> None:
    """Return when no other command trains on this machine in the same folder: times would suffer."""

    def is_trained_here() -> bool:
        leases = (Lease(sweep, name) for name in leased(sweep) if name not in (ASKING, CONCLUSION))
        return any(not lease.is_free() and lease.is_local() for lease in leases)

    said = False
    while is_trained_here():
        if not said:
            tell("waiting for another command's runs on this machine, before times are measured")
            said = True
        time.sleep(POLL_SECONDS)


def _tell_failures(plan: Plan) -> int:
    """Say which planned runs failed, and which have no result, or lack probes; return how many these are."""
    failed, missing = [], []
    for key in plan.configs:
        try:
            result = RunFolder(plan.sweep, key).read_result()
        except Damaged:
            result = None
        if result is None:
            missing.append(f"no result: {key}")
        elif not plan.is_done(key):
            missing.append(f"no probes: {key}")
        elif result.status in FAILED:
            failed.append(printable(f"{describe(result)} (why: {plan.sweep}/runs/{key}/result.json)"))
    for lines, advice in ((failed, "retry=failed runs them again"), (missing, "the same command runs them again")):
        more = [f"… and {len(lines) - MOST_TOLD} more"] if len(lines) > MOST_TOLD else []
        for line in [*lines[:MOST_TOLD], *more, advice] if lines else []:
            tell(line)
    return len(failed) + len(missing)
