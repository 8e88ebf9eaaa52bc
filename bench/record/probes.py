"""Probes of a run's weights as they are stored: diagnostics, and evaluations at longer lengths."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.record.files import Damaged
from bench.record.records import FORMAT, NAME, is_evaluation, is_reading


@dataclass(frozen=True)
class Probes:
    """What was measured from a run's weights.

    Attributes:
        weights: SHA-256 of the weights as `weights.pt` has them; None of a model whose state cannot be stored.
        diagnostics: by kind, `sequences` (how many it was made from) and `readings`, which are none if the kind does
            not apply to the model.
        lengthened: by factor, loss and scores at so many times the length trained for; None if the task has no such
            length, or the evaluation failed.
    """

    weights: str | None = None
    diagnostics: dict[str, dict[str, Any]] = field(default_factory=dict)
    lengthened: dict[int, dict[str, Any] | None] = field(default_factory=dict)

    @property
    def readings(self) -> list[dict[str, Any]]:
        """The readings of all kinds."""
        return [reading for made in self.diagnostics.values() for reading in made["readings"]]

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """The evaluations, in the order of their factors."""
        return [found for _, found in sorted(self.lengthened.items()) if found is not None]

    def with_more(self, more: "Probes") -> "Probes":
        """Return these and further probes of the same weights."""
        return Probes(more.weights, {**self.diagnostics, **more.diagnostics}, {**self.lengthened, **more.lengthened})

    def to_json(self, run_id: str) -> dict[str, Any]:
        """Return the object that `parse_probes` reads."""
        lengthened = {str(factor): found for factor, found in sorted(self.lengthened.items())}
        return {
            "format": FORMAT, "run_id": run_id, "weights": self.weights, "diagnostics": self.diagnostics,
            "lengthened": lengthened,
        }  # fmt: skip


def parse_probes(value: dict[str, Any], path: Path) -> Probes:
    """Return the probes that a file in a run's folder holds.

    Raises:
        Damaged: it holds something else.
    """
    weights, diagnostics, lengthened = (value.get(key) for key in ("weights", "diagnostics", "lengthened"))
    if not (
        value.get("run_id") == path.parent.name
        and (weights is None or (isinstance(weights, str) and re.fullmatch(r"[0-9a-f]{64}", weights)))
        and isinstance(diagnostics, dict)
        and all(re.fullmatch(NAME, kind) and _is_diagnostic(made) for kind, made in diagnostics.items())
        and isinstance(lengthened, dict)
        and all(re.fullmatch(r"[1-9][0-9]{0,17}", factor) for factor in lengthened)
        and all(
            found is None or (is_evaluation(found) and found["factor"] == int(factor))
            for factor, found in lengthened.items()
        )
    ):
        raise Damaged(f"{path}: holds no probes of this run")
    return Probes(weights, diagnostics, {int(factor): found for factor, found in lengthened.items()})


def _is_diagnostic(made: Any) -> bool:
    return (
        isinstance(made, dict)
        and isinstance(made.get("sequences"), int)
        and isinstance(made.get("readings"), list)
        and all(isinstance(reading, dict) and is_reading(reading) for reading in made["readings"])
    )
