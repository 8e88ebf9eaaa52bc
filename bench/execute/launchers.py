"""What Hydra's launchers need beyond their configuration in `conf/launch`, and how it is told when one is lost."""

import shutil
import signal
import socket
from collections.abc import Iterable
from typing import Any

from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.record.errors import ConfigError, one_line
from bench.spec.explain import explain
from bench.startup import ROOT

# Packages whose exceptions say that a process of theirs was lost, and with it what it was asked to do.
_PACKAGES = ("joblib", "ray", "submitit")


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
    kind = str(launcher.get("_target_")).rpartition(".")[2]
    if kind == "SlurmLauncher" and shutil.which("srun") is None:
        raise ConfigError("+launch=slurm: there is no srun here; run this where Slurm is, or try +launch=submitit")
    if kind == "RayLauncher":
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
