"""What a plan will cost, before anything of it is run: `dry_run=true`."""

import contextlib
import math
import statistics
from collections import defaultdict
from typing import Any

from tabulate import tabulate

from bench.cost.timing import Case, case_key, seconds_of
from bench.execute.apart import Worker
from bench.execute.kernels import prepare_kernels
from bench.execute.launchers import room
from bench.execute.plan import Plan
from bench.execute.probes import UPDATES
from bench.execute.progress import counting, duration
from bench.record.errors import one_line
from bench.spec.command import runs_here
from bench.spec.config import RunSpec, Settings
from bench.train.model import make_task
from bench.train.process import configure_process
from bench.train.streams import make_streams
from bench.train.trainer import budgeted_steps, most_evaluations
from bench.train.weights import weights_bytes

COUNTED = {"series": "series", "features": "feature", "classes": "class", "groups": "group"}  # facts, and one of them
REPEATS = 3  # of a training step, whose median counts
RUN_KIB, EVALUATION_KIB, TRACKED_KIB = 8.0, 0.2, 31.0  # of the store and of W&B's files; docs/clusters.md has them


def estimate(plan: Plan, launcher: Any, worker: Worker) -> str:
    """Return what the runs to do will cost at most: no run is longer than its budget, and many are solved before.

    A training step of each case is taken here and now, and nothing else.

    Args:
        launcher: Hydra's settings of it.
        worker: for what a user's class may do to its process.
    """
    runs: dict[str, list[Settings]] = defaultdict(list)
    for key, config in plan.pending.items():
        if key not in plan.lacking:
            runs[case_key(config)].append(config)
    timed = {
        case_key(config): config for config in (plan.timed or plan.pending).values() if config.sweep.timing.enabled
    }
    cases = {**{key: configs[0] for key, configs in runs.items()}, **timed}
    rows, seconds, timing, failed = [], 0.0, 0.0, []
    prepare_kernels(plan, worker)
    with counting("Measuring", len(cases)) as advance:
        for key, config in cases.items():
            try:
                step, evaluation = worker.call(config.run, cost_of, config)
            except Exception as error:  # a user's cell, or memory: its runs will end so too
                failed.append(f"  {config.run} cannot be run: {one_line(error)}")
            else:
                most = sum(_most_seconds(run, step, evaluation) for run in runs[key])
                seconds += most
                timing += _timing_seconds(config, step) if key in timed else 0.0
                rows.append((config, len(runs[key]), step, most))
            advance()
    at_once, where = _at_once(launcher)
    lines = [
        f"  time   at most {duration(seconds / at_once)} of training {where}; then about {duration(timing)} of timing",
        f"  disk   about {_disk_mib(plan, worker):,.0f} MiB",
    ]
    lines[:0] = _data(plan, worker)
    if plan.to_come:
        lines[-2] += f"; without {plan.to_come} runs that may follow"
    if rows:
        lines += ["", _table(rows)]
    return "\n".join([*lines, *failed, "", "Nothing was run or stored. Omit dry_run=true to start the runs."])


def _data(plan: Plan, worker: Worker) -> list[str]:
    """Return a line on the data of each task on files, of which a report would tell more."""
    specs = {str(config.run.task): config.run for config in (*plan.configs.values(), *plan.timed.values())}
    lines = []
    for spec in specs.values():
        with contextlib.suppress(Exception):  # what is wrong with a file is told where it is measured
            if facts := worker.call(spec, data_of, spec):
                lines.append(f"  data   {spec.task['name']}: {_described(facts)}")
    return lines


def data_of(spec: RunSpec) -> dict[str, str | int | float]:
    """Return what a task tells of its data."""
    return make_task(spec).preview()


def _described(facts: dict[str, str | int | float]) -> str:
    """Return e.g. "36 training, 12 validation, 12 test sequences; 2 features, 2 to 6 steps, 3 classes"."""
    sizes = ", ".join(f"{facts[name]:,} {name}" for name in ("training", "validation", "test") if name in facts)
    said = [f"{facts[name]:,} {one if facts[name] == 1 else name}" for name, one in COUNTED.items() if name in facts]
    if "longest" in facts:
        ends = dict.fromkeys((facts["shortest"], facts["longest"]))
        said.append(f"{' to '.join(f'{end:,}' for end in ends)} steps")
    if facts.get("missing"):
        said.append(f"{float(facts['missing']):.2g} of the values missing")
    if facts.get("repeated"):
        said.append(f"{facts['repeated']:,} test sequences also in another part")
    return f"{sizes} {facts.get('unit', 'sequences')}" + (f"; {', '.join(said)}" if said else "")


