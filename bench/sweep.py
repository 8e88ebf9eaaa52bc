"""A sweep from end to end: plan, have its runs taken, conclude."""

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Collection
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from threading import Thread
from typing import Any

from bench.conclusion import ASKING, conclude, conclude_single
from bench.execute.apart import Worker
from bench.execute.estimate import describe_probes, estimate
from bench.execute.kernels import prepare_kernels
from bench.execute.launchers import launch, lost_a_process, prepare_launcher
from bench.execute.leases import Lease, alone, holding, leased
from bench.execute.plan import Plan, make_plan
from bench.execute.progress import SweepProgress, planning, tell
from bench.execute.seeds import Deciding
from bench.execute.turn import Turn, write_planned
from bench.record.asked import Undecided, fix_looks, record_asked
from bench.record.errors import ConfigError, one_line, printable
from bench.record.fence import LeaseLost
from bench.record.files import digest
from bench.record.layout import check_layout
from bench.record.rules import RULES_FILE, fix_claims
from bench.record.store import RunFolder
from bench.session import is_stopping, say_once
from bench.spec.command import Command, runs_here, tool_of
from bench.spec.config import RETRY, to_plain
from bench.train.process import command_line

POLL_SECONDS = 1.0
MOST_FRUITLESS = 3  # launches in which no run is finished, before the command gives up
MOST_IN_A_ROW = 10  # seeds that are named one by one
MOST_LISTED = 40  # seeds that are named


class StuckError(RuntimeError):
    """Runs are left, and none gets finished."""


class Sweep:
    """What a command asks for, a single run being a sweep of one. Settings that are selected take several rounds: what
    is run next depends on how it ended.

    Attributes:
        plan: of the round under way.
    """

    def __init__(self, command: Command, worker: Worker) -> None:
        """Plan it, and check all that can be checked before anything is done.

        Args:
            command: what is asked for.
            worker: does whatever a user's class takes part in, and trains a single run.

        Raises:
            ConfigError: any of it cannot be run.
        """
        self._command, self._worker = command, worker
        self.plan = self._planned()
        self._rules: str | None = None  # the text of what the sweep puts to the test
        if (claims := self.plan.first.sweep.claims) is not None:
            from reports.claims import find_claims

            self._rules = find_claims(claims)
        if not self.plan.first.sweep.dry_run:
            _check_writable(self.plan.sweep)
            check_layout(self.plan.sweep)

    def _planned(self) -> Plan:
        plan = make_plan(self._command, self._worker, planning, _deciding())
        self._announced = _announce(plan, self._worker)
        if plan.pending and self._command.is_sweep and not plan.first.sweep.dry_run:
            prepare_launcher(self._command.master.hydra.launcher)
            if runs_here(self._command.master.hydra.launcher):
                self._worker.start(tool_of(self._command.master))
        return plan

    def run(self) -> int:
        """Do it all, or say what it would cost.

        Returns:
            The exit code: 1 if any planned run failed or has no result, else 0.

        Raises:
            StuckError: again and again, no run gets finished.
        """
        if self.plan.first.sweep.dry_run:
            said = estimate(self.plan, self._command.master.hydra.launcher, self._worker)
            print(f"{self._announced}\n{said}", flush=True)
            return 0
        trained = False
        while True:
            if self.plan.keep():  # else another command was faster
                trained = trained or bool(self.plan.pending)
                unstored = self._round()
                if unstored or not self.plan.to_come:  # what could not be stored decides nothing
                    is_single = not self._command.is_sweep and len(self.plan.configs) == 1
                    if is_single:
                        return conclude_single(self.plan)
                    self._worker.close()  # times are measured with nothing beside them
                    return conclude(self.plan, trained)
            self.plan = self._planned()

    def _round(self) -> Collection[str]:
        """Run what is planned; returns what could not be stored."""
        plan = self.plan
        with alone(plan.sweep, ASKING):
            _record_asked(plan)
            _fix_claims(plan, self._rules)
            if plan.seeds is not None and plan.seeds.fixed:
                fix_looks(plan.sweep, plan.seeds.looks, plan.seeds.lengths, plan.seeds.choosing)
        _set_aside_retried(plan)
        print(_later_look(plan) or self._announced, flush=True)
        for reason in prepare_kernels(plan, self._worker):
            say_once(f"kernel-{digest(reason.encode())[:16]}", f"warning: {printable(reason)}")
        if not plan.pending:
            return ()
        planned = write_planned(plan.sweep, {key: to_plain(config) for key, config in plan.configs.items()})
        # What is asked for again, or is damaged, has to be named; else it is whatever has no result.
        special = plan.retried is not None or any(map(plan.has_result, plan.pending))
        turn = Turn(planned, frozenset(plan.pending) if special else None)
        if not self._command.is_sweep:
            Thread(target=import_module, args=("bench.record.frames",)).start()  # pandas, while the worker trains
        progress = SweepProgress(plan)
        try:
            return self._launch_until_done(turn)
        finally:
            progress.stop()

    def _launch_until_done(self, turn: Turn) -> Collection[str]:
        """Start workers, and again as long as runs are left that nobody is at: a process died over them.

        Returns:
            What could not be stored.

        Raises:
            StuckError: again and again, no run gets finished.
        """
        unstored: set[str] = set()
        left, fruitless = set(self.plan.pending), 0
        while True:
            reason = "and nobody is at them"
            for key in left & {*leased(self.plan.sweep)}:  # workers leave alone what is leased, be its owner dead
                Lease(self.plan.sweep, key).is_free()
            try:
                why = launch(self._command, turn, len(left), self.plan.example, self._worker)
            except Exception as error:
                if not lost_a_process(error):
                    raise
                reason = f"the launcher fails: {one_line(error)}"
            else:
                for said in dict.fromkeys(why.values()):
                    print(f"error: {printable(said)}", file=sys.stderr, flush=True)
                unstored |= set(why)
            if is_stopping():
                raise KeyboardInterrupt
            before, left = len(left), _left_by_all(self.plan, left - unstored)
            if not left:
                return unstored
            fruitless = 0 if len(left) < before else fruitless + 1
            if fruitless == MOST_FRUITLESS:
                raise StuckError(f"{len(left)} runs are left, {reason}, again and again")
            print(f"{len(left)} runs are left, {reason}; going on", file=sys.stderr)


