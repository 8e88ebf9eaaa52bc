"""The command line: help, Hydra, and errors as one line with exit code 2."""

import os
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

import conf
from bench.config import from_hydra, register_schema
from bench.errors import ConfigError, explain

HELP = """\
Compare recurrent networks: train cells on tasks with several seeds, time them, write a report.

  python -m bench +sweep=quick                    a sweep; its report is results/quick/report/README.md
  python -m bench +sweep=quick cell=gru seed=0    narrowed by any override
  python -m bench cell=gru task=adding            a single run
  python -m bench +sweep=quick +launch=serial     another launcher
  python -m bench cell=gru --cfg job              print the configuration; every key in it can be overridden
  python -m reports results/quick                 write the report again

The same command again continues: finished runs are kept.
{groups}
Exit codes: 0 all runs finished, 1 some failed, 2 the command cannot be run.
Hydra's own flags: python -m bench --hydra-help
"""


def main() -> None:
    """Run the command line in `sys.argv`."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(HELP.format(groups=describe_groups()))
        return
    sys.argv[1:] = sorted(sys.argv[1:], key=_rank)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach `explain` instead of Hydra's own printing
    register_schema()
    try:
        _run()
    except (HydraException, OmegaConfBaseException) as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        raise SystemExit(2) from None
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("\ninterrupted; finished runs are kept, the same command continues", file=sys.stderr)
        raise SystemExit(130) from None


def _rank(argument: str) -> int:
    """Order arguments as Hydra needs them: flags, then overrides, which its parser would not find after a
    flag, then the launcher, which so wins over the one that a sweep prefers."""
    if argument.startswith("+launch="):
        return 2
    return int("=" in argument and not argument.startswith("-"))


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="config")
def _run(composed: DictConfig) -> dict[str, Any]:
    """One job. It returns what it found; nothing that goes wrong in it may end the sweep."""
    from bench.runner import run

    try:
        return run(from_hydra(composed))
    except OSError as error:  # the store cannot be written
        print(f"error: {error}", file=sys.stderr)
        return {"status": "failed", "error": str(error)}


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
