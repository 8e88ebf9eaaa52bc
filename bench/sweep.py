"""A sweep from end to end, as a Hydra callback: plan before; timing, tables and report after."""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from bench.execute.apart import close_worker
from bench.execute.estimate import describe_probes, estimate
from bench.execute.launchers import prepare_launcher
from bench.execute.leases import Claim, claimed
from bench.execute.plan import Plan, make_plan
from bench.execute.progress import SweepProgress, console, describe, planning
from bench.execute.study import time_cells
from bench.record.asked import record_asked
from bench.record.errors import ConfigError, printable
from bench.record.fence import ClaimLost
from bench.record.files import Damaged
from bench.record.frames import write_frames
from bench.record.records import FAILED
from bench.record.rules import RULES_FILE, fix_claims
from bench.record.store import RunFolder, check_layout
from bench.session import Again, NextRound, PastHydra, given_up, is_stopping, note_left
from bench.spec.command import Command
from bench.spec.config import RETRY
from bench.track.wandb import track_report
from bench.train.process import command_line, prepare_kernels

POLL_SECONDS = 1.0
MOST_TOLD = 10  # failed runs that are named; the report has all
CONCLUSION = "conclusion"  # the claim on what follows the runs; no run is called so


def _heard(method: Callable[..., None]) -> Callable[..., None]:
    """Have a callback's exceptions reach the command: Hydra would warn of them and go on."""

    @wraps(method)
    def guarded(*arguments: Any, **options: Any) -> None:
        try:
            method(*arguments, **options)
        except Exception as error:
            raise PastHydra(error) from error

    return guarded


class SweepCallback(Callback):
    """Called by Hydra around a sweep, and around a single run, which is a sweep of one."""

    @_heard
    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        self.plan = make_plan(Command(config), planning)
        rules = _find_claims(self.plan.first.claims)
        if self.plan.first.dry_run:
            print(f"{_announce(self.plan)}\n{estimate(self.plan, config.hydra.launcher)}", flush=True)
            raise SystemExit(0)
        trains = bool(self.plan.pending)
        if trains:
            prepare_launcher(config.hydra.launcher)
        _check_writable(self.plan.sweep)
        check_layout(self.plan.sweep)
        if not self.plan.keep():  # another command was faster
            raise NextRound
        note_left(len(self.plan.pending))
        _record_asked(self.plan)
        _fix_claims(self.plan, rules)
        _set_aside_retried(self.plan)
        print(_announce(self.plan), flush=True)
        if reason := prepare_kernels(self.plan.first.device):
            print(f"warning: no native kernels ({printable(reason)}); cells use their next backend", file=sys.stderr)
        if not trains:
            raise SystemExit(_conclude(self.plan))
        self.progress = SweepProgress(self.plan)

    @_heard
    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        try:
            if is_stopping():
                raise KeyboardInterrupt
            _wait_for_others(self.plan)
        finally:
            self.progress.stop()
        if self.plan.to_come and not given_up():  # what could not be stored decides nothing
            raise NextRound
        close_worker()
        if code := _conclude(self.plan):
            raise SystemExit(code)

    def __reduce__(self) -> tuple[type[Callback], tuple[()]]:
        """Become a callback that does nothing when a launcher sends this to a worker."""
        return Callback, ()

    on_run_start = on_multirun_start
    on_run_end = on_multirun_end


def _record_asked(plan: Plan) -> None:
    """Keep what this command asks for: the report, and who looks for what is missing in it, go by that."""
    configs = [*plan.configs.values(), *plan.timed.values()]
    asked = [(config.reference, config.tuning.selection_seeds, list(config.tuning.search)) for config in configs]
    alike = all(each == asked[0] for each in asked)  # else each run's configuration says it
    report = dict(zip(("reference", "selection_seeds", "search"), asked[0], strict=True)) if alike else None
    runs = {key: [config.cell["name"], config.task["name"], config.seed] for key, config in plan.configs.items()}
    record_asked(plan.sweep, command_line(), report, runs)


def _set_aside_retried(plan: Plan) -> None:
    """Move the results that `retry` asks for again out of the way, but those that somebody is at already."""
    for key in (plan.retried or frozenset()) & plan.finished:
        claim = Claim(plan.sweep, key)
        if claim.acquire():
            folder = RunFolder(plan.sweep, key)
            try:
                with folder.entered():
                    if folder.status() in RETRY[plan.first.retry or ""]:  # else another command has retried it
                        folder.set_aside()
            except ClaimLost:
                pass  # to another command, which is at it now
            finally:
                claim.release()


def _find_claims(name: str | None) -> str | None:
    """Return the text of what the sweep puts to the test."""
    if name is None:
        return None
    from reports.claims import find_claims

    return find_claims(name)


def _fix_claims(plan: Plan, text: str | None) -> None:
    """Keep the rules of what the sweep puts to the test, before its runs are there to be looked at."""
    if text is None:
        return
    # Of all parts and settings, whatever this command is to run: any of them can have been looked at.
    finished = sum(1 for _ in plan.sweep.glob("runs/*/result.json"))
    if not fix_claims(plan.sweep, text, finished):
        print(
            printable(
                f"warning: claims={plan.first.claims} has changed since the first runs; the rules in "
                f"{plan.sweep}/{RULES_FILE}, fixed before them, stand"
            ),
            file=sys.stderr,
        )


