"""A run asked for from Python, given as on the command line."""

from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException

from bench.execute.apart import Worker
from bench.execute.plan import make_plan
from bench.record.encoding import flat
from bench.record.errors import ConfigError
from bench.record.store import RunFolder
from bench.spec.command import Command
from bench.spec.config import register_with_hydra, to_plain
from bench.spec.explain import explain
from bench.spec.identity import run_id


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
                    raise ConfigError("a sweep is for the command line; this runs a single configuration")
                config = make_plan(Command(composed), worker).first
        except HydraException as error:
            raise ConfigError(explain(error)) from error
        finally:
            GlobalHydra.instance().clear()
            if outer is not None:
                GlobalHydra.instance().initialize(outer)
        if not config.sweep.train:
            raise ConfigError("train=false: times are for the command line; this trains")
        folder = RunFolder(config.sweep.folder, run_id(config.run))
        answer = worker.execute(to_plain(config))
    result = folder.read_result()
    if result is None:
        raise RuntimeError(f"{run_id(config.run)}: {answer.get('error', answer['status'])}")
    stored = folder.read()  # with its probes
    return {**flat(stored.result if stored else result), "folder": str(folder.path)}
