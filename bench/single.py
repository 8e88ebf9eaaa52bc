"""A run asked for from Python, given as on the command line."""

from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException

from bench.execute.apart import execute
from bench.execute.plan import make_plan
from bench.record.errors import ConfigError
from bench.record.store import RunFolder
from bench.spec.command import Command
from bench.spec.config import plain_values, register_with_hydra
from bench.spec.explain import explain
from bench.spec.identity import run_id


def run_single(*overrides: str) -> dict[str, Any]:
    """See `bench.run`."""
    register_with_hydra()
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()  # of an application that calls this; it has its own back afterwards
    try:
        with initialize_config_module("conf", version_base="1.3"):
            composed = compose("config", list(overrides), return_hydra_config=True)
            if composed.hydra.mode is not None and composed.hydra.mode.name == "MULTIRUN":
                raise ConfigError("a sweep is for the command line; this runs a single configuration")
            plan = make_plan(Command(composed))
            values = plain_values(composed)
    except HydraException as error:
        raise ConfigError(explain(error)) from error
    finally:
        GlobalHydra.instance().clear()
        if outer is not None:
            GlobalHydra.instance().initialize(outer)
    config = plan.first
    if not config.train:
        raise ConfigError("train=false: times are for the command line; this trains")
    folder = RunFolder(Path(config.results_dir) / config.name, run_id(config))
    answer = execute(values)
    result = folder.read_result()
    if result is None:
        raise RuntimeError(f"{run_id(config)}: {answer.get('error', answer['status'])}")
    stored = folder.read()
    return {**result, "lengthened": stored and stored.result["lengthened"], "folder": str(folder.path)}
