"""The command line: help, Hydra, and errors as one line with exit code 2."""

import contextlib
import os
import re
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

import conf
from bench.errors import ConfigError, explain, explain_os, one_line, printable
from bench.session import Again, session, stop

MOST_PASSES = 20
LAUNCHERS = ("joblib", "ray", "submitit")  # packages whose exceptions say that a process of theirs was lost

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
    except OSError as error:
        print(f"error: {explain_os(error)}; what was finished is kept", file=sys.stderr)
        raise SystemExit(1) from None


def _refuse(reason: str) -> None:
    print(f"error: {printable(reason)}", file=sys.stderr)
    raise SystemExit(2) from None


def _run_until_done() -> None:
    """Run the command, and again as long as that leaves runs that nobody is at: another process died over them."""
    from bench.config import register_schema

    _check_secrets(sys.argv[1:])
    register_schema()
    for _ in range(MOST_PASSES - 1):
        try:
            return _run()
        except Again:
            continue
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in LAUNCHERS:
                raise
            print(f"the launcher lost a process ({one_line(error)}); going on", file=sys.stderr)
    return _run()


class Stopping:
    """Ends the command when it is asked to: runs save, then the command ends; asked again, it ends at once."""

    def __init__(self) -> None:
        self.code = 130
        self._signals = {signal.SIGINT, signal.SIGTERM}
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup has it
            self._signals.add(signal.SIGHUP)
        for number in self._signals:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _: Any) -> None:
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
