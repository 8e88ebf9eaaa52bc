"""constraints.txt: versions that go together, whichever build of torch is installed."""

import importlib.metadata
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = "recurrent-bench"
PINS = {
    canonicalize_name(line.split("==")[0]): line.strip().split("==")[1]
    for line in (ROOT / "constraints.txt").read_text().splitlines()
}
INSTALLED = {canonicalize_name(found.name) for found in importlib.metadata.distributions()}
OF_TORCH = (
    "nvidia-",
    "cuda-",
    "setuptools",
)  # what its builds for CUDA pin themselves, and what any version will do of


def needs(name: str) -> list[Requirement]:
    """What an installed package needs here; the project's own needs with all its extras."""
    if name == PROJECT:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        groups = [project["dependencies"], *project["optional-dependencies"].values()]
        return [Requirement(text) for group in groups for text in group]
    found = [Requirement(text) for text in importlib.metadata.requires(name) or []]
    return [need for need in found if need.marker is None or need.marker.evaluate({"extra": ""})]


def test_pinned_versions_satisfy_each_other():
    wrong = [
        f"{name} needs {need}, pinned is {PINS[canonicalize_name(need.name)]}"
        for name in sorted(INSTALLED & {*PINS, PROJECT})
        for need in needs(name)
        if canonicalize_name(need.name) in PINS and PINS[canonicalize_name(need.name)] not in need.specifier
    ]
    assert not wrong


def test_all_that_is_needed_is_pinned():
    seen: set[str] = set()
    left = [PROJECT]
    while left:
        found = {canonicalize_name(need.name) for need in needs(left.pop())} - seen
        seen |= found
        left += found & INSTALLED
    assert {name for name in seen - {*PINS, PROJECT} if not name.startswith(OF_TORCH)} == set()


def test_the_pinned_triton_is_the_one_that_torch_for_cuda_needs():
    """As the metadata of torch 2.13.0 for CUDA says. Those of its build for the CPU, which CI has, name none."""
    assert (PINS["torch"], PINS["triton"]) == ("2.13.0", "3.7.1")
