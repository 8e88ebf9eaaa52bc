"""What several tests of whole commands compare with."""

from pathlib import Path

import pytest

from tests.end_to_end.command import SWEEP, finish


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep, undisturbed."""
    folder = tmp_path_factory.mktemp("whole")
    finish(folder, *SWEEP, "+launch=serial")
    return folder
