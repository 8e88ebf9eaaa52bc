"""One run, from a configuration to a stored result. Whatever goes wrong in it is a result too."""

import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from bench.config import Config
from bench.identity import run_id
from bench.model import Model, backend_of, count_parameters, make_model, make_task
from bench.process import configure_process, environment
from bench.seeds import make_streams
from bench.store import RunFolder
from bench.tracking import open_tracker
from bench.training import Evaluation, Outcome, train


def run(config: Config) -> dict[str, Any]:
    """Train what the configuration says and store the result, unless a finished one is stored already.

    Returns:
        The result, as in `result.json`.

    Raises:
        OSError: the results folder cannot be written.
    """
    sweep = Path(config.results_dir) / config.name
    identifier = run_id(config)
    folder = RunFolder(sweep, identifier)
    stored = folder.read_result()
    if stored is not None:
        return stored
    allocator = configure_process(config.threads, config.allocator)
    folder.begin(asdict(config))
    tracker = open_tracker(config, identifier, sweep)

    def on_evaluation(evaluation: Evaluation) -> None:
        record = _record(evaluation)
        folder.append(record)
        tracker.log(record)

    result = {
        "run_id": identifier,
        **_attempt(config, on_evaluation),
        "threads": config.threads,
        "allocator": allocator,
        "environment": environment(config.device),
    }
    tracker.finish(result)
    folder.finish(result)
    return result


def _attempt(config: Config, on_evaluation: Any) -> dict[str, Any]:
    """Train, and return what came of it; an exception is returned as a status with its reason."""
    facts: dict[str, Any] = {}
    try:
        task = make_task(config)
        facts["baseline_loss"] = task.baseline_loss
        streams = make_streams(config.seed, config.device)
        torch.manual_seed(streams.initialization)
        model = make_model(config, task)
        facts |= _describe(model)
        outcome = train(model, task, config.training, streams, config.torch_dtype, on_evaluation)
        return facts | _summarize(outcome, config)
    except Exception as error:
        status = "out_of_memory" if is_out_of_memory(error) else "failed"
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:500]
        return facts | {"status": status, "solved": False, "error": reason, "traceback": traceback.format_exc()}


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that memory ran out, on a GPU or a CPU."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def _describe(model: Model) -> dict[str, Any]:
    return {
        "parameters": count_parameters(model),
        "cell_parameters": count_parameters(model.cell),
        "backend": backend_of(model.cell),
    }


def _record(evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluation as a line of metrics.jsonl."""
    fields = asdict(evaluation)
    score = fields.pop("score")
    return fields | {f"score.{name}": value for name, value in score.items()}


def _summarize(outcome: Outcome, config: Config) -> dict[str, Any]:
    final, solved_at = outcome.final, outcome.solved_at
    return {
        "status": outcome.status,
        "solved": outcome.status == "solved",
        "steps_to_solve": solved_at.step if solved_at else None,
        "seconds_to_solve": solved_at.seconds if solved_at else None,
        "steps": outcome.steps,
        "samples": outcome.steps * config.training.batch_size,
        "seconds": outcome.seconds,
        "step_ms": 1000 * outcome.seconds / outcome.steps,
        "final_loss": final.loss if outcome.status != "diverged" else None,  # that of before it diverged is not it
        **{f"final_score.{name}": value for name, value in final.score.items()},
        "error": outcome.error,
    }