def _record_asked(plan: Plan) -> None:
    """Keep what this command asks for: the report, and who looks for what is missing in it, go by that."""
    configs = [*plan.configs.values(), *plan.timed.values()]
    asked = [
        (config.sweep.reference, config.sweep.tuning.selection_seeds, list(config.sweep.tuning.search))
        for config in configs
    ]
    alike = all(each == asked[0] for each in asked)  # else each run's configuration says it
    report = dict(zip(("reference", "selection_seeds", "search"), asked[0], strict=True)) if alike else None
    runs = {
        key: (config.run.cell["name"], config.run.task["name"], config.run.seed) for key, config in plan.configs.items()
    }
    record_asked(plan.sweep, command_line(), report, runs)


def _set_aside_retried(plan: Plan) -> None:
    """Move the results that `retry` asks for again out of the way, but those that somebody is at already."""
    for key in (plan.retried or frozenset()) & plan.finished:
        # A lease that is lost has gone to another command, which is at it now.
        with contextlib.suppress(LeaseLost), holding(plan.sweep, key) as lease:
            folder = RunFolder(plan.sweep, key)
            if lease is not None:
                with folder.entered():
                    if folder.status() in RETRY[plan.first.sweep.retry or ""]:  # else another command has retried it
                        folder.set_aside()


def _fix_claims(plan: Plan, text: str | None) -> None:
    """Keep the rules of what the sweep puts to the test, before its runs are there to be looked at."""
    if text is None:
        return
    # Of all parts and settings, whatever this command is to run: any of them can have been looked at.
    finished = sum(1 for _ in plan.sweep.glob("runs/*/result.json"))
    if not fix_claims(plan.sweep, text, finished):
        print(
            printable(
                f"warning: claims={plan.first.sweep.claims} has changed since the first runs; the rules in "
                f"{plan.sweep}/{RULES_FILE}, fixed before them, stand"
            ),
            file=sys.stderr,
        )


