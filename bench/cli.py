"""The command line: help, Hydra, and errors as one line with exit code 2."""

import contextlib
import math
import os
import re
import shlex
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

import conf
from bench.errors import ConfigError, explain, explain_os, one_line, printable
from bench.launchers import lost_a_process
from bench.session import Again, runs_left, session, stop

MOST_FRUITLESS = 3  # passes in which no run is finished, before the command gives up

HELP = """\
Compare recurrent networks: train cells on tasks with several seeds, time them, write a report.

  python -m bench +sweep=quick                    a sweep; its report is results/quick/report/README.md
  python -m bench +sweep=quick cell=gru seed=0    narrowed by any override
  python -m bench cell=gru task=adding            a single run
  python -m bench +sweep=quick +launch=serial     another launcher
  python -m bench cell=gru --cfg job              print the configuration; every key in it can be overridden
  python -m reports results/quick                 write the report again

  python -m bench +sweep=quick retry=failed       again what failed, and nothing else

The same command again continues: finished runs are kept, unfinished ones go on where they were.
{groups}
Exit codes: 0 all runs finished, 1 some failed, 2 the command cannot be run, 130 or 143 stopped by Ctrl-C or SIGTERM.
Hydra's own flags: python -m bench --hydra-help
"""


def main() -> None:
    """Run the command line in `sys.argv`."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(HELP.format(groups=describe_groups()))
        return
    sys.argv[1:] = sorted(sys.argv[1:], key=_rank)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach `explain` instead of Hydra's own printing
    try:
        with session():
            stopping = Stopping()
            try:
                _run_until_done()
            except KeyboardInterrupt:
                stopping.leave()
    except (HydraException, OmegaConfBaseException) as error:
        _refuse(explain(error))
    except ConfigError as error:
        _refuse(str(error))
    except StuckError as error:
        print(f"error: {error}; what was finished is kept, and the same command continues", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        print(f"error: {explain_os(error)}; what was finished is kept", file=sys.stderr)
        raise SystemExit(1) from None


def _refuse(reason: str) -> None:
    print(f"error: {printable(reason)}", file=sys.stderr)
    raise SystemExit(2) from None


class StuckError(RuntimeError):
    """Runs are left, and none gets finished."""


def _run_until_done() -> None:
    """Run the command, and again as long as that leaves runs that nobody is at: a process died over them.

    Raises:
        StuckError: again and again, no run gets finished.
    """
    from bench.config import register_schema

    _check_secrets(sys.argv[1:])
    register_schema()
    left, fruitless = math.inf, 0
    while True:
        try:
            return _run()
        except Again:
            reason = "their processes die"
        except Exception as error:
            if not lost_a_process(error):
                raise
            reason = f"the launcher fails: {one_line(error)}"
        left, before = runs_left(), left
        fruitless = 0 if left < before else fruitless + 1
        if fruitless == MOST_FRUITLESS:
            raise StuckError(f"{left} runs are left that cannot be finished, {reason}")
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
        while True:
            signal.sigwait({signal.SIGINT})
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

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


def _rank(argument: str) -> int:
    """Order arguments as Hydra needs them: flags, then overrides, which its parser would not find after a
    flag, then the launcher, which so wins over the one that a sweep prefers."""
    if argument.startswith("+launch="):
        return 2
    return int("=" in argument and not argument.startswith("-"))


def _check_secrets(arguments: list[str]) -> None:
    """Raise ConfigError for a key or password on the command line: commands are stored with results."""
    for argument in arguments:
        key, sign, _ = argument.partition("=")
        if sign and re.search(r"(api_?key|password|secret|access_?token)$", key, flags=re.IGNORECASE):
            raise ConfigError(f"{key}: results tell the command that led to them; set secrets in the environment")


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="config")
def _run(composed: DictConfig) -> dict[str, Any]:
    """One job, wherever a launcher runs it. It returns how the run ended, whatever goes wrong."""
    from omegaconf import OmegaConf

    from bench.worker import execute

    container = OmegaConf.to_container(composed, resolve=True)
    return execute(container)  # type: ignore[arg-type]


def describe_groups() -> str:
    """Return the sweeps, cells, tasks and launchers, a line each, as their files describe themselves."""
    lines = []
    root = Path(conf.__file__).parent
    for group, prefix in (("sweep", "+sweep="), ("cell", "cell="), ("task", "task="), ("launch", "+launch=")):
        lines.append("")
        files = sorted((root / group).glob("*.yaml"))
        width = max(len(prefix + path.stem) for path in files)
        lines += [f"  {prefix + path.stem:{width}}  {_description(path)}" for path in files]
    return "\n".join(lines) + "\n"


def _description(path: Path) -> str:
    """Return the first comment of a configuration file, but for Hydra's package directive."""
    comments = (line[1:].strip() for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#"))
    return next((comment for comment in comments if not comment.startswith("@package")), "")
