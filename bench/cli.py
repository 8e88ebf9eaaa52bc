"""The command line: help, Hydra, and errors as one line with exit code 2."""

import contextlib
import io
import logging
import math
import os
import shlex
import signal
import sys
import threading
from argparse import Namespace
from typing import Any, NoReturn

import hydra
from hydra._internal.hydra import Hydra
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from bench import __version__
from bench.arguments import parse_arguments
from bench.catalogue import FLAGS, describe_groups
from bench.execute.launchers import lost_a_process
from bench.record.errors import ConfigError, explain_memory, explain_os, one_line, printable
from bench.session import Again, NextRound, PastHydra, has_begun, runs_left, session, stop
from bench.spec.explain import explain

MOST_CHARACTERS = 700  # of an error
MOST_FRUITLESS = 3  # passes in which no run is finished, before the command gives up

HELP = """\
Compare recurrent networks: train cells on tasks with several seeds, time them, write a report.

  python -m bench +sweep=quick                    a sweep; its report is results/quick/report/README.md
  python -m bench +sweep=quick cell=gru seed=0    narrowed by any override
  python -m bench cell=gru task=adding            a single run
  python -m bench +sweep=quick +launch=serial     another launcher
  python -m bench --cells                         each cell with its options and source; also --tasks, --sweeps
  python -m bench --settings                      every setting, its default, and what it is
  python -m bench cell=gru --cfg job              print the configuration; every key in it can be overridden
  python -m reports results/quick                 write the report again
  python -m reports list                          the sweeps in results/; show RUN_ID: what is stored of a run
  python -m reports dashboard results/quick       its workspace and report in W&B

  python -m bench probe results/quick lengthen=[2,4] diagnostics=standard
                                                  measure trained models further, without training again

  python -m bench +sweep=claims_quick part=gates  one part of a sweep that has several
  python -m bench +sweep=quick retry=failed       again what failed, and nothing else
  python -m bench +sweep=quick dry_run=true       what would be run, and what it costs at most

The same command again continues: finished runs are kept, unfinished ones go on where they were.
{groups}
Exit codes: 0 all runs finished, 1 some failed, 2 the command cannot be run, 130 or 143 stopped by Ctrl-C or SIGTERM.
Installed, it is also the command recurrent-bench; eval "$(recurrent-bench -sc install=bash)" has the shell complete it.
Hydra's own flags: python -m bench --hydra-help
"""


