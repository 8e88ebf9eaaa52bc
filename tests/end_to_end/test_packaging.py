"""The wheel: all that is needed is in it, and it works where there is no checkout."""

import json
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import bench
from tests.python import ROOT, python


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's files, as an installation has them."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy, since a build leaves files behind
    subprocess.run(["git", "clone", "--quiet", ROOT, source], check=True)
    changed = subprocess.run(["git", "ls-files", "-mo", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in changed.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    python("-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, source)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def packaged(folder: Path, suffixes: tuple[str, ...]) -> set[str]:
    tops = ("bench", "cells", "tasks", "reports", "conf")
    found = (path.relative_to(folder) for top in tops for path in (folder / top).rglob("*") if path.suffix in suffixes)
    return {str(path) for path in found if "gallery" not in path.parts and "__pycache__" not in path.parts}


def test_all_modules_and_data_are_in_it(unpacked: Path):
    kinds = (".py", ".yaml", ".cpp", ".h", ".typed", ".css", ".js", ".jinja")
    assert packaged(unpacked, kinds) == packaged(ROOT, kinds)
    assert not (unpacked / "tests").exists()


def test_its_version_and_licence_are_the_projects(unpacked: Path):
    (metadata,) = unpacked.glob("*.dist-info/METADATA")
    assert f"\nVersion: {bench.__version__}\n" in metadata.read_text()
    assert "\nLicense-Expression: MIT\n" in metadata.read_text()
    assert (metadata.parent / "licenses" / "LICENSE").read_text().startswith("MIT License")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (bench.__version__, "MIT")


OURS = ("bench", "cells", "conf", "reports", "tasks")
MY_CELL = """
import torch
class MyCell(torch.nn.GRU):
    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
"""
TINY = ("training.max_steps=4", "training.evaluate_every=2", "tracking=none")


def crowded(folder: Path, *kinds: str) -> Path:
    """A working directory in which everything is called as our packages are, with a user's cell."""
    for number, name in enumerate(OURS):
        kind = kinds[number % len(kinds)]
        if kind == "file":
            (folder / f"{name}.py").write_text("raise ImportError('theirs')")
            continue
        (folder / name).mkdir()
        if kind == "package":
            (folder / name / "__init__.py").write_text("raise ImportError('theirs')")
        elif kind == "folder":
            (folder / name / "config.yaml").write_text("a: 1")
    (folder / "mycell.py").write_text(MY_CELL)
    (folder / "mine" / "cell").mkdir(parents=True)
    (folder / "mine" / "cell" / "my.yaml").write_text("_target_: mycell.MyCell\nname: my\nhidden_size: 3\n")
    return folder


def test_it_runs_a_sweep_and_writes_its_report_beside_folders_of_our_names(unpacked: Path, tmp_path: Path):
    here = crowded(tmp_path, "folder")
    code = "import bench, conf; print(bench.__file__, conf.__file__)"
    where = python("-c", code, cwd=here, PYTHONPATH=str(unpacked))
    assert all(str(unpacked) in path for path in where.stdout.split())
    few = ["cell=my,lstm", "task=adding", "timing.rounds=2", "claims=lstm", *TINY]
    python("-m", "bench", "--config-dir", "mine", "+sweep=smoke", *few, cwd=here, PYTHONPATH=str(unpacked))
    assert (here / "results" / "smoke" / "report" / "README.md").read_text().count("### ") > 10
    results = [json.loads(path.read_text()) for path in here.glob("results/smoke/runs/*/result.json")]
    assert [result["steps"] for result in results] == [4, 4]
    assert "smoke" in python("-m", "reports", "list", cwd=here, PYTHONPATH=str(unpacked)).stdout


def test_modules_in_the_working_directory_replace_none_of_ours(unpacked: Path, tmp_path: Path):
    """Of the commands whose first module is ours; `python -m bench` is, where nothing else can be run by that name."""
    here = crowded(tmp_path, "package", "file")
    command = ["-c", "import sys; del sys.path[0]; from bench.__main__ import main; main()"]
    run = ["--config-dir", "mine", "-m", "cell=my,lstm", "task.length=5", "timing=none", "+launch=parallel", *TINY]
    for words in ([*command, *run], ["-P", "-m", "reports", "list"]):
        done = python(*words, cwd=here, PYTHONPATH=str(unpacked))
        assert "Traceback" not in done.stderr
    assert "lstm, my" in done.stdout


def test_an_editable_installation_is_a_folder_on_the_path(tmp_path: Path):
    """A finder, as setuptools else makes, is asked last, after empty folders of the working directory."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layout = pyproject["tool"]["setuptools"]
    packages, folders = layout["packages"], layout["package-dir"]
    editable = pytest.importorskip("setuptools.command.editable_wheel")
    assert set(folders) == {""}
    assert editable._simple_layout(packages, folders, str(ROOT))
