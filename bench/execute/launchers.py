"""Hydra's launchers: what they need beyond their configuration in `conf/launch`, how many workers each has room for,
and how it is told when one has lost a process."""

import os
import shutil
import signal
import socket
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.execute.apart import Worker
from bench.execute.turn import Turn
from bench.record.errors import ConfigError, one_line
from bench.spec.command import Command, loader, runs_here
from bench.spec.explain import explain
from bench.startup import ROOT

# Packages whose exceptions say that a process of theirs was lost, and with it what it was asked to do.
_PACKAGES = ("joblib", "ray", "submitit")
MOST_WORKERS = 256  # of a launcher that does not say


def launch(command: Command, turn: Turn, runs: int, example: list[str], worker: Worker) -> dict[str, str]:
    """Have the launcher of a sweep start workers, and return when they have ended. A single run is taken here.

    Args:
        turn: what each worker does.
        runs: that are to be taken; there are no more workers than that.
        example: the overrides of one of them, which tell a launcher where their sweep is.
        worker: for a single run; its process ends before a launcher starts others, which on this machine are forks of
            the same template.

    Returns:
        Why runs could not be stored, by run_id.
    """
    if not command.is_sweep:
        return turn.take(worker)
    template = None
    if runs_here(command.master.hydra.launcher):
        template = worker.lend()
    else:
        worker.close()
    setup_globals()
    workers = min(runs, room(command.master.hydra.launcher))
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=HydraContext(config_loader=loader(), callbacks=Callbacks()),
        task_function=replace(turn, workers=workers, template=template),
        config=command.master,
    )
    returned = launcher.launch([example] * workers, initial_job_idx=0)
    return {run_id: reason for each in returned for run_id, reason in each.return_value.items()}


def room(launcher: DictConfig) -> int:
    """Return how many workers a launcher runs at once at the most; those that it would have wait find nothing to do."""
    kind = _kind(launcher)
    if kind == "BasicLauncher":
        return 1
    if kind == "JoblibLauncher":
        at_once, cores = int(launcher.get("n_jobs") or -1), os.cpu_count() or 1
        return at_once if at_once > 0 else max(1, cores + 1 + at_once)
    if kind == "RayLauncher":
        return _room_of_ray(launcher)
    if kind == "LocalLauncher":  # submitit's, which starts all at once
        return max(1, (os.cpu_count() or 1) // int(launcher.get("cpus_per_task") or 1))
    return int(launcher.get("array_parallelism") or MOST_WORKERS)


def _room_of_ray(launcher: DictConfig) -> int:
    """Return how many workers a Ray has the processors and GPUs for; one that grows when asked to, more."""
    import ray

    if launcher.ray.init.get("address") or not ray.is_initialized():
        return MOST_WORKERS
    has, needs = ray.cluster_resources(), launcher.ray.remote
    shares = [has.get(name, 0) / need for name, need in (("CPU", needs.num_cpus), ("GPU", needs.num_gpus)) if need]
    return max(1, int(min(shares, default=MOST_WORKERS)))


def _kind(launcher: DictConfig) -> str:
    return str(launcher.get("_target_")).rpartition(".")[2]


def prepare_launcher(launcher: Any) -> None:
    """Check that the launcher can be used here, and start what it needs.

    Raises:
        ConfigError: it cannot; the message says why.
    """
    if not isinstance(launcher, DictConfig) or "_target_" not in launcher:
        raise ConfigError("hydra.launcher: must be a launcher's settings; +launch=… chooses one")
    try:
        Plugins.instance()._instantiate(launcher)  # as Hydra does, but now
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"hydra.launcher: {explain(error)}") from error
    if _kind(launcher) == "SlurmLauncher" and shutil.which("srun") is None:
        raise ConfigError("+launch=slurm: there is no srun here; run this where Slurm is, or try +launch=submitit")
    if _kind(launcher) == "RayLauncher":
        _start_ray(launcher)


def _start_ray(launcher: DictConfig) -> None:
    """Start Ray as the launcher would, but keep the command's own handling of signals: Ray's is to abort."""
    import ray

    address = launcher.ray.init.get("address")
    if address:
        _check_listens(str(address))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        if not ray.is_initialized():
            job = ray.job_config.JobConfig()
            job._py_driver_sys_path = _OwnLast()
            settings: Any = OmegaConf.to_container(launcher.ray.init, resolve=True)
            ray.init(**settings, job_config=job)
    except Exception as error:
        raise ConfigError(f"+launch=ray: Ray does not start ({one_line(error)})") from error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


class _OwnLast(list[str]):
    """Folders that Ray has its processes search: the last one first, which it would have be the working directory."""

    def extend(self, more: Iterable[str]) -> None:
        super().extend([*more, ROOT])


def _check_listens(address: str) -> None:
    """Raise ConfigError if nothing answers at HOST:PORT; Ray itself would wait for many minutes."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if not (host and port.isdecimal()):
        return  # "auto", or what Ray alone understands
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"hydra.launcher.ray.init.address={address}: no Ray there ({one_line(error)})") from error


def lost_a_process(error: Exception) -> bool:
    """Tell whether an exception comes from a launcher that lost a process, and not from what ran in it."""
    return any(kind.__module__.partition(".")[0] in _PACKAGES for kind in type(error).__mro__)
