"""What a sweep sets on each task: one table for each sweep, here and in a folder of the user's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra

from bench.arguments import parse_arguments
from bench.record.errors import ConfigError
from bench.spec.command import Command, compose
from bench.spec.config import register_with_hydra

CONF = Path(__file__).parents[2] / "conf"
TABLES = sorted(CONF.glob("setting/*.yaml"))
SWEEP = """# @package _global_
name: own
hydra: {mode: MULTIRUN, sweeper: {params: {task: 'adding,copy'}}}
"""


@pytest.fixture(autouse=True)
def no_application() -> Iterator[None]:
    """What is composed makes an application of this process."""
    yield
    GlobalHydra.instance().clear()


def command(*arguments: str) -> Command:
    register_with_hydra()
    return Command(compose(parse_arguments([*arguments])))


def test_every_table_is_of_a_sweep_and_of_tasks():
    assert TABLES
    for path in TABLES:
        assert (CONF / "sweep" / path.name).exists(), path
        for task in yaml.safe_load(path.read_text()):
            assert (CONF / "task" / f"{task}.yaml").exists(), (path, task)


def test_a_table_sets_each_task_of_its_sweep_and_a_command_sets_over_it():
    own = command("+sweep=quick", "task=adding")
    assert {own.config(job).run.training.max_steps for job in own.jobs} == {1000}
    quick = command("+sweep=quick", "training.max_steps=7")
    assert {quick.config(job).run.training.max_steps for job in quick.jobs} == {7}
    assert {quick.config(job).run.task.get("span") for job in quick.jobs} == {3, None}


def test_a_folder_of_ones_own_has_tables_too(tmp_path: Path):
    for folder in ("sweep", "setting"):
        (tmp_path / folder).mkdir()
    (tmp_path / "sweep" / "own.yaml").write_text(SWEEP)
    (tmp_path / "setting" / "own.yaml").write_text("copy: {task: {delay: 4}}\nadding: {training: {max_steps: 9}}\n")
    own = command("--config-dir", str(tmp_path), "+sweep=own")
    runs = {config.run.task["name"]: config.run for config in map(own.config, own.jobs)}
    assert (runs["copy"].task["delay"], runs["adding"].training.max_steps) == (4, 9)
    assert runs["copy"].training.max_steps != 9


@pytest.mark.parametrize("content", ["[adding]", "adding: [", "3: {}", "\x00", "adding: 7"])
def test_a_table_that_is_none_is_a_line(tmp_path: Path, content: str):
    (tmp_path / "setting").mkdir()
    (tmp_path / "setting" / "own.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"own.yaml: is not a table of tasks with their settings") as caught:
        command("--config-dir", str(tmp_path))
    assert "\n" not in str(caught.value)
