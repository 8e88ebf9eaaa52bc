"""One run, from a configuration to a stored result. Whatever goes wrong in it is a result too."""

import contextlib
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from secrets import token_hex
from time import perf_counter
from typing import Any

from bench.cost.flops import count_flops
from bench.execute.leases import Lease, holding
from bench.execute.probes import UPDATES, asked_probes, lacks_probes, make_missing, probes_of
from bench.probe import diagnose, stored_readings
from bench.record.encoding import flat
from bench.record.errors import explain_os, one_line
from bench.record.fence import LeaseLost
from bench.record.files import Damaged, digest
from bench.record.records import FORMAT, TRAINED, Evaluation, Result, StoredReading
from bench.record.store import METRICS, READINGS, RunFolder, StoredRun
from bench.spec.config import Settings
from bench.spec.identity import as_stored, run_id
from bench.track.tracker import open_tracker
from bench.train.checkpoint import Schedule, read_checkpoint, write_checkpoint
from bench.train.loop import Outcome, course
from bench.train.model import Model, backend_of, count_parameters, make_model, make_task
from bench.train.process import configure_process, environment, is_out_of_memory, limited_memory, memory_limit
from bench.train.steps import Course, finish
from bench.train.streams import make_streams
from bench.train.trainer import Trainer
from bench.train.weights import pack, state_of

# No outcomes: somebody else has the run; it can be resumed; it is to be resumed alone.
LEASED, INTERRUPTED, CROWDED = "leased", "interrupted", "crowded"


def run(config: Settings, stopping: Callable[[], bool] = lambda: False) -> dict[str, Any]:
    """Take a run alone, as `course_of` says."""
    return finish(course_of(config, stopping))


def course_of(
    config: Settings, stopping: Callable[[], bool] = lambda: False, company: Callable[[], bool] = lambda: False
) -> Course[dict[str, Any]]:
    """Train what the configuration says and store the result, unless a finished one is stored already; make the
    probes that it lacks. A run that was interrupted goes on from its checkpoint. Whoever advances this takes its
    steps.

    Args:
        config: of the run.
        stopping: whether to save after the current step and end.
        company: whether other runs are at work in this process.

    Returns:
        The result, as in `result.json`, and `unprobed` if probes could not be made; or just `run_id` and a status that
        is no outcome: "leased" if another process is at it, "interrupted" if it was stopped, "crowded" if memory ran
        out while it was in company.

    Raises:
        ConfigError: a finished run cannot give the probes that are asked for; see `lacks_probes`.
        OSError: the results folder cannot be written.
    """
    identifier = run_id(config.run)
    with holding(config.sweep.folder, identifier) as lease:
        if lease is None:
            return {"run_id": identifier, "status": LEASED}
        held = _Run(config, identifier, lease, stopping, company)
        try:
            result = yield from held.result()
            return {**result, "unprobed": True} if held.unprobed else result
        except Crowded:
            return {"run_id": identifier, "status": CROWDED}
        except LeaseLost:
            return {"run_id": identifier, "status": LEASED}


def store_failure(config: Settings, reason: str) -> dict[str, Any]:
    """Store that a run failed for a reason that it could not store itself, its process having died.

    Raises:
        OSError: the results folder cannot be written.
    """
    identifier = run_id(config.run)
    with contextlib.suppress(LeaseLost), holding(config.sweep.folder, identifier) as lease:
        if lease is not None:
            return flat(_Run(config, identifier, lease).failure(reason))
    return {"run_id": identifier, "status": LEASED}


