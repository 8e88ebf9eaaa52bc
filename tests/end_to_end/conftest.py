"""What several tests of whole commands compare with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.command import SWEEP
from tests.end_to_end.forks import Forks


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Path:
    """The sweep, undisturbed, each run alone."""
    folder = tmp_path_factory.mktemp("whole")
    forks.run(folder, f"results_dir={folder}", *SWEEP, "+launch=serial", "cohort=1")
    return folder


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Runs commands in forks of one process."""
    forks = Forks()
    yield forks
    forks.close()
