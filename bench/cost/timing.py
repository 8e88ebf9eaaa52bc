"""The timing study: all cells of a sweep in one process, in interleaved rounds, beside the machine's own rate.

Two times are comparable only when they were measured side by side. A round times a matrix product and
then every cell once; rounds repeat; every single measurement is kept. FLOPs are counted apart from time,
so that what an architecture costs and what its implementation costs stay two numbers."""

import json
import math
import os
import statistics
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F

from bench.cost.flops import count_flops
from bench.record.encoding import flat, settings_columns
from bench.record.records import Timing
from bench.spec.config import Settings
from bench.spec.optimizer import make_optimizer
from bench.train.model import Model, backend_of, make_model, make_task, why_no_steps
from bench.train.process import configure_process, environment
from bench.train.streams import make_streams
from tasks import Batch, Task

LEAST_ROUNDS = 3  # for a case however slow
GEMM_SIZES = {"cpu": 1024, "cuda": 4096}  # of the matrix product whose rate stands for the machine's


@dataclass
class Case:
    """A model and a batch, ready to be timed."""

    config: Settings
    task: Task
    model: Model
    batch: Batch
    optimizer: torch.optim.Optimizer
    cost: dict[str, float] = field(default_factory=dict)
    repeats: dict[str, int] = field(default_factory=dict)
    spent: float = 0.0  # seconds in rounds so far
    form: str = "own"
    no_steps: str | None = None  # why single steps are not timed
    context: Any = None  # the state that single steps begin from

    @classmethod
    def build(cls, config: Settings) -> "Case":
        task = make_task(config.run)
        streams = make_streams(config.run.seed, config.execution.device)
        streams.seed_globals()
        model = make_model(config.run, task)
        batch = task.sample(config.run.training.batch_size, streams.training).to(config.run.torch_dtype)
        return cls(config, task, model, batch, make_optimizer(config.run.training, list(model.parameters())))

    def works(self) -> dict[str, Callable[[], object]]:
        """Return what is timed each round, by name."""
        works: dict[str, Callable[[], object]] = {"forward": self.forward, "training_step": self.training_step}
        if self.no_steps is None:
            works["inference_step"] = partial(self.inference, self.config.sweep.timing.inference_steps)
        return works

    def forward(self) -> None:
        with torch.no_grad():
            self.model.answer(self.batch)

    def training_step(self) -> None:
        training = self.config.run.training
        self.optimizer.zero_grad()
        self.task.loss(self.model.answer(self.batch), self.batch).backward()
        if training.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), training.clip_norm)
        self.optimizer.step()

    def inference(self, steps: int) -> None:
        """Read `steps` single steps at batch 1, handing the state on, as a deployed network does: after `context`, the
        state that a whole sequence leaves, since a step that looks back costs more after a sequence than at its
        beginning."""
        cell: Any = self.model.cell
        state = self.context
        x_t = self.batch.inputs[0, :1]
        with torch.no_grad(), self.model.precision(x_t.device):
            for _ in range(steps):
                if hasattr(cell, "step"):
                    output, state = cell.step(x_t, state)
                else:
                    outputs, state = cell(x_t.unsqueeze(0), state)
                    output = outputs[0]
                self.model.readout(output)


def case_key(config: Settings) -> str:
    """Return what tells one timed case from another: everything but seed, learning rate and budgets."""
    settings = {
        "cell": config.run.cell,
        "task": config.run.task,
        "batch_size": config.run.training.batch_size,
        "optimizer": config.run.training.optimizer,
        "dtype": config.run.dtype,
        "device": config.execution.device,
        "threads": config.execution.threads,
        "allocator": config.execution.allocator,
    }
    return json.dumps(settings, sort_keys=True, default=str)


def group_key(config: Settings) -> str:
    """Return what cases compared with each other have in common: all but the cell."""
    return case_key(config.with_run(cell={}))


