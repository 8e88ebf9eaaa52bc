"""Runs and sweeps asked for from Python, given as on the command line."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException

from bench.execute.apart import Worker
from bench.record.encoding import flat
from bench.record.errors import ConfigError
from bench.record.store import RunFolder
from bench.spec.command import Command, is_new, tool_of
from bench.spec.config import register_with_hydra, to_plain
from bench.spec.explain import explain
from bench.startup import module_path

SWEEP_IN = re.compile("sweep .* → (.*)")  # as the command announces it


def run_single(*overrides: str) -> dict[str, Any]:
    """See `bench.run`."""
    register_with_hydra()
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()  # of an application that calls this; it has its own back afterwards
    with Worker() as worker:
        try:
            with initialize_config_module("conf", version_base="1.3"):
                composed = compose("config", list(overrides), return_hydra_config=True)
                if composed.hydra.mode is not None and composed.hydra.mode.name == "MULTIRUN":
                    raise ConfigError("this runs a single configuration; for a sweep, use bench.run_sweep")
                if is_new(composed):
                    worker.start(tool_of(composed))  # torch takes seconds to import, here and there
                from bench.execute.plan import make_plan

                plan = make_plan(Command(composed), worker)
        except HydraException as error:
            raise ConfigError(explain(error)) from error
        finally:
            GlobalHydra.instance().clear()
            if outer is not None:
                GlobalHydra.instance().initialize(outer)
        config = plan.first
        if not config.sweep.train:
            raise ConfigError("train=false: times are for the command line; this trains")
        from bench.execute.progress import SweepProgress, shows_bars
        from bench.spec.identity import run_id

        folder = RunFolder(config.sweep.folder, run_id(config.run))
        shown = SweepProgress(plan) if plan.pending and shows_bars() else None
        try:
            answer = worker.execute(to_plain(config))
        finally:
            if shown is not None:
                shown.stop()
    result = folder.read_result()
    if result is None:
        raise RuntimeError(f"{run_id(config.run)}: {answer.get('error', answer['status'])}")
    stored = folder.read()  # with its probes
    return {**flat(stored.result if stored else result), "folder": str(folder.path)}


def run_sweep(*overrides: str) -> Path:
    """See `bench.run_sweep`."""
    from bench.execute.progress import Lines

    lines, said, folder, interrupted = Lines(), "", None, False
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "bench", *overrides],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(module_path())},
        start_new_session=True,  # an interrupt is for this process, which passes it on once
    ) as command:
        assert command.stdout is not None
        while True:
            try:
                for line in command.stdout:
                    said = line.rstrip("\n")
                    lines.show(said)
                    folder = folder or SWEEP_IN.fullmatch(said)
                break
            except KeyboardInterrupt:
                interrupted = True
                command.send_signal(signal.SIGINT)  # its runs save, and it says how to continue
    if interrupted:
        raise KeyboardInterrupt
    if command.returncode == 2:
        raise ConfigError(said.removeprefix("error: "))
    if folder is None or command.returncode not in (0, 1):
        raise RuntimeError(said)
    return Path(folder[1])
