"""The folder of a sweep: whether all can be written there, and all its runs. STORE.md says what each file is."""

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
    about: Runs = {}
    for folder in sweep.glob("runs/*/"):
        config = RunFolder(sweep, folder.name).read_begun()
        if config is not None:
            about[folder.name] = config["cell"]["name"], config["task"]["name"], config["seed"]
    return about
