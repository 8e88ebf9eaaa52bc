"""What there is to choose from is said from the files that are composed, and is what they give."""

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

import cells
from bench import catalogue
from bench.record.errors import ConfigError
from bench.spec.config import register_with_hydra
from bench.spec.targets import check_options

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture(scope="module", autouse=True)
def _groups_are_composed_once() -> Iterator[None]:
    compose_once = functools.cache(catalogue.options_of_group)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "options_of_group", lambda group, mine=None: compose_once(group, mine))
        yield


@pytest.fixture(scope="module")
def composed() -> dict[str, Any]:
    register_with_hydra()
    with initialize_config_module("conf", version_base="1.3"):
        container: Any = OmegaConf.to_container(compose("config", ["diagnostics=none"]), resolve=True)
    return container


@pytest.fixture(scope="module")
def reference() -> str:
    return catalogue.list_all()


def test_every_setting_has_its_default_and_an_explanation(composed: dict[str, Any]):
    rows = {key: (kind, default, said) for key, kind, default, said in catalogue.settings_rows()}
    for key, value in composed.items():
        for name, one in value.items() if isinstance(value, dict) and key in catalogue.EXPLAINED_IN else [("", value)]:
            full = f"{key}.{name}" if name else key
            _, default, said = rows.pop(full)
            assert len(said) > 2, full
            if full not in ("cell", "task"):
                assert yaml_value(default) == one, full
    assert not rows


def yaml_value(text: str) -> Any:
    return OmegaConf.to_container(OmegaConf.create(f"value: {text}"))["value"]  # type: ignore[index,call-overload]


@pytest.mark.parametrize("group", ["cell", "task"])
def test_every_option_is_one_that_the_class_takes(group: str):
    for path, options in catalogue.options_of_group(group):
        file = OmegaConf.load(path)
        inherited = {"ablated_lstm": "cells.AblatedLSTM", "torchrecurrent": "cells.TorchRecurrent"}
        target = str(file.get("_target_") or inherited[file.defaults[0]])
        whole = {"_target_": target, "name": path.stem, **options}
        given = {"input_size", "device", "dtype"} if group == "cell" else set()
        assert check_options(group, whole, given) == whole
        if target == "cells.TorchRecurrent":  # hands on whatever its layer takes
            continue
        with pytest.raises(ConfigError):
            check_options(group, {**whole, "no_such_option": 1}, given)


def test_listings_name_all_there_is_with_its_source():
    for group, listing in (("cell", catalogue.list_cells()), ("task", catalogue.list_tasks())):
        heads = re.findall(rf"^{group}=(\w+)  (.+)$", listing, flags=re.M)
        assert [name for name, _ in heads] == sorted(path.stem for path in (CONF / group).glob("*.yaml"))
        # a package's, two of this project, and those on files
        own = {"torchrecurrent", "adding_missing", "random_targets", "classify", "characters", "regress", "forecast"}
        for name, said in heads:
            assert re.search(r"(1|2)\d{3}", said) or name in own, name
        explained = [line for line in listing.splitlines() if re.match(rf"    {group}\.\w+(=\S+)?  ", line)]
        assert len(explained) > 10
    sweeps = catalogue.list_sweeps()
    assert set(re.findall(r"^\+sweep=(\w+)", sweeps, flags=re.M)) == {
        path.stem for path in (CONF / "sweep").glob("*.yaml")
    }
    assert "part=gates: cell=peephole_lstm,no_input_gate" in sweeps
    assert max(map(len, catalogue.list_settings().splitlines())) < 130


def test_the_backends_that_are_listed_are_those_of_the_class(reference: str):
    for name, options in re.findall(r"^### `cell=(\w+)`$(.*?)(?=^##)", reference, flags=re.M | re.S):
        listed = re.search(r"`cell.backend` .*\| (auto.*\w)", options)
        if listed:
            file: Any = OmegaConf.load(CONF / f"cell/{name}.yaml")
            base = file if "_target_" in file else OmegaConf.load(CONF / f"cell/{file.defaults[0]}.yaml")
            kind = getattr(cells, base["_target_"].removeprefix("cells."))
            assert set(listed[1].split(r" \| ")) == {"auto", *kind.available_backends()}, name


def test_the_reference_is_what_the_files_give(reference: str):
    """`python -m bench.catalogue > conf/README.md` writes it anew."""
    assert (CONF / "README.md").read_text(encoding="utf-8") == reference


@pytest.mark.parametrize("group", ["cell", "task"])
def test_the_pages_on_cells_and_tasks_have_each(group: str):
    page = (CONF.parent / f"docs/{group}s.md").read_text(encoding="utf-8")
    for name in {path.stem for path in (CONF / group).glob("*.yaml")}:
        assert re.search(rf"^\|.*`{name}`.* \|", page, flags=re.M), f"docs/{group}s.md: its table lacks `{name}`"


def test_a_folder_of_ones_own_adds_to_the_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files = catalogue._files
    few = ("leaky", "lstm")  # composing all takes seconds
    monkeypatch.setattr(catalogue, "_files", lambda *given: [path for path in files(*given) if path.stem in few])
    (tmp_path / "cell").mkdir()
    (tmp_path / "cell" / "leaky.yaml").write_text("# Mine\n_target_: my.Leaky\nname: leaky\nalpha: 0.1  # how leaky\n")
    said = catalogue.list_cells(tmp_path)
    assert "cell=leaky  Mine\n    cell.alpha=0.1" in said
    assert re.search(r"cell\.alpha +how leaky", said)
    assert "cell=lstm " in said