class _Run:
    """A run on its way to its result, under its lease."""

    def __init__(
        self,
        config: Settings,
        identifier: str,
        lease: Lease,
        stopping: Callable[[], bool] = lambda: False,
        company: Callable[[], bool] = lambda: False,
    ) -> None:
        self.config, self.identifier, self.lease = config, identifier, lease
        self.stopping, self.company = stopping, company
        self.sweep, self.folder = config.sweep.folder, RunFolder(config.sweep.folder, identifier)
        self.schedule = Schedule(config.execution.checkpoint)
        self.attempt = token_hex(4)  # names this beginning of the run in W&B, however often it is resumed
        self.defaults = as_stored(config)["defaults"]
        diagnostics = config.execution.diagnostics
        self.watched = asdict(diagnostics) if diagnostics.kinds and diagnostics.every is not None else None
        self.can_save = True
        self.unprobed = False  # whether probes that are asked for could not be made
        self.readings: list[StoredReading] = []
        self.state: dict[str, Any] | None = None  # of the trained model, as `state_of` returns it

    def failure(self, reason: str) -> Result:
        """Return the result that is stored, or if there is none a failure, which is stored."""
        result = self._as_result(configure_process(self.config.execution), status="failed", solved=False, error=reason)
        with self.folder.entered():
            if self.folder.status() is not None:  # it died after it had stored the result
                return self.folder.read_result() or result
            self.folder.begin(as_stored(self.config))
            self.folder.finish(as_stored(self.config), result)
        return result

    def _as_result(self, allocator: str, **found: Any) -> Result:
        execution = self.config.execution
        return Result(
            run_id=self.identifier, **found, threads=execution.threads, allocator=allocator,
            environment=environment(execution.device),
        )  # fmt: skip

    def result(self) -> Course[dict[str, Any]]:
        """Return the result that is stored, or that of running it. Probes that are missing are made."""
        try:
            stored = self.folder.read()
        except Damaged:
            pass  # it is looked at again, and set aside, once nobody else can write there
        else:
            if stored is not None:
                self.folder.tidy()
                return _outcome(self._with_probes(stored).result)
        with self.folder.entered():
            stored = self._stored()
            if stored is not None:
                return _outcome(self._with_probes(stored).result)
            return (yield from self._new_result())

    def _new_result(self) -> Course[dict[str, Any]]:
        config = self.config
        allocator = configure_process(config.execution)
        state, evaluations = self._resume()
        if state is None:
            self.folder.begin(as_stored(config))
        self.state = None  # that of an attempt that was set aside is not this one's
        self.tracker = tracker = open_tracker(config, self.identifier, self.attempt, self.sweep, evaluations)
        try:
            found = yield from self._attempt(state)
        except Crowded:
            tracker.pause()
            raise
        except Damaged as error:
            tracker.pause()
            self._set_aside(error)
            return (yield from self.result())
        if found["status"] == INTERRUPTED:
            tracker.pause()
            return {"run_id": self.identifier, "status": INTERRUPTED}
        result = self._as_result(allocator, **found)
        self._store(result)
        stored = (
            self._stored_with_probes() if result.status in TRAINED and any(asked_probes(config.execution)) else None
        )
        tracker.finish(result, stored.readings if stored else self.readings)
        return _outcome(stored.result if stored else result)

    def _store(self, result: Result) -> None:
        """Store the outcome with the model's weights; where these are not kept, with the probes made of them now."""
        weights = self._packed()
        kept = weights if self.config.execution.keep == "weights" else None
        if self.state is not None and kept is None and any(asked := asked_probes(self.config.execution)):
            seal = digest(weights) if weights is not None else None
            probes = probes_of(self.config, self.state, seal, result.steps or 0, *asked)
            self._check_lease()
            self.folder.write_probes(probes)
        self._check_lease()
        self.folder.finish(as_stored(self.config), result, kept)

    def _packed(self) -> bytes | None:
        """Return the trained model's weights as a file's content, if there are any that can be read again."""
        if self.state is None:
            return None
        try:
            return pack(self.state)
        except Damaged as error:
            print(f"{self.identifier}: no weights are kept: {error}", file=sys.stderr)
            return None

    def _stored_with_probes(self) -> StoredRun | None:
        """Return the run that was just finished; None if it cannot be read back, and then has its probes later."""
        try:
            stored = self.folder.read()
        except Damaged as error:
            print(f"{error}; no probes are made", file=sys.stderr)
            return None
        return stored and self._with_probes(stored)

    def _with_probes(self, stored: StoredRun) -> StoredRun:
        """Return a finished run with the probes that it lacked."""
        if not lacks_probes(stored, self.config.execution):
            return stored
        try:
            made = make_missing(self.folder, self.config, self.lease.is_held)
            self.unprobed = lacks_probes(made, self.config.execution)
            return made
        except Damaged as error:
            print(f"{error}; no probes are made", file=sys.stderr)
            self.unprobed = True
            return stored

    def _stored(self) -> StoredRun | None:
        """Return the run if it is finished; what was damaged is set aside."""
        try:
            return self.folder.read()
        except Damaged as error:
            self._set_aside(error)
            return None

    def _set_aside(self, reason: Damaged) -> None:
        print(f"{reason}; set aside as {self.folder.set_aside()}, the run starts over", file=sys.stderr)

    def _resume(self) -> tuple[dict[str, Any] | None, list[Evaluation]]:
        """Return the state to go on from and the evaluations of before; None and none if there is no checkpoint."""
        self.readings = []  # nor are these of another attempt
        try:
            state = read_checkpoint(self.folder.checkpoint)
            about = state["run"]
            if (about["format"], about["run_id"]) != (FORMAT, self.identifier):
                raise Damaged(f"{self.folder.checkpoint}: is not this run's")
            if about.get("defaults", self.defaults) != self.defaults:
                raise Damaged(f"{self.folder.checkpoint}: was made when defaults of its cell or task were others")
            if self.watched and about.get("watched") != self.watched:
                raise Damaged(f"{self.folder.checkpoint}: was made without these diagnostics while training")
            self.attempt = str(about["attempt"])
            appended = about["appended"] if "appended" in about else {METRICS: about["metrics"]}
            evaluations, self.readings = self.folder.resume(as_stored(self.config), appended)
            return state, evaluations
        except (FileNotFoundError, NotADirectoryError):
            return None, []
        except (Damaged, KeyError, TypeError) as error:
            damage = error if isinstance(error, Damaged) else Damaged(f"{self.folder.checkpoint}: is damaged")
            self._set_aside(damage)
            return None, []

    def _attempt(self, state: dict[str, Any] | None) -> Course[dict[str, Any]]:
        """Train, and return what came of it; an exception is returned as a status with its reason."""
        facts: dict[str, Any] = {}
        try:
            with limited_memory(memory_limit(self.config.execution)):
                yield from self._train(state, facts)
        except (LeaseLost, StoreError, Damaged):
            raise
        except (Exception, SystemExit) as error:  # a cell may even try to leave
            told = traceback.format_exc()
            # What its frames hold may be the memory that was missing, and those of who takes the steps hold it in turn.
            traceback.clear_frames(error.__traceback__)
            error.__traceback__ = None
            status = "out_of_memory" if is_out_of_memory(error) else "failed"
            if status == "out_of_memory" and self.company():
                raise Crowded from None
            facts |= {"status": status, "solved": False, "error": one_line(error), "traceback": told}
        return facts

    def _train(self, state: dict[str, Any] | None, facts: dict[str, Any]) -> Course[None]:
        """Train, and add to `facts` what becomes known."""
        config = self.config
        task = make_task(config.run)
        facts["baseline_loss"] = task.baseline_loss
        facts["data"] = task.facts() or None
        flops = count_flops(config.run)  # before the streams begin, of which a user's cell may draw in it
        facts["flops_step"] = flops[1] if flops else None
        streams = make_streams(config.run.seed, config.execution.device)
        streams.seed_globals()
        model = make_model(config.run, task)
        facts |= _describe(model)
        trainer = Trainer(model, task, config.run.training, streams, config.run.torch_dtype)
        if state is not None:
            self._restore(trainer, state)
        outcome = yield from course(trainer, self._take_evaluation, self._after_step)
        if outcome.status in TRAINED:
            self.state = state_of(model, trainer.optimizer if UPDATES in config.execution.diagnostics.kinds else None)
        facts |= _summarize(outcome, config)

    def _restore(self, trainer: Trainer, state: dict[str, Any]) -> None:
        try:
            trainer.load_state_dict(state["trainer"])
        except Exception as error:  # whatever a model makes of the state of another
            if is_out_of_memory(error):
                raise
            raise Damaged(f"{self.folder.checkpoint}: does not fit this cell ({one_line(error)})") from error

    def _watch(self, trainer: Trainer) -> None:
        """Make diagnostics while training, and store them."""
        asked, optimizer = self.config.execution.diagnostics, trainer.optimizer.state_dict()

        def say(kind: str, error: Exception) -> None:
            print(f"{self.identifier}: no {kind}: {one_line(error)}", file=sys.stderr)

        trainer.streams.enter()
        found = diagnose(self.config.run, trainer.task, trainer.model, optimizer, asked.sequences, asked.kinds, say)
        readings = stored_readings(found, trainer.step, "training")
        self.readings += readings
        self._append(READINGS, readings)

    def _take_evaluation(self, evaluation: Evaluation) -> None:
        self._append(METRICS, [evaluation])
        self.tracker.log(evaluation)

    def _append(self, name: str, records: Sequence[Evaluation] | Sequence[StoredReading]) -> None:
        self._check_lease()
        try:
            self.folder.append(name, records)
        except OSError as error:
            raise StoreError(error) from error

    def _after_step(self, trainer: Trainer) -> bool:
        """Save where the run stands if it is time; returns whether to go on."""
        every = self.config.execution.diagnostics.every
        if self.watched and every is not None and trainer.step % every == 0:
            self._watch(trainer)
        stop = self.stopping()
        if stop or self.schedule.is_due(trainer.step, trainer.sharing):
            start = perf_counter()
            self._save(trainer)
            self.schedule.wrote(perf_counter() - start)
        return not stop

    def _save(self, trainer: Trainer) -> None:
        self._check_lease()
        about = {
            "format": FORMAT, "run_id": self.identifier, "attempt": self.attempt, "defaults": self.defaults,
            "watched": self.watched,
        }  # fmt: skip
        try:
            about["appended"] = self.folder.appended_state()
            state = {"run": about, "trainer": trainer.state_dict()}
            write_checkpoint(self.folder.checkpoint, state, self.folder.write)
        except OSError as error:  # the run itself is none the worse
            if self.can_save:
                print(f"no checkpoint: {explain_os(error)}; the run goes on", file=sys.stderr)
            self.can_save = False

    def _check_lease(self) -> None:
        if not self.lease.is_held():
            raise LeaseLost


