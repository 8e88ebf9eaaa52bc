"""The command line: help, Hydra, and errors as one line with exit code 2."""

import contextlib
import importlib
import io
import logging
import os
import shlex
import signal
import sys
import threading
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.errors import HydraException

from bench.arguments import parse_arguments
from bench.catalogue import FLAGS, describe_groups
from bench.execute.apart import Worker
from bench.record.errors import ConfigError, explain_memory, explain_os, printable
from bench.session import session, stop
from bench.spec.explain import explain
from bench.startup import importing
from bench.version import __version__

if TYPE_CHECKING:
    from omegaconf import DictConfig

MOST_CHARACTERS = 700  # of an error

HELP = """\
Compare recurrent networks: train cells on tasks with several seeds, time them, write a report.

  python -m bench +sweep=quick                    a sweep; its report is results/quick/report/README.md
  python -m bench +sweep=quick cell=gru seed=0    narrowed by any override
  python -m bench cell=gru task=adding            a single run
  python -m bench +sweep=quick +launch=serial     with another launcher
  python -m bench --cells                         each cell with its options and source; also --tasks, --sweeps
  python -m bench --settings                      every setting with its default and meaning
  python -m bench cell=gru --cfg job              print the configuration; every key in it can be overridden
  python -m reports results/quick                 write the report again; --html: also a page to explore
  python -m reports results/a results/b           two sweeps side by side
  python -m reports list                          the sweeps in results/; show RUN_ID: what is stored of a run
  python -m reports dashboard results/quick       create or update its workspace and report in W&B

  python -m bench probe results/quick lengthen=[2,4] diagnostics=standard
                                                  evaluate and probe trained models, without training again

  python -m bench export results/quick/runs/RUN_ID model.onnx
                                                  export a trained model for ONNX Runtime; .pt2: for torch.export

  python -m bench +sweep=claims_quick part=gates  one part of a sweep that has several
  python -m bench +sweep=quick retry=failed       reruns failed runs only
  python -m bench +sweep=quick dry_run=true       previews the runs and their maximum cost; runs nothing

The same command again continues: finished runs are kept, unfinished ones resume.
{groups}
Exit codes: 0 all runs finished, 1 some failed, 2 the command cannot be run, 130 or 143 stopped by Ctrl-C or SIGTERM.
Once installed, the command is also recurrent-bench; eval "$(recurrent-bench -sc install=bash)" adds completion to bash.
Hydra's own flags: python -m bench --hydra-help
"""

PROBE_HELP = """\
python -m bench probe results/NAME lengthen=[2,4] diagnostics=standard

Evaluate and probe the trained models of a stored sweep, without training again; then write its tables and report.

  lengthen=[2,4]                      evaluate at twice and four times the length trained at
  diagnostics=standard                all diagnostics: gradients, gates, memory, attention, Jacobian, updates
  diagnostics.kinds=[gates,memory]    some of them
  diagnostics.sequences=64            sequences that each is measured on

Exit codes: 0 all runs have what is asked for, 1 some lack it, 2 the command cannot be run.
"""
EXPORT_HELP = """\
python -m bench export results/NAME/runs/RUN_ID model.onnx

Write a trained model to a file, and compare it with the model on held-out sequences.

  model.onnx    for ONNX Runtime; needs pip install 'recurrent-bench[onnx]'
  model.pt2     a program of torch.export

Exit codes: 0 written, 1 not written because its outputs differ, 2 the command cannot be run.
"""


def main() -> None:
    """Run the command line in `sys.argv`."""
    command = COMMANDS.get(sys.argv[1]) if len(sys.argv) > 1 else None
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(command.help if command else HELP.format(groups=describe_groups()))
        return
    if listed := [word for word in sys.argv[1:] if word in FLAGS]:
        raise SystemExit(_list(listed[0], [word for word in sys.argv[1:] if word not in FLAGS]))
    if "--version" in sys.argv[1:]:
        print(f"recurrent-bench {__version__}")
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach `explain` instead of Hydra's own printing
    logging.getLogger("hydra").addHandler(logging.NullHandler())  # it would log what it also raises
    with session():
        stopping = Stopping()
        try:
            raise SystemExit(_of_stored(command, sys.argv[2:]) if command else _run(sys.argv[1:]))
        except KeyboardInterrupt:
            stopping.leave()


