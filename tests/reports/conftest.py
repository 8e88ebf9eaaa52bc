"""A stored sweep made of numbers chosen here, not measured."""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

CELLS = {"rnn": None, "lstm": 700, "gru": 350}


@pytest.fixture(autouse=True)
def _figures_are_empty_files(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing them takes most of a report's time: it is done for tests that are marked as `drawn`, and by those of
    figures."""
    if request.node.get_closest_marker("drawn") is None:
        monkeypatch.setattr("reports.sections.content.save", lambda _, folder, name: (folder / f"{name}.png").touch())


def write_run(sweep: Path, cell: str, task: str, seed: int, steps_to_solve: int | None, **changes: Any) -> None:
    """Store one run as bench.record.store does."""
    status = changes.pop("status", "unsolved" if steps_to_solve is None else "solved")
    settings = {"adding": {"length": 50}, "copy": {"delay": 10}}[task] | changes.pop("settings", {})
    training = {"learning_rate": 0.01, "batch_size": 64, "max_steps": 1500} | changes.pop("training", {})
    config = {
        "name": sweep.name,
        "seed": seed,
        "device": "cpu",
        "dtype": "float32",
        "cell": {"_target_": f"cells.{cell.upper()}", "name": cell, "hidden_size": changes.pop("hidden_size", 64)},
        "task": {"_target_": "tasks.Any", "name": task, **settings},
        "training": training,
    }
    options = changes.pop("cell_options", {})
    config["cell"] |= options
    config["reference"] = changes.pop("reference", {})
    config["horizon"] = changes.pop("horizon", None)
    values = [config["cell"]["hidden_size"], *settings.values(), *training.values()]
    values += options.values()
    said = "-".join(re.sub(r"[\[\] ,]", "", str(value)) for value in values)
    run_id = f"{cell}-{task}-s{seed}-{said}"
    steps = 1500 if steps_to_solve is None else steps_to_solve + 100
    final = 0.17 if steps_to_solve is None else 0.004 + 0.001 * seed
    result = {
        "format": 1,
        "run_id": run_id,
        "baseline_loss": 1 / 6,
        "parameters": 17_217,
        "cell_parameters": 17_152,
        "backend": "torch",
        "status": status,
        "solved": status == "solved",
        "steps_to_solve": steps_to_solve,
        "seconds_to_solve": None,
        "steps": steps,
        "samples": steps * 64,
        "seconds": 3.0,
        "step_ms": 2.0,
        "final_loss": final,
        "error": changes.pop("error", None),
        "threads": 1,
        "allocator": "tuned",
        "environment": {"python": "3.11", "cpu": "a cpu", "version_torch": "2"},
        **changes,
    }
    folder = sweep / "runs" / run_id
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    records = [
        {
            "step": step,
            "samples": step * 64,
            "seconds": step / 500,
            "loss": final + 0.2 * 2 ** (-step / 100),
            "solved": False,
        }
        for step in range(0, steps + 1, 50)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "result.json").write_text(json.dumps(result))


def write_timing(sweep: Path) -> None:
    """Store a timing study in which a GRU takes exactly 1.5 times an LSTM, whatever the round."""
    rows = []
    for cell, factor in (("lstm", 1.0), ("gru", 1.5)):
        for number in range(9):
            load = 10 + number % 3  # the machine's speed drifts: absolute times spread, ratios do not
            for quantity, value in (
                ("training_step", factor * load),
                ("forward", factor * load / 3),
                ("inference_step", factor * load / 100),
                ("gemm", 1000 / load),
            ):
                rows.append((cell, quantity, number, value))
        rows += [
            (cell, "flops_training_step", None, 2e8 * (1.2 if cell == "gru" else 1)),
            (cell, "first_call", None, 40.0),
            (cell, "peak_memory", None, 9.0),
        ]
    frame = pd.DataFrame(rows, columns=["cell", "quantity", "round", "value"])
    common = {
        "sweep": sweep.name,
        "group": "g",
        "form": "own",
        "task": "adding",
        "backend": "torch",
        "device": "cpu",
        "dtype": "float32",
        "threads": 1,
        "time_steps": 50,
        "batch_size": 64,
        "input_size": 2,
        "hidden_size": 64,
        "unit": "",
        "environment": json.dumps({"cpu": "a cpu"}),
        "task.length": 50,
        "cell.hidden_size": 64,
    }
    adding = frame.assign(case=frame["cell"], **common)
    copy = adding.drop(columns="task.length").assign(task="copy", group="h", **{"task.delay": 10})
    frame = pd.concat([adding, copy])
    frame.convert_dtypes().to_parquet(sweep / "timing.parquet")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Three cells on two tasks, three seeds: the RNN never solves, the others do around their steps."""
    folder = tmp_path / "demo"
    for task in ("adding", "copy"):
        for cell, steps in CELLS.items():
            for seed in range(3):
                write_run(folder, cell, task, seed, None if steps is None else steps + 50 * (seed - 1))
    write_timing(folder)
    (folder / "sweep.json").write_text(json.dumps({"commands": ["python -m bench +sweep=demo"]}))
    return folder
