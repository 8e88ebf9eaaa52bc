"""The files of a sweep: where each is, and what is in the folder of all of them. STORE.md documents the format.

<results_dir>/<sweep>/
  runs/<run_id>/config.yaml     the resolved configuration, for people
  runs/<run_id>/metrics.jsonl   a record per evaluation, appended
  runs/<run_id>/diagnostics.jsonl  diagnostics made while training, appended, if any were asked for
  runs/<run_id>/weights.pt      of the trained model
  runs/<run_id>/result.json     the outcome, configuration and checksums; its presence means finished
  runs/<run_id>/probe.json      what was measured from the weights
  runs/<run_id>/checkpoint.pt   only while unfinished
  results.parquet               a row per run        (made from runs/, see bench.record.frames)
  curves.parquet                a row per evaluation and metric
  diagnostics.parquet           a row per point of all diagnostics
  timing.parquet                a row per measurement of the timing study
  sweep.json, plan.json         the commands that were given, and the runs that they planned (see bench.record.asked)
  plans/                        the specifications of a command's runs, from which its workers take them
  rules.yaml                    what is put to the test, and its rules, as they were before the runs
  leases/                       who works on what just now
  set_aside/                    folders of runs that were damaged, or that were asked for again
  report/                       README.md and figures
  tuning/                       Optuna's studies
  wandb/                        offline runs; tensorboard/, mlflow/: those of another tracker
"""

import errno
import os
from pathlib import Path

from bench.record.errors import ConfigError
from bench.record.files import Damaged
from bench.record.records import Runs
from bench.record.store import RunFolder, StoredRun

TABLES = ("results.parquet", "curves.parquet", "diagnostics.parquet", "timing.parquet")
FILES = (*TABLES, "sweep.json", "plan.json", "rules.yaml", "report/README.md")
FOLDERS = ("runs", "plans", "leases", "set_aside", "report", "tuning")


def check_layout(sweep: Path) -> None:
    """Check, before anything is done, that all can be written in a sweep's folder that will have to be.

    Raises:
        ConfigError: something else is in the place of a file or a folder.
    """
    for name in FILES:
        if (sweep / name).is_dir():
            raise ConfigError(f"{sweep / name}: is a folder, and a file is to be written there; move it away")
    for name in FOLDERS:
        if os.path.lexists(sweep / name) and not (sweep / name).is_dir():
            raise ConfigError(f"{sweep / name}: is not a folder, and one has to be there; move it away")
    report_folder(sweep)


def report_folder(sweep: Path) -> Path:
    """Return where a sweep's report is written.

    Raises:
        ConfigError: a link is there, through which some other folder's files would be overwritten.
    """
    path = sweep / "report"
    if path.is_symlink():
        raise ConfigError(
            f"{path}: is a link, through which no report is written; remove it, or name another folder to "
            f"python -m reports {sweep} --output"
        )
    return path


def read_runs(sweep: Path) -> tuple[list[StoredRun], list[str]]:
    """Return all finished runs of a sweep's folder, sorted by run_id, and what is wrong with what is left out: whole
    runs, or a run's probes."""
    folder = sweep / "runs"
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_symlink() or entry.is_dir())
    except OSError as error:
        if error.errno == errno.ENOENT and not folder.is_symlink():
            return [], []
        return [], [f"{folder}: cannot be read ({os.strerror(error.errno or 0)})"]
    runs, wrong = [], []
    for name in names:
        try:
            run = RunFolder(sweep, name).read()
        except Damaged as error:
            wrong.append(str(error))
            continue
        if run is not None:
            runs.append(run)
            wrong += [run.damage] if run.damage else []
    return runs, wrong


def unfinished_runs(sweep: Path) -> Runs:
    """Return cell, task and seed of the runs that were begun and have no result, by run_id."""
    found: Runs = {}
    for folder in sweep.glob("runs/*/"):
        config = RunFolder(sweep, folder.name).read_begun()
        if config is not None:
            found[folder.name] = config["cell"]["name"], config["task"]["name"], config["seed"]
    return found
