"""The one road from a run's weights to what is measured in them, right after training or years later."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from msgspec import structs

from bench.probe.look import look
from bench.probe.subject import CannotStep, Reading, Subject
from bench.record.errors import one_line
from bench.record.records import Diagnostic, Lengthened, Moment, Probes, StoredReading
from bench.spec.config import RunSpec
from bench.spec.optimizer import make_optimizer
from bench.train.model import Model, make_task
from bench.train.streams import kept_globals, make_streams
from bench.train.trainer import evaluate
from bench.train.weights import initial_model, trained_model
from tasks import Task

OnFailure = Callable[[str, Exception], None]


def probe(
    spec: RunSpec,
    state: Mapping[str, Any],
    steps: int,
    sequences: int,
    kinds: Collection[str],
    factors: Collection[int],
    on_failure: OnFailure,
) -> Probes:
    """Make diagnostics before and after training, and evaluations at longer lengths.

    Each measurement has a model of its own, and begins with all generators seeded: what it finds does not depend on
    what else is asked for, nor on when. The generators of this process are left as they were.

    Args:
        spec: of the run.
        state: what `bench.train.weights.state_of` returned.
        steps: that the run was trained for.
        sequences: that each diagnostic is made from.
        kinds: of diagnostics.
        factors: of the length trained for; at 1, on the sequences held out in training.
        on_failure: told of what fails; the others go on.

    Raises:
        Damaged: the state is that of another model.
    """
    task = make_task(spec)
    failed: dict[str, str] = {}

    def tell(what: str, error: Exception, name: str | None = None) -> None:
        failed[name or what] = str(error) if isinstance(error, CannotStep) else one_line(error)
        on_failure(what, error)

    def diagnostic(kind: str) -> Diagnostic:
        first = diagnose(spec, task, initial_model(spec, task), None, sequences, [kind], tell)
        last = diagnose(spec, task, trained(), state.get("optimizer"), sequences, [kind], tell)
        readings = [*stored_readings(first, 0, "start"), *stored_readings(last, steps, "end")]
        return Diagnostic(sequences, readings)

    def evaluation(factor: int) -> Lengthened | None:
        model = trained()
        try:
            return _evaluate_at(factor, spec, task, model)
        except NotImplementedError:  # the task has no such length
            pass
        except Exception as error:
            tell(f"evaluation at {factor} times the length", error, str(factor))
        return None

    def trained() -> Model:
        return trained_model(spec, task, state)

    with kept_globals(spec.device):
        diagnostics = {kind: diagnostic(kind) for kind in kinds}
        lengthened = {factor: evaluation(factor) for factor in factors}
        return Probes(diagnostics=diagnostics, lengthened=lengthened, failed=failed)


def stored_readings(readings: Iterable[Reading], step: int, moment: Moment) -> list[StoredReading]:
    """Return readings as they are stored."""
    return [StoredReading(**structs.asdict(reading), step=step, moment=moment) for reading in readings]


def diagnose(
    spec: RunSpec,
    task: Task,
    model: Model,
    optimizer: dict[str, Any] | None,
    sequences: int,
    kinds: Collection[str],
    on_failure: OnFailure,
) -> list[Reading]:
    """Make diagnostics of a model, on the same sequences whenever that is.

    Args:
        spec: of its run.
        task: that it is trained on.
        model: as it is at some moment.
        optimizer: the state of whatever makes its steps; None if it has made none.
        sequences: to make them from.
        kinds: of diagnostics.
        on_failure: told of a kind that fails; the others go on.
    """
    generator = make_streams(spec.seed, spec.device).diagnostics
    batch = task.sample(sequences, generator).to(spec.torch_dtype)
    if optimizer is None and "updates" in kinds:  # the others need none, and some take torch seconds to make
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = make_optimizer(spec.training, parameters).state_dict()
    return look(Subject(model, task, batch, spec.training, optimizer or {}), kinds, on_failure)


def _evaluate_at(factor: int, spec: RunSpec, task: Task, model: Model) -> Lengthened:
    """Evaluate a model at a multiple of the length trained for; NotImplementedError if the task has no such length."""
    task = task if factor == 1 else task.lengthened(factor)
    streams = make_streams(spec.seed, spec.device)
    batch = task.held_out(spec.training.evaluation_size, streams.evaluation).to(spec.torch_dtype)
    loss, score = evaluate(model, task, batch)
    # JSON has no infinity, and a model may well end there on what it never met.
    finite = {name: value if math.isfinite(value) else None for name, value in score.items()}
    known = loss if math.isfinite(loss) else None
    return Lengthened(factor, known, task.baseline_loss, finite, task.solved(score))