def _deciding() -> Deciding:
    """Return what decides which seeds are run: the comparisons of the report, its claims, or how far cells reach."""
    stored: dict[Path, Any] = {}  # read once a plan

    def counts(comparisons: int, claims: str | None, paired: bool, most: int) -> list[int]:
        from reports.claims import find_claims, parse_claims
        from reports.statistics import looks_at

        if claims is not None:
            comparisons = len(parse_claims(find_claims(claims), claims).claims)
        return looks_at(most, comparisons, paired)

    def undecided(sweep: Path, runs: Collection[str]) -> Undecided:
        from reports.load import load
        from reports.sequential import undecided

        if sweep not in stored:
            stored[sweep] = load(sweep)
        return undecided(stored[sweep], runs)

    def halfway(lengths: Collection[float], runs: Collection[tuple[float, bool]]) -> float:
        from reports.statistics import reach

        return reach(lengths, runs).median

    return Deciding(counts, undecided, halfway)


def _later_look(plan: Plan) -> str:
    """Return in words what a look after the first one comes to; nothing at the first."""
    seeds = plan.seeds
    if seeds is not None and seeds.lengths:
        at = f"  look   {seeds.at} of {len(seeds.looks)}: {len(plan.pending)} more runs"
        return at if seeds.at > 1 and plan.pending else ""
    if seeds is None or (seeds.at <= 1 and not plan.finished) or not seeds.total:
        return ""
    decided = f"{seeds.total - seeds.open} of {seeds.total} decided"
    if not plan.pending:
        return f"  look   {decided}"
    return f"  look   {seeds.at} of {len(seeds.looks)}: {decided}; {len(plan.pending)} more runs"


def _left_by_all(plan: Plan, keys: Collection[str]) -> set[str]:
    """Wait for runs held by another command, and return those that have no result and that nobody is at."""
    leases = {key: Lease(plan.sweep, key) for key in keys}
    said = False
    while leases := {key: lease for key, lease in leases.items() if not plan.is_done(key)}:
        if any(lease.is_free() for lease in leases.values()):
            return set(leases)
        if not said:
            tell(f"waiting for {len(leases)} runs held by another command")
            said = True
        time.sleep(POLL_SECONDS)
    return set()


def _announce(plan: Plan, worker: Worker) -> str:
    """Return the plan in words."""
    configs, first = [*plan.configs.values(), *plan.timed.values()], plan.first
    cells = list(dict.fromkeys(config.run.cell["name"] for config in configs))
    tasks = list(dict.fromkeys(config.run.task["name"] for config in configs))
    seeds = sorted({config.run.seed for config in configs})
    lines = [
        f"sweep {plan.first.sweep.name} → {plan.sweep}",
        f"  cells  {', '.join(cells)}",
        f"  tasks  {', '.join(tasks)}",
        f"  seeds  {_listed(seeds)}",
    ]
    if plan.configs:
        lines.append(f"  runs   {len(plan.configs)}, of which {len(plan.finished)} are finished")
        if first.sweep.tuning.settings:
            selecting = sum(config.run.seed in first.sweep.tuning.selection_seeds for config in configs)
            more = f"; {plan.to_come} will follow from them" if plan.to_come else ""
            lines.append(f"  select {', '.join(first.sweep.tuning.settings)}, by {selecting} of these runs{more}")
        if plan.seeds is not None and plan.seeds.fixed:
            counts = list(accumulate(map(len, plan.seeds.looks)))
            why = "each at the length that half solve" if plan.seeds.lengths else "until all comparisons are decided"
            lines.append(f"  looks  after {', '.join(map(str, counts))} seeds, {why}")
        if first.sweep.match != "hidden":
            lines.append(f"  match  {first.sweep.match}")
        if plan.retried is not None:
            lines.append(f"  retry  {len(plan.retried)} that ended {' or '.join(RETRY[plan.first.sweep.retry or ''])}")
        lines += describe_probes(plan, worker)
    else:
        lines.append("  runs   none: times only")
    return "\n".join(map(printable, lines))


def _listed(seeds: list[int]) -> str:
    """Return sorted seeds in words, many in a row by the first and the last."""
    if len(seeds) > MOST_IN_A_ROW and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"{seeds[0]} to {seeds[-1]}"
    more = [f"… and {len(seeds) - MOST_LISTED} more"] if len(seeds) > MOST_LISTED else []
    return ", ".join([*map(str, seeds[:MOST_LISTED]), *more])


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