def _wait_for_others(plan: Plan) -> None:
    """Return when all planned runs are finished, those too that another command is at.

    Raises:
        Again: runs are left that nobody is at.
    """
    claims = {key: Claim(plan.sweep, key) for key in plan.pending if key not in given_up()}
    said = False
    while claims := {key: claim for key, claim in claims.items() if RunFolder(plan.sweep, key).status() is None}:
        for claim in claims.values():
            if claim.acquire():
                claim.release()
                raise Again
        if not said:
            console.print(f"waiting for {len(claims)} runs that another command is at", markup=False)
            said = True
        time.sleep(POLL_SECONDS)


def _announce(plan: Plan) -> str:
    """Return the plan in words."""
    configs, first = [*plan.configs.values(), *plan.timed.values()], plan.first
    cells = list(dict.fromkeys(config.cell["name"] for config in configs))
    tasks = list(dict.fromkeys(config.task["name"] for config in configs))
    seeds = sorted({config.seed for config in configs})
    lines = [
        f"sweep {plan.first.name} → {plan.sweep}",
        f"  cells  {', '.join(cells)}",
        f"  tasks  {', '.join(tasks)}",
        f"  seeds  {', '.join(map(str, seeds))}",
    ]
    if plan.configs:
        lines.append(f"  runs   {len(plan.configs)}, of which {len(plan.finished)} are finished")
        if first.tuning.settings:
            selecting = sum(config.seed in first.tuning.selection_seeds for config in configs)
            more = f"; {plan.to_come} will follow from them" if plan.to_come else ""
            lines.append(f"  select {', '.join(first.tuning.settings)}, by {selecting} of these runs{more}")
        if first.match != "hidden":
            lines.append(f"  match  {first.match}")
        if plan.retried is not None:
            lines.append(f"  retry  {len(plan.retried)} that ended {' or '.join(RETRY[plan.first.retry or ''])}")
        lines += describe_probes(plan)
    else:
        lines.append("  runs   none: times only")
    return "\n".join(map(printable, lines))


def _check_writable(sweep: Path) -> None:
    try:
        sweep.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=sweep):
            pass
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ConfigError(
            f"results_dir: cannot write to {sweep} ({reason}); choose another with results_dir=…"
        ) from error


def _conclude(plan: Plan) -> int:
    """Time the cells, gather the tables, write the report and say where it is.

    Returns:
        The exit code: 1 if any planned run failed or has no result, else 0.
    """
    from reports.load import LoadError

    report = None
    with alone(plan.sweep, CONCLUSION):
        # A single run has nothing beside it to be compared with.
        timed = len(plan.configs) > 1 or bool(plan.timed)
        timed = timed and plan.first.timing.enabled and time_cells(plan, _wait_for_quiet)
        if plan.configs:
            for reason in write_frames(plan.sweep):
                console.print(f"left out: {printable(reason)}", markup=False)
        try:
            from reports.report import write_report  # which fails where matplotlib does

            report = write_report([plan.sweep])
        except LoadError as error:
            console.print(f"no report: {printable(str(error))}", markup=False)
        else:
            if plan.pending or timed:
                track_report(plan.first, plan.sweep, report.headline, report.step_times)
    failures = _tell_failures(plan)
    if report is not None:
        print(printable(str(report.path)))
    return int(failures > 0 or report is None)


@contextmanager
def alone(sweep: Path, name: str) -> Iterator[None]:
    """Do something that one command at a time must do; another one waits."""
    claim, said = Claim(sweep, name), False
    while not claim.acquire():
        if not said:
            console.print("waiting for another command to conclude this sweep", markup=False)
            said = True
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        claim.release()


def _wait_for_quiet(sweep: Path) -> None:
    """Return when no other command trains on this machine in the same folder: times would suffer."""
    said = False
    while any(_is_at_work_here(Claim(sweep, name)) for name in claimed(sweep) if name != CONCLUSION):
        if not said:
            console.print("waiting for another command's runs on this machine, before times are measured", markup=False)
            said = True
        time.sleep(POLL_SECONDS)


def _is_at_work_here(claim: Claim) -> bool:
    if claim.acquire():  # a dead owner's
        claim.release()
        return False
    return claim.is_local()


def _tell_failures(plan: Plan) -> int:
    """Say which planned runs failed, and which have no result at all; return how many these are."""
    failed, missing = [], []
    for key in plan.configs:
        try:
            result = RunFolder(plan.sweep, key).read_result()
        except Damaged:
            result = None
        if result is None:
            missing.append(f"no result: {key}")
        elif result["status"] in FAILED:
            failed.append(printable(f"{describe(result)} (why: {plan.sweep}/runs/{key}/result.json)"))
    for lines, advice in ((failed, "retry=failed runs them again"), (missing, "the same command runs them again")):
        more = [f"… and {len(lines) - MOST_TOLD} more"] if len(lines) > MOST_TOLD else []
        for line in [*lines[:MOST_TOLD], *more, advice] if lines else []:
            console.print(line, markup=False)
    return len(failed) + len(missing)
