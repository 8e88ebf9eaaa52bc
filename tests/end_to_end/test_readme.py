"""The commands, numbers, links and examples of README and docs/ are true."""

import re
import shlex
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from bench.execute.apart import Worker
from bench.execute.plan import make_plan
from bench.spec.command import Command
from bench.spec.config import register_with_hydra
from tests.end_to_end.forks import Forks
from tests.python import python

ROOT = Path(__file__).parents[2]
PAGES = {path: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
TEXT = "\n".join(PAGES.values())
GALLERY = ROOT / "reports" / "gallery"
TUTORIALS = ("tasks/README.md", "tasks/DATA.md", "conf/sweep/README.md", "conf/launch/README.md", "reports/README.md")
OTHERS = ("METHODS.md", "CONTRIBUTING.md", "CHANGELOG.md", "bench/STORE.md", "conf/README.md")


def commands() -> list[str]:
    """The `python -m bench` commands of all pages, each once, but for those that need files or results of the reader's
    own or a cluster, and for whole sweeps, all of which tests/bench/test_plan.py plans."""
    found = [line.split("#")[0].strip() for line in TEXT.splitlines() if line.startswith("python -m bench ")]
    whole = {f"python -m bench +sweep={path.stem}" for path in (ROOT / "conf" / "sweep").iterdir()}
    return [
        command
        for command in dict.fromkeys(found)
        if command not in whole
        and not re.search(r"--config-dir|task\.file=|--help|retry=|launch=slurm|bench (probe|export)", command)
    ]


@pytest.fixture
def plan_of(tmp_path: Path):
    """Plans a command as the program does before it starts."""
    register_with_hydra()

    def plan(command: str):
        words = shlex.split(command)[3:]
        multirun = "-m" in words or any(word.startswith("+sweep=") for word in words)
        overrides = [word for word in words if word != "-m"] + [f"results_dir={tmp_path}"]
        hydra = GlobalHydra.instance().hydra
        mode = RunMode.MULTIRUN if multirun else RunMode.RUN
        composed = hydra.compose_config(
            "config", overrides, run_mode=mode, from_shell=False, with_log_configuration=False,
            validate_sweep_overrides=False,
        )  # fmt: skip
        if "-m" in words:
            composed.hydra.mode = RunMode.MULTIRUN
        with Worker() as worker:
            return make_plan(Command(composed), worker)

    with initialize_config_module("conf", version_base="1.3"):
        yield plan


@pytest.mark.parametrize("command", commands())
def test_commands_can_be_run(plan_of, command: str):
    fewer = " seed=0" if "+sweep=" in command and "seed=" not in command else ""  # of a sweep's seeds all are alike
    plan = plan_of(command + fewer)
    assert plan.pending or plan.timed


def test_sweeps_are_as_large_as_they_say(plan_of):
    plan = plan_of("python -m bench +sweep=standard")
    configs = plan.configs.values()
    selecting, subjects = 5 * 3, 5 * 2 * 3  # five learning rates on three seeds; cells, tasks, lengths
    assert len(configs) == subjects * selecting
    assert plan.to_come == subjects * 10
    assert {config.run.task.get("delay", config.run.task.get("length")) for config in configs} == {25, 50, 100}
    assert len(plan_of("python -m bench +sweep=quick").configs) == 5 * 2 * 24  # cells, tasks, seeds at most


def test_numbers_are_those_of_the_example_reports():
    quoted = re.findall(r"<!-- from reports/gallery/(\w+) -->\n(.*?)\n<!-- end -->", TEXT, flags=re.S)
    assert len(quoted) == TEXT.count("<!-- from ") > 10
    for name, text in quoted:
        report = (GALLERY / name / "README.md").read_text()
        lines = [line for line in text.splitlines() if line.startswith(("|", "- "))]
        assert lines
        for line in lines:
            assert line in report


def test_the_gallery_page_lists_all_example_reports():
    listed = re.findall(r"\]\(\.\./reports/gallery/(\w+)/README.md\)", PAGES[ROOT / "docs" / "gallery.md"])
    assert sorted(listed) == sorted(path.name for path in GALLERY.iterdir())


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as code-hosting sites and the documentation's site make them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.S), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "page", [*PAGES, *(ROOT / name for name in (*TUTORIALS, *OTHERS))], ids=lambda path: str(path.relative_to(ROOT))
)
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.is_file(), target  # a site has no pages for folders
        assert not anchor or anchor in anchors(path.read_text()), target


def test_what_python_is_shown_works_as_written(tmp_path: Path):
    blocks = [block for block in re.findall(r"```python\n(.*?)```", TEXT, flags=re.S) if not block.startswith("# my_")]
    assert len(blocks) == 2
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "quick").symlink_to(GALLERY / "claims_quick")
    code = "\n".join([*blocks, "assert len(runs) and len(timing)", "assert result['solved']"])
    python("-c", code, cwd=tmp_path)


def test_the_example_cell_works_as_written(forks: Forks, tmp_path: Path):
    blocks = re.findall(r"```(?:python|yaml)\n# (my_\S+)\n(.*?)```", TEXT, flags=re.S)
    assert {name for name, _ in blocks} == {"my_cells.py", "my_conf/cell/leaky_rnn.yaml", "my_conf/cell/mgu.yaml"}
    for name, text in blocks:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    command = next(line for line in TEXT.splitlines() if "--config-dir" in line)
    if find_spec("torchrecurrent"):
        command = command.replace("cell=leaky_rnn,lstm", "cell=leaky_rnn,lstm,mgu")
    fast = ["seed=0", "task=adding", "training.max_steps=2", "tracking=none", "timing.rounds=2"]
    forks.run(tmp_path, *shlex.split(command)[3:], *fast)
    results = pd.read_parquet(tmp_path / "results" / "quick" / "results.parquet")
    statuses = dict(zip(results["cell"], results["status"], strict=True))
    assert statuses.pop("mgu", "unsolved") == "unsolved"
    assert statuses == {"leaky_rnn": "unsolved", "lstm": "unsolved"}


@pytest.mark.parametrize("tutorial", TUTORIALS)
def test_tutorials_work_to_the_letter(forks: Forks, tutorial: str, tmp_path: Path):
    """Files are written and commands and code run in their order."""
    text = (ROOT / tutorial).read_text()
    done = 0
    for language, block in re.findall(r"```(python|yaml|sh)\n(.*?)```", text, flags=re.S):
        head, _, rest = block.partition("\n")
        if head.startswith("# my_"):
            path = tmp_path / head.removeprefix("# ")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(rest)
            continue
        if language == "python":
            python("-c", block, cwd=tmp_path)
            done += 1
            continue
        subprocess.run(["bash", "-nc", block], check=True)  # a shell takes it as it stands
        for line in block.splitlines():
            program, option, module, *words = shlex.split(line)
            assert (program, option) == ("python", "-m"), line
            forks.run(tmp_path, *words, module=module, environment={"WANDB_MODE": "offline"})
            done += 1
    assert done >= 2