def measure(
    configs: list[Settings],
    on_round: Callable[[], None],
    on_failure: Callable[[Settings, Exception], None],
    others: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Time the distinct cases of one group, side by side.

    A round times every case once, each time beginning with another. What is over in no time is repeated within a
    round for `timing.block_seconds`, and its mean counts: a single short call would show the caches that the case
    before it left.

    Args:
        configs: of one `group_key`; those of one `case_key` are timed once.
        on_round: called after each round.
        on_failure: called for a case that cannot be built or run; it is left out.
        others: the `case_key`s of those that nobody trains, but that stand beside a cell as other forms of it.

    Returns:
        Long-form rows, one a measurement: what was measured (`cell`, `form`, `task`, settings), `quantity`,
        `round`, `value`, `unit`. Quantities measured each round: forward, training_step, inference_step of what can
        run step by step (ms), gemm (GFLOP/s). Once: first_call (ms), peak_memory (MiB), flops_forward,
        flops_training_step.
    """
    first = configs[0]
    configure_process(first.execution)
    device, dtype = first.execution.device, torch.bfloat16 if first.run.is_mixed else first.run.torch_dtype
    _gemm_rate(device, dtype)  # wakes the libraries, which would otherwise be charged to the first cell
    rows: list[dict[str, Any]] = []
    cases = []
    for config in {case_key(config): config for config in configs}.values():
        try:
            cases.append(_prepare(config))
            cases[-1].form = "other" if case_key(config) in others else "own"
        except Exception as error:
            on_failure(config, error)
    for number in range(first.sweep.timing.rounds):
        gemm = _gemm_rate(device, dtype) / 1e9
        begin = number % max(1, len(cases))
        for case in cases[begin:] + cases[:begin]:
            if number >= LEAST_ROUNDS and case.spent > (first.sweep.timing.max_seconds or math.inf):
                continue
            for name, value in _time_once(case).items():
                rows.append(_row(case, name, number, 1000 * value, "ms"))
            rows.append(_row(case, "gemm", number, gemm, "GFLOP/s"))
        on_round()
    units = {"first_call": "ms", "peak_memory": "MiB"}
    for case in cases:
        rows += [_row(case, name, None, value, units.get(name, "FLOP")) for name, value in case.cost.items()]
    return rows


def _prepare(config: Settings) -> Case:
    """Build a case, call it for the first time, and find what it costs and how often to repeat it."""
    case = Case.build(config)
    device = config.execution.device
    case.cost = {"first_call": 1000 * seconds_of(case.training_step, device), **_costs(case)}
    case.no_steps = why_no_steps(case.model.cell, case.task.input_size)
    if case.no_steps is None:
        with torch.no_grad(), case.model.precision(case.batch.inputs.device):
            _, case.context = case.model.cell(case.batch.inputs[:, :1])
        case.inference(1)
    for name, work in case.works().items():
        once = seconds_of(work, device)
        case.repeats[name] = max(1, math.ceil(config.sweep.timing.block_seconds / max(once, 1e-6)))
    return case


def _time_once(case: Case) -> dict[str, float]:
    """Return the mean seconds of each of a case's works, repeated as often as it needs."""
    times = {}
    for name, work in case.works().items():
        repeats = case.repeats[name]
        seconds = seconds_of(partial(_repeat, work, repeats), case.config.execution.device)
        case.spent += seconds
        times[name] = seconds / repeats
    if "inference_step" in times:
        times["inference_step"] /= case.config.sweep.timing.inference_steps
    return times


def _repeat(work: Callable[[], object], times: int) -> None:
    for _ in range(times):
        work()


def _row(case: Case, quantity: str, number: int | None, value: float, unit: str) -> dict[str, Any]:
    config = case.config
    row = Timing(
        sweep=config.sweep.name,
        case=case_key(config),
        group=group_key(config),
        form=case.form,
        cell=config.run.cell["name"],
        task=config.run.task["name"],
        backend=backend_of(case.model.cell),
        device=config.execution.device,
        dtype=config.run.dtype,
        threads=config.execution.threads,
        gemm_size=GEMM_SIZES[config.run.device],
        time_steps=case.task.length,
        batch_size=config.run.training.batch_size,
        input_size=case.task.input_size,
        hidden_size=config.run.cell["hidden_size"],
        settings=settings_columns(asdict(config.run), ["cell", "task"]),
        environment=environment(config.execution.device),
        quantity=quantity,
        round=number,
        value=value,
        unit=unit,
        no_steps=case.no_steps,
    )
    return flat(row) | {"environment": json.dumps(row.environment)}


# Time.


def seconds_of(work: Callable[[], object], device: str) -> float:
    """Return how long `work` takes; on a GPU by events on its stream, with nothing else pending."""
    if device == "cpu":
        start = perf_counter()
        work()
        return perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    begin.record()  # type: ignore[no-untyped-call]
    work()
    end.record()  # type: ignore[no-untyped-call]
    torch.cuda.synchronize(device)
    return begin.elapsed_time(end) / 1000


def _gemm_rate(device: str, dtype: torch.dtype) -> float:
    """Return the FLOP/s of a large square matrix product, the median of three, by the faster of the libraries that
    torch has for one: on AMD's processors MKL reaches half the rate of oneDNN, by which torch.nn.LSTM multiplies."""
    size = GEMM_SIZES[torch.device(device).type]
    left, right = (torch.ones(size, size, device=device, dtype=dtype).uniform_() for _ in range(2))
    out = torch.empty_like(left)
    products: list[Callable[[], object]] = [lambda: torch.mm(left, right, out=out)]
    if device == "cpu" and dtype == torch.float32 and torch.backends.mkldnn.is_available():
        packed = left.to_mkldnn()
        products.append(lambda: F.linear(packed, right))
    with torch.no_grad():
        seconds = min(statistics.median(seconds_of(product, device) for _ in range(3)) for product in products)
    return 2 * size**3 / seconds


# Memory.


def _costs(case: Case) -> dict[str, float]:
    costs = {"peak_memory": peak_memory(case.training_step, case.config.execution.device) / 2**20}
    flops = count_flops(case.config.run)
    if flops is not None:
        costs["flops_forward"], costs["flops_training_step"] = flops
    return costs


def peak_memory(work: Callable[[], object], device: str) -> int:
    """Return the most bytes of tensors that `work` holds at once, beyond what was there before."""
    if device != "cpu":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with silenced(2), warnings.catch_warnings(action="ignore"), torch.profiler.profile(profile_memory=True) as profiler:
        work()
    held = peak = 0
    for event in profiler.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


@contextmanager
def silenced(descriptor: int) -> Iterator[None]:
    """Keep lines out of the display that parts of torch write there themselves, and that nothing else turns off: its
    profiler to stderr (2), its exporter to stdout (1)."""
    kept = os.dup(descriptor)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    try:
        yield
    finally:
        os.dup2(kept, descriptor)
        os.close(nowhere)
        os.close(kept)
