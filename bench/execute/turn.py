"""What a launcher starts: workers that take a sweep's runs, each the next one that nobody is at, until none is left.

Launchers import this module in processes of their own, so it imports nothing heavy."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.execute.apart import Worker
from bench.session import is_stopping


@dataclass(frozen=True)
class Turn:
    """One worker's, as a launcher's job.

    Attributes:
        planned: the file with the runs' specifications, <sweep>/plans/<digest>.json.
        only: the run_ids to take; None: those without a result.
    """

    planned: Path
    only: frozenset[str] | None = None

    def __call__(self, _: object = None) -> dict[str, str]:
        """Take runs until there is none that nobody is at, or the command is asked to stop. One whose worker is gone is
        left to the command, which sees to leases of the dead before it starts workers.

        Args:
            _: the configuration that Hydra hands to a job; the runs have their own.

        Returns:
            Why runs could not be stored, by run_id.
        """
        sweep = self.planned.parents[1]
        planned = json.loads(self.planned.read_bytes())
        runs = [run for run in planned["runs"] if self.only is None or run[0] in self.only]
        unstored: dict[str, str] = {}
        with Worker() as worker:
            for run_id, settings, seed in runs:
                is_taken = (sweep / "leases" / run_id).exists()  # also while its worker, which died, is started anew
                if is_taken or (self.only is None and (sweep / "runs" / run_id / "result.json").exists()):
                    continue
                answer = worker.execute({**planned["settings"][settings], "seed": seed})
                if answer["status"] == "interrupted" or is_stopping():
                    break
                if answer["status"] == "unstored":
                    unstored[run_id] = answer["error"]
        return unstored


def write_planned(sweep: Path, runs: dict[str, dict[str, Any]]) -> Path:
    """Write the specifications of planned runs beside their results, what differs in the seed alone once.

    Args:
        sweep: the sweep's folder.
        runs: the settings of each run by run_id, in the order in which they are to be taken.

    Returns:
        The file, whose name follows from what is in it.

    Raises:
        OSError: it cannot be written.
    """
    from bench.record.files import digest, write_text_atomic

    settings: dict[str, int] = {}
    listed = []
    for run_id, run in runs.items():
        text = json.dumps({key: value for key, value in run.items() if key != "seed"}, ensure_ascii=False)
        listed.append([run_id, settings.setdefault(text, len(settings)), run["seed"]])
    text = f'{{"settings": [{", ".join(settings)}],\n"runs": {json.dumps(listed)}}}\n'
    path = sweep / "plans" / f"{digest(text.encode())[:16]}.json"
    path.parent.mkdir(exist_ok=True)
    write_text_atomic(path, text)
    return path
