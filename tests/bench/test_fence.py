"""A process that is suspended anywhere, and wakes when another one has taken its run over, changes nothing any more."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.execute.run import run
from bench.record.fence import Fence, LeaseLost
from bench.record.layout import read_runs
from bench.record.store import RunFolder
from bench.spec.config import Settings
from tests.bench.conftest import make_config
from tests.bench.test_resume import StopAfter, folder_of, stored

STRIDE = int(os.environ.get("FAULTS_STRIDE", "4"))  # 1: every operation, half a minute
EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.scandir", "os.chmod", "before an append"}


class NoLease:
    """A lease that everybody holds at any time: as late as a look at a lease can be, and as wrong."""

    def __init__(self, *_: object) -> None: ...
    def acquire(self) -> bool:
        return True

    def is_held(self) -> bool:
        return True

    def release(self) -> None: ...


class Suspension:
    """Has something happen just before the n-th operation on files in a folder."""

    current: "Suspension | None" = None

    def __init__(self, folder: Path, n: int, meanwhile: Callable[[], object]) -> None:
        self.folder, self.left, self.meanwhile = str(folder), n, meanwhile

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS and any(str(argument).startswith(self.folder) for argument in arguments):
            self.left -= 1
            if self.left == 0:
                Suspension.current = None
                self.meanwhile()

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        Suspension.current = self
        try:
            yield
        finally:
            Suspension.current = None


@pytest.fixture(scope="module", autouse=True)
def _hook() -> None:
    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if Suspension.current is not None:
            Suspension.current.see(event, arguments)

    sys.addaudithook(hook)  # for good: it cannot be removed


@pytest.fixture(autouse=True)
def _announced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's lease is known to be lost, and appending is an event too."""
    monkeypatch.setattr("bench.execute.leases.Lease", NoLease)
    append = RunFolder.append

    def announced(self: RunFolder, name: str, objects: list[dict[str, Any]]) -> None:
        sys.audit("before an append", str(self.path / name))
        append(self, name, objects)

    monkeypatch.setattr(RunFolder, "append", announced)


def small(results: Path) -> Settings:
    training = {"max_steps": 6, "evaluate_every": 2}
    looks = {"kinds": ["gates"], "sequences": 64, "every": 3}
    return make_config(results, training=training, diagnostics=looks, checkpoint={"steps": 3})


@pytest.mark.parametrize("before", ["nothing", "an interruption"])
@pytest.mark.parametrize("meanwhile", ["finishes", "is interrupted"])
def test_a_writer_that_wakes_late_changes_nothing(tmp_path: Path, capfd, before: str, meanwhile: str):
    run(small(tmp_path / "whole"))
    whole = folder_of(small(tmp_path / "whole")).read()
    late = 0
    for n in range(1, 1000, STRIDE):
        config = small(tmp_path / str(n))
        if before == "an interruption":
            assert run(config, StopAfter(4))["status"] == "interrupted"
        folder = folder_of(config)
        other = (lambda: run(config)) if meanwhile == "finishes" else lambda: run(config, StopAfter(1))  # noqa: B023
        suspension = Suspension(folder.path, n, other)
        with suspension.active():
            late += run(config)["status"] == "leased"
        if suspension.left > 0:
            break
        assert run(config)["status"] == "unsolved"
        found = folder.read()
        assert whole is not None
        assert found is not None
        assert stored(config) == stored(small(tmp_path / "whole")), n
        assert found.readings == whole.readings, n
        assert sorted(path.name for path in folder.path.iterdir()) == [
            "config.yaml", "diagnostics.jsonl", "metrics.jsonl", "probe.json", "result.json", "weights.pt",
        ]  # fmt: skip
        assert read_runs(folder.path.parents[1])[1] == []
    assert capfd.readouterr().err == ""
    assert late > 20 / STRIDE
    assert 30 < n < 900


def test_what_is_set_aside_is_what_was_looked_at(tmp_path: Path):
    """The run was done anew between the look at a damaged result and the rename."""
    config = small(tmp_path)
    run(config)
    folder, other = folder_of(config), folder_of(config)
    with folder.entered():
        other.set_aside()
        run(config)
        with pytest.raises(LeaseLost):
            folder.set_aside()
    assert stored(config)
    assert len(list((tmp_path / "scratch" / "set_aside").iterdir())) == 1


def test_only_who_entered_last_can_write(tmp_path: Path):
    folder, path = tmp_path / "run", tmp_path / "run" / "file"
    first, second = Fence(folder), Fence(folder)
    first.enter()
    lines = first.append_to(path, b"1\n")
    second.enter()
    kept = second.append_to(path, path.read_bytes())
    lines.append(b"late\n")
    for write in (
        lambda: first.write(path, lambda temporary: temporary.write_text("late")),
        lambda: first.append_to(path),
        lambda: first.remove(path),
    ):
        with pytest.raises(LeaseLost):
            write()
    kept.append(b"2\n")
    assert path.read_bytes() == b"1\n2\n"
    first.leave()
    second.leave()
    assert [entry.name for entry in folder.iterdir()] == ["file"]
