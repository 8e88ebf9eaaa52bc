"""What publications found, as data: a YAML file each, with its source and where in it the finding stands."""

from functools import cache
from importlib.resources import files
from typing import Any

import yaml


@cache
def read_publication(name: str) -> dict[str, Any]:
    """Return the data file of a publication, as "greff2017"."""
    found = yaml.safe_load((files(__name__) / f"{name}.yaml").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found
