"""The same sweep on Ray and on Slurm's local stand-in, for real: results, stops and messages as with the others."""

import os
import shutil
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.end_to_end.command import SWEEP, assert_same, finish, start, wait_for, workers_of
from tests.end_to_end.forks import Forks

PACKAGES = {"ray": "ray", "submitit": "submitit", "slurm": "submitit"}


def needs(launch: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(PACKAGES[launch]) is None, reason=f"the extra for {launch} is not installed")


INSTALLED = [pytest.param(name, marks=needs(name)) for name in ("ray", "submitit")]


@pytest.mark.parametrize("launch", INSTALLED)
def test_results_are_those_of_a_serial_sweep(tmp_path: Path, whole: Path, launch: str):
    for name in ("conf", "cells", "tasks"):  # of the user's
        (tmp_path / f"{name}.py").write_text("raise ImportError('theirs')")
    said = finish(tmp_path, *SWEEP, f"+launch={launch}")
    assert "[4/4]" in said
    assert_same(whole, tmp_path)


@pytest.mark.parametrize(
    ("launch", "name"),
    [
        pytest.param("ray", "SIGKILL", marks=needs("ray")),
        pytest.param("submitit", "SIGINT", marks=needs("submitit")),
    ],
)
def test_stopped_there_it_can_be_continued_here(tmp_path: Path, whole: Path, forks: Forks, launch: str, name: str):
    """Saved by runs on one launcher, resumed by another one; what a killed command started saves too, and ends."""
    process = start(tmp_path, *SWEEP, f"+launch={launch}")
    wait_for(lambda: list(tmp_path.glob("k/runs/*/checkpoint.pt")) + list(tmp_path.glob("k/runs/*/result.json")))
    number = signal.Signals[name]
    if name == "SIGINT":
        os.killpg(process.pid, number)  # as a terminal does
    else:
        os.kill(process.pid, number)
    said, _ = process.communicate(timeout=300)
    assert "Traceback" not in said, said
    if name != "SIGKILL":
        assert process.returncode == 128 + number, said
        assert "The same command continues" in said
    wait_for(lambda: not workers_of(tmp_path))
    forks.run(tmp_path, f"results_dir={tmp_path}", *SWEEP, "+launch=serial")
    assert_same(whole, tmp_path)
    assert not (tmp_path / "k" / "set_aside").exists()


@needs("ray")
def test_a_ray_that_is_not_there_is_one_line(tmp_path: Path):
    nowhere = "hydra.launcher.ray.init.address=127.0.0.1:9"
    said = finish(tmp_path, *SWEEP, "+launch=ray", nowhere, code=2)
    assert said.startswith(f"error: {nowhere}: no Ray there")
    assert said.count("\n") == 1


@needs("slurm")
@pytest.mark.skipif(shutil.which("srun") is not None, reason="Slurm is here")
def test_a_slurm_that_is_not_there_is_one_line(tmp_path: Path):
    said = finish(tmp_path, *SWEEP, "+launch=slurm", code=2)
    assert said.startswith("error: +launch=slurm: there is no srun here")
    assert said.count("\n") == 1


@pytest.mark.parametrize(("launch", "extra"), [("ray", "ray"), ("slurm", "slurm"), ("submitit", "slurm")])
def test_a_launcher_that_is_not_installed_is_one_line(tmp_path: Path, launch: str, extra: str):
    """Its plugin is hidden: Hydra finds plugins where `hydra_plugins` leads."""
    site = tmp_path / "site"
    for package in Path(next(path for path in sys.path if path.endswith("site-packages"))).iterdir():
        site.mkdir(exist_ok=True)
        if package.name != "hydra_plugins":
            (site / package.name).symlink_to(package)
    (site / "hydra_plugins").mkdir()
    process = start(tmp_path / "r", *SWEEP, f"+launch={launch}", python=["-S", "-c", _RUN.format(site=str(site))])
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 2, said
    assert f"is not installed; pip install 'recurrent-bench[{extra}]'" in said
    assert said.count("\n") == 1


_RUN = "import sys; sys.path.append({site!r}); from bench.cli import main; main()"