class Crowded(MemoryError):
    """Memory ran out for a run in company, for which it may suffice alone."""


class StoreError(OSError):
    """The results folder cannot be written: not the run's fault, and nothing that could be stored as its outcome."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(*cause.args[:2], *([cause.filename] if cause.filename else []))


def _outcome(result: Result) -> dict[str, Any]:
    """Return a result as `bench.run` does, without what its file has beside the outcome."""
    return {key: value for key, value in flat(result).items() if key not in ("format", "config", "files")}


def _describe(model: Model) -> dict[str, Any]:
    return {
        "parameters": count_parameters(model),
        "cell_parameters": count_parameters(model.cell),
        "backend": backend_of(model.cell),
    }


def _summarize(outcome: Outcome, config: Settings) -> dict[str, Any]:
    final, solved_at = outcome.final, outcome.solved_at
    return {
        "status": outcome.status,
        "solved": outcome.status == "solved",
        "steps_to_solve": solved_at.step if solved_at else None,
        "seconds_to_solve": solved_at.seconds if solved_at else None,
        "steps": outcome.steps,
        "samples": outcome.steps * config.run.training.batch_size,
        "seconds": outcome.seconds,
        "step_ms": 1000 * outcome.seconds / outcome.steps if outcome.steps else None,
        "final_loss": final.loss if outcome.status != "diverged" else None,  # that of before it diverged is not it
        "final_score": final.score,
        "best_step": final.step if outcome.test_loss is not None else None,
        "test_loss": outcome.test_loss,
        "test_score": outcome.test_score,
        "error": outcome.error,
    }