class StoredCommand(NamedTuple):
    """A command that works on stored runs: the module, its function of the arguments, which returns the exit code, and
    what `--help` says."""

    module: str
    function: str
    help: str


COMMANDS = {
    "probe": StoredCommand("bench.probing", "probe_sweep", PROBE_HELP),
    "export": StoredCommand("bench.exporting", "export_run", EXPORT_HELP),
}


def _of_stored(command: StoredCommand, given: list[str]) -> int:
    """Do what one of `COMMANDS` does; returns the exit code."""
    try:
        code: int = getattr(importlib.import_module(command.module), command.function)(given)
        return code
    except (ConfigError, HydraException) as error:
        return _tell(error, explain(error), 2)
    except OSError as error:
        return _tell(error, explain_os(error), 1)
    except MemoryError as error:
        return _tell(error, "", 1)


def _list(flag: str, given: list[str]) -> int:
    """Print what a flag lists, and what the folder of `--config-dir` adds to it; returns the exit code."""
    try:
        mine = parse_arguments(given).config_dir
        if mine is not None and not Path(mine).is_dir():
            raise ConfigError(f"--config-dir {mine}: no such folder")
        print(FLAGS[flag](None if mine is None else Path(mine)))
    except ConfigError as error:
        return _tell(error, str(error), 2)
    except Exception as error:  # files of the user's own may hold anything
        return _tell(error, explain(error), 2)
    return 0


def _run(given: list[str]) -> int:
    """Do what a command's arguments say; returns its exit code."""
    from bench.spec.command import compose
    from bench.spec.config import register_with_hydra

    try:
        arguments = parse_arguments(given)
        register_with_hydra()
        if any((arguments.cfg, arguments.info, arguments.shell_completion, arguments.hydra_help, arguments.resolve)):
            _show(arguments)
            return 0
        composed = compose(arguments)
    except ConfigError as error:
        return _tell(error, str(error), 2)
    except Exception as error:  # whatever Hydra makes of some command lines is their fault
        return _tell(error, explain(error), 2)
    with Worker() as worker:
        return _run_composed(composed, worker)


def _run_composed(composed: "DictConfig", worker: Worker) -> int:
    """Do what a composed command says; returns its exit code."""
    from bench.spec.command import Command, is_new, tool_of

    if is_new(composed):
        worker.start(tool_of(composed))  # torch takes seconds to import, here and there
    if sys.stdout.isatty():
        print("planning", end="\r", flush=True)  # the import of torch delays the next line, which overwrites this one
    with importing():
        from bench.sweep import StuckError, Sweep

    try:
        sweep = Sweep(Command(composed), worker)
    except ConfigError as error:
        return _tell(error, str(error), 2)
    except Exception as error:  # of a combination that Hydra or a user's class does not take
        return _tell(error, explain(error), 2)
    try:
        return sweep.run()
    except ConfigError as error:
        return _tell(error, str(error), 2)
    except StuckError as error:
        return _tell(error, f"{error}; what was finished is kept, and the same command continues", 1)
    except OSError as error:
        return _tell(error, f"{explain_os(error)}; what was finished is kept", 1)
    except MemoryError as error:
        return _tell(error, "", 1)


def _tell(error: Exception, reason: str, code: int) -> int:
    """Say in a line what went wrong."""
    if isinstance(error, MemoryError):
        reason, code = f"{explain_memory(error)}; what was finished is kept", 1
    print(f"error: {printable(reason)[:MOST_CHARACTERS]}", file=sys.stderr)
    return code


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


def _show(arguments: Namespace) -> None:
    """Have Hydra show what its own flags ask for; ConfigError if it cannot."""
    shows_part = arguments.cfg and arguments.package
    try:
        with contextlib.redirect_stderr(io.StringIO()) if shows_part else contextlib.nullcontext():
            _run_hydra(arguments, get_args_parser(), _show, config_path="pkg://conf", config_name="config")
    except SystemExit as leave:
        if shows_part and leave.code == 1:
            raise ConfigError(f"--package {arguments.package}: the configuration has no such part") from None
        if leave.code:
            raise
