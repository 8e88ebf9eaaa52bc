"""What the harness itself costs and gains, as ratios measured side by side on this machine.

`python -m bench.benchmark NAME …`, all of them without a name:
- overhead: a step of its training loop over one of a bare loop
- checkpoints: a run that saves where it stands, over one that does not
- startup: seconds that a run costs beside its training
- planning: milliseconds that it takes to plan a run
- schedule: a run on each core, over one run at a time with all cores
- cohorts: training steps of runs taken one run after another, over the same steps of runs side by side
- gpu: a training step of each cell's generated kernels over one of cuDNN's, or of the loop; on a GPU only
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from bench.arguments import parse_arguments
from bench.execute.apart import Worker
from bench.execute.plan import make_plan
from bench.spec.command import Command, compose
from bench.spec.config import Execution, Training, register_with_hydra
from bench.spec.optimizer import make_optimizer
from bench.train.loop import train
from bench.train.model import Model
from bench.train.process import configure_process
from bench.train.steps import Steps
from bench.train.streams import make_streams
from bench.train.trainer import Trainer
from cells import GRU, LSTM, RNN, AttentionLSTM, GateRecurrentLSTM, PeepholeLSTM, TorchRecurrent, compiler
from tasks import Adding, CopyMemory, Task

PAIRS, STEPS = 11, 60


def overhead() -> None:
    """Time the training loop and a bare one in turn: LSTM, T=100, B=64, H=64, one thread, the same kernels."""
    configure_process(Execution())
    training = Training(max_steps=STEPS, evaluate_every=10**9, evaluation_size=1)
    task = Adding(length=100)

    def model() -> Model:
        torch.manual_seed(0)
        return Model(LSTM(task.input_size, 64), 64, task.output_size)

    def bare() -> None:
        net, generator = model(), torch.Generator().manual_seed(0)
        optimizer = make_optimizer(training, list(net.parameters()))
        for _ in range(STEPS):
            batch = task.sample(training.batch_size, generator)
            optimizer.zero_grad()
            task.loss(net(batch.inputs), batch).backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()

    def harness() -> None:
        train(Trainer(model(), task, training, make_streams(0, "cpu"), torch.float32), lambda evaluation: None)

    ratios = _paired(harness, bare)
    print(f"training loop over a bare loop: {_describe(ratios)}")


def checkpoints() -> None:
    """Time runs with checkpoints at the default interval and runs without, in turn: an LSTM for some ten seconds."""
    with tempfile.TemporaryDirectory() as results:

        def seconds(kind: str, pair: int) -> float:
            model = ("cell=lstm", "task=adding", "task.length=100", "task.solved_mse=1e-12", "training.max_steps=1200")
            name = f"{kind}{pair}"
            _bench(
                *model, "training.evaluate_every=200", f"checkpoint={kind}", f"name={name}", f"results_dir={results}"
            )
            return _makespan(Path(results) / name)

        ratios = []
        for pair in range(6):
            kinds = ("default", "none") if pair % 2 else ("none", "default")
            took = {kind: seconds(kind, pair) for kind in kinds}
            ratios.append(took["default"] / took["none"])
    print(f"a run with checkpoints over one without: {_describe(ratios)}")


def startup() -> None:
    """Time a sweep of two runs and one of twenty-two; the runs do a single step."""
    with tempfile.TemporaryDirectory() as results:

        def sweep(name: str, runs: int) -> float:
            start = perf_counter()
            _bench(
                "-m",
                f"name={name}",
                f"seed={','.join(map(str, range(runs)))}",
                *("task=adding", "task.length=5", "training.max_steps=1", "timing=none", f"results_dir={results}"),
            )
            return perf_counter() - start

        sweep("warm", 2)
        seconds = [(sweep(f"many{i}", 22) - sweep(f"few{i}", 2)) / 20 for i in range(3)]
    print(f"seconds a run beside its training: {statistics.median(seconds):.2f} (of {sorted(seconds)})")


def planning() -> None:
    """Plan 10,000 runs: of 100 configurations with 100 seeds each, and of 10,000 configurations."""
    register_with_hydra()
    ways = {"100 configurations": "seed=range(0,100)", "10,000 configurations": "task.length=range(2,102)"}
    with tempfile.TemporaryDirectory() as results:
        for name, axis in ways.items():
            given = ["-m", "cell=lstm", "training.batch_size=range(1,101)", axis, f"results_dir={results}"]
            start = perf_counter()
            with Worker() as worker:
                plan = make_plan(Command(compose(parse_arguments(given))), worker)
            milliseconds = 1000 * (perf_counter() - start) / len(plan.configs)
            print(f"milliseconds to plan a run, {len(plan.configs):,} of {name}: {milliseconds:.2f}")


def schedule() -> None:
    """Train four LSTMs in two ways: a process per core with one thread, or one after another with all cores."""
    cores = os.cpu_count() or 1
    ways = {"parallel": ["+launch=parallel", "threads=1"], "serial": ["+launch=serial", f"threads={cores}"]}
    common = ["task=adding", "task.length=200", "cell=lstm", "cell.hidden_size=128", "seed=0,1,2,3", "timing=none"]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as results:
        for repeat, (name, way) in product(range(3), ways.items()):
            _bench("-m", *common, *way, "training.max_steps=200", f"name={name}{repeat}", f"results_dir={results}")
            seconds[name].append(_makespan(Path(results) / f"{name}{repeat}"))
    ratio = statistics.median(one / other for one, other in zip(seconds["serial"], seconds["parallel"], strict=True))
    print(f"{cores} runs at once with a thread each: {ratio:.2f} times as fast as one at a time with {cores} threads")


def cohorts() -> None:
    """Take the same steps of runs alone, one run after another, and of all of them side by side, in turn: by the
    problems of the quick sweep and of a small one, by cell and by number of runs; a thread, B=32, H=32."""
    configure_process(Execution())
    tasks = {"copy, T=9": CopyMemory(3, 3, 3), "adding, T=20": Adding(20), "adding, T=25": Adding(25)}
    for (problem, task), kind, runs in product(tasks.items(), (RNN, LSTM, GRU, AttentionLSTM), (2, 4, 8, 16)):
        trainers = [_trainer(seed, task, partial(kind, hidden_size=32), 32, "cpu") for seed in range(runs)]
        alone, together = partial(_take, [[each] for each in trainers]), partial(_take, [trainers])
        print(f"{problem}, {kind.__name__}, {runs} runs: {_describe(_paired(alone, together))}", flush=True)


def _trainer(seed: int, task: Task, kind: Callable[..., Any], batch: int, device: str) -> Trainer:
    streams = make_streams(seed, device)
    streams.seed_globals()
    cell = kind(task.input_size)
    model = Model(cell, cell.hidden_size, task.output_size).to(device)
    return Trainer(model, task, Training(batch_size=batch), streams, torch.float32)


def _take(cohorts: Sequence[list[Trainer]]) -> None:
    """Take some steps with each cohort."""
    for trainers in cohorts:
        steps = Steps()
        for _ in range(STEPS):
            steps.take(trainers)
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def gpu() -> None:
    """Time, in turn, forward and backward passes of cells by their generated kernels and by what else there is: cuDNN,
    or the loop, which is timed at the first size only."""
    if not torch.cuda.is_available():
        print("gpu: no CUDA device")
        return
    configure_process(Execution(allocator="system"))
    layers = ("JANET", "LEM", "coRNN", "NAS") if find_spec("torchrecurrent") else ()
    kinds: dict[str, Callable[..., Any]] = {
        **{kind.__name__: kind for kind in (RNN, LSTM, GRU, PeepholeLSTM, GateRecurrentLSTM)},
        **{layer: partial(TorchRecurrent, layer=layer) for layer in layers},
    }
    sizes = [(200, 64, hidden) for hidden in (128, 32, 256, 512, 1024)] + [(1000, 8, 128), (50, 256, 256)]
    for (name, kind), (steps, batch, hidden) in product(kinds.items(), sizes):
        with torch.device("cuda"):
            cell, inputs = kind(hidden, hidden), torch.randn(steps, batch, hidden)
        if not cell.can_use("triton"):
            print(f"{name}: {compiler.triton_reason(cell)}")
            continue
        for other in cell.available_backends():
            fast = other == "torch"
            if other == "triton" or not cell.can_use(other) or not (fast or (steps, batch, hidden) == sizes[0]):
                continue
            works = [partial(_train_on_gpu, cell, inputs, backend, 10 if fast else 1) for backend in ("triton", other)]
            ratios = _describe(_paired(*works))
            print(f"{name}, T={steps}, B={batch}, H={hidden}: triton over {other} {ratios}", flush=True)
    for kind, runs in product((LSTM, GRU), (8, 64)):
        cell = partial(kind, hidden_size=128, backend="triton")
        trainers = [_trainer(seed, Adding(200), cell, 64, "cuda") for seed in range(runs + 1)]
        ratios = _describe(_paired(partial(_take, [trainers[1:]]), partial(_take, [trainers[:1]])))
        print(f"{kind.__name__}, T=200, B=64, H=128: {runs} runs side by side over one {ratios}", flush=True)


def _train_on_gpu(cell: Any, inputs: torch.Tensor, backend: str, times: int) -> None:
    cell.backend = backend
    for _ in range(times):
        cell.zero_grad()
        cell(inputs)[0].square().mean().backward()
    torch.cuda.synchronize()


def _makespan(sweep: Path) -> float:
    """Return the seconds from the first run's beginning to the last one's end."""
    begun, ended = (
        [path.stat().st_mtime for path in sweep.glob(f"runs/*/{name}")] for name in ("config.yaml", "result.json")
    )
    assert len(begun) == len(ended) > 0
    return max(ended) - min(begun)


def _bench(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "bench", *arguments], capture_output=True, check=True)


def _paired(one: Callable[[], None], other: Callable[[], None]) -> list[float]:
    """Return the ratios of two works' times, in turn, after a first call of each."""
    one()
    other()
    ratios = []
    for pair in range(PAIRS):
        times = {}
        for work in (one, other) if pair % 2 else (other, one):
            start = perf_counter()
            work()
            times[work] = perf_counter() - start
        ratios.append(times[one] / times[other])
    return ratios


def _describe(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f}–{max(ratios):.3f} over {len(ratios)} pairs)"


if __name__ == "__main__":
    known = {each.__name__: each for each in (overhead, checkpoints, startup, planning, schedule, cohorts, gpu)}
    for name in sys.argv[1:] or known:
        if name not in known:
            print(f"error: no benchmark {name}; choose from {', '.join(known)}", file=sys.stderr)
            raise SystemExit(2)
        known[name]()