def describe_probes(plan: Plan, worker: Worker) -> list[str]:
    """Return in words what weights the runs of a plan will leave, and how many finished runs are probed from theirs."""
    runs, size = weights_kept(plan, worker)
    lacking = len(plan.lacking)
    lines = [f"  keep   weights of {runs} run{'s' * (runs != 1)}, about {size / 2**20:,.1f} MiB in all"] if runs else []
    lines += [f"  probe  {lacking} finished run{'s' * (lacking != 1)}, from stored weights"] if lacking else []
    return lines


def weights_kept(plan: Plan, worker: Worker) -> tuple[int, int]:
    """Return how many runs to do will keep their weights, and how many bytes these take, about."""
    alike: dict[str, list[Settings]] = defaultdict(list)
    for key, config in plan.pending.items():
        if key not in plan.lacking and config.execution.keep == "weights":
            alike[f"{case_key(config)} {config.execution.diagnostics.kinds}"].append(config)
    size = 0
    for config, *others in alike.values():
        with contextlib.suppress(Exception):  # a user's class that needs storage to be built
            with_optimizer = UPDATES in config.execution.diagnostics.kinds
            size += (1 + len(others)) * worker.call(config.run, weights_bytes, config.run, with_optimizer)
    return sum(map(len, alike.values())), size


def cost_of(config: Settings) -> tuple[float, float]:
    """Return the seconds of a training step, its batch made too, and of an evaluation."""
    configure_process(config.execution)
    case = Case.build(config)
    streams = make_streams(config.run.seed, config.execution.device)

    def step() -> None:
        case.batch = case.task.sample(config.run.training.batch_size, streams.training).to(config.run.torch_dtype)
        case.training_step()

    step()
    taken = statistics.median(seconds_of(step, config.execution.device) for _ in range(REPEATS))
    forward = statistics.median(seconds_of(case.forward, config.execution.device) for _ in range(REPEATS))
    return taken, forward * config.run.training.evaluation_size / config.run.training.batch_size


def _most_seconds(config: Settings, step: float, evaluation: float) -> float:
    seconds = budgeted_steps(config.run.training) * step + most_evaluations(config.run.training) * evaluation
    return min(seconds, config.run.training.max_seconds or math.inf)


def _at_once(launcher: Any) -> tuple[int, str]:
    """Return how many runs the launcher runs at once, and where that is."""
    if not runs_here(launcher):
        return 1, "in all, at the speed of this machine's cores, however many the launcher uses at once"
    workers = room(launcher)
    return workers, f"on this machine, {f'{workers} runs at once' if workers > 1 else 'one run after another'}"


def _timing_seconds(config: Settings, step: float) -> float:
    """Return what it takes to time a case: in each round a training step, a forward pass and some single steps, each
    repeated if it is over in no time."""
    timing = config.sweep.timing
    once = max(timing.block_seconds, step) + max(timing.block_seconds, step / 3) + timing.block_seconds
    return min(timing.rounds * once, timing.max_seconds or math.inf)


def _disk_mib(plan: Plan, worker: Worker) -> float:
    kib = weights_kept(plan, worker)[1] / 1024
    for config in plan.pending.values():
        kib += (
            RUN_KIB
            + EVALUATION_KIB * most_evaluations(config.run.training)
            + (TRACKED_KIB if config.execution.tracking.mode != "disabled" else 0.0)
        )
    return kib / 1024


def _table(rows: list[tuple[Settings, int, float, float]]) -> str:
    """Return a line per cell and task: cases that differ otherwise go together, with the range of their steps."""
    timed: dict[tuple[str, str], list[tuple[int, float, float]]] = defaultdict(list)
    for config, runs, step, seconds in rows:
        timed[config.run.task["name"], config.run.cell["name"]].append((runs, 1000 * step, seconds))
    lines = []
    for (task, cell), parts in timed.items():
        steps = sorted(step for _, step, _ in parts)
        ends = dict.fromkeys(f"{step:.2g}" if step < 10 else f"{step:,.0f}" for step in (steps[0], steps[-1]))
        shown = " to ".join(ends)
        lines.append((task, cell, f"{sum(p[0] for p in parts):,}", shown, duration(sum(p[2] for p in parts))))
    headers = ("task", "cell", "runs", "a step, ms", "core time at most")
    return tabulate(lines, headers, "simple", disable_numparse=True, colalign=("left", "left", *["right"] * 3))