def main() -> None:
    """Run the command line in `sys.argv`."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(HELP.format(groups=describe_groups()))
        return
    if sys.argv[1:2] and sys.argv[1] in FLAGS:
        print(FLAGS[sys.argv[1]]())
        return
    if "--version" in sys.argv[1:]:
        print(f"recurrent-bench {__version__}")
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach `explain` instead of Hydra's own printing
    logging.getLogger("hydra").addHandler(logging.NullHandler())  # it would log what it also raises
    with session():
        stopping = Stopping()
        try:
            _probe() if sys.argv[1:2] == ["probe"] else _run_until_done()
        except KeyboardInterrupt:
            stopping.leave()
        except PastHydra as carrier:
            _fail(carrier.error)
        except Exception as error:
            _fail(error)


def _fail(error: Exception) -> NoReturn:
    """Say in a line what went wrong, and end with the exit code for it; an error of this program is raised."""
    if isinstance(error, ConfigError):
        reason, code = str(error), 2
    elif isinstance(error, MemoryError):
        reason, code = f"{explain_memory(error)}; what was finished is kept", 1
    elif isinstance(error, HydraException | OmegaConfBaseException) or not has_begun():
        reason, code = explain(error), 2  # before it has begun, it is whatever Hydra makes of some command lines
    elif isinstance(error, StuckError):
        reason, code = f"{error}; what was finished is kept, and the same command continues", 1
    elif isinstance(error, OSError):
        reason, code = f"{explain_os(error)}; what was finished is kept", 1
    else:
        raise error
    print(f"error: {printable(reason)[:MOST_CHARACTERS]}", file=sys.stderr)
    raise SystemExit(code) from None


class StuckError(RuntimeError):
    """Runs are left, and none gets finished."""


def _probe() -> None:
    from bench.probing import probe_sweep

    probe_sweep(sys.argv[2:])


def _run_until_done() -> None:
    """Run the command, and again as long as that leaves runs that nobody is at: a process died over them.

    Raises:
        StuckError: again and again, no run gets finished.
    """
    from bench.spec.config import register_with_hydra

    parse_arguments(sys.argv[1:])
    register_with_hydra()
    left, fruitless = math.inf, 0
    while True:
        try:
            return _run(parse_arguments(sys.argv[1:]))  # anew: Hydra adds to them
        except NextRound:
            left, fruitless = math.inf, 0
            continue
        except Again:
            reason = "and nobody is at them"
        except Exception as error:
            if not lost_a_process(error):
                raise
            reason = f"the launcher fails: {one_line(error)}"
        left, before = runs_left(), left
        fruitless = 0 if left < before else fruitless + 1
        if fruitless == MOST_FRUITLESS:
            raise StuckError(f"{left} runs are left, {reason}, again and again")
        print(f"{left} runs are left, {reason}; going on", file=sys.stderr)


class Stopping:
    """Ends the command when it is asked to: runs save, then the command ends; asked again, it ends at once.

    A terminal sends Ctrl-C to all processes of a command, those of launchers too, which would end in the middle of
    things. All inherit that SIGINT is blocked; here a thread of its own waits for it."""

    def __init__(self) -> None:
        self.code = 130
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        threading.Thread(target=self._wait_for_interrupt, daemon=True).start()
        self._signals = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1}
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup has it
            self._signals.add(signal.SIGHUP)
        for number in self._signals:
            signal.signal(number, self._on_signal)

    def _wait_for_interrupt(self) -> None:
        command = threading.main_thread().ident
        assert command is not None
        while True:
            signal.sigwait({signal.SIGINT})
            signal.pthread_kill(command, signal.SIGUSR1)

    def _on_signal(self, number: int, _: Any) -> None:
        number = signal.SIGINT if number == signal.SIGUSR1 else number
        self.code = 128 + number
        for again in self._signals:
            signal.signal(again, lambda *_: os._exit(self.code))
        with contextlib.suppress(OSError):  # a terminal that is gone
            print("\nstopping: finishing the current steps and saving (again: stop at once)", file=sys.stderr)
        stop()
        raise KeyboardInterrupt

    def leave(self) -> None:
        """Say how to continue, and end."""
        command = shlex.join(["python", "-m", "bench", *sys.argv[1:]])
        with contextlib.suppress(OSError):
            print(f"stopped; what was done is kept. The same command continues:\n  {command}", file=sys.stderr)
        raise SystemExit(self.code) from None


def _run(arguments: Namespace) -> None:
    """Have Hydra do what the arguments say.

    Raises:
        ConfigError: it cannot show what is asked for.
    """
    Hydra.get_mode = _mode  # type: ignore[method-assign, assignment]
    options = {"args": arguments, "args_parser": get_args_parser(), "task_function": _job.__wrapped__}
    shows_part = arguments.cfg and arguments.package
    try:
        with contextlib.redirect_stderr(io.StringIO()) if shows_part else contextlib.nullcontext():
            _run_hydra(**options, config_path="pkg://conf", config_name="config")
    except SystemExit as leave:
        if shows_part and leave.code == 1:
            raise ConfigError(f"--package {arguments.package}: the configuration has no such part") from None
        raise


def _mode(hydra_application: Hydra, config_name: str | None, overrides: list[str]) -> Any:
    """Return whether a command is a sweep. Hydra's own method takes one that it cannot compose for a single run, and
    then complains of what only sweeps may have."""
    composed = hydra_application.compose_config(
        config_name, overrides, with_log_configuration=False, run_mode=RunMode.MULTIRUN, validate_sweep_overrides=False
    )
    return composed.hydra.mode


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="config")
def _job(composed: DictConfig) -> dict[str, Any]:
    """One job, wherever a launcher runs it. It returns how the run ended, whatever goes wrong."""
    from omegaconf import OmegaConf

    from bench.execute.apart import execute

    container = OmegaConf.to_container(composed, resolve=True)
    return execute(container)  # type: ignore[arg-type]
