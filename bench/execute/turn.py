"""What a launcher starts: workers that each take a sweep's next runs that no other worker holds, until none is left.

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
        workers: how many such workers there are.
        template: the address of the one that their processes are forks of; None: each has its own.
    """

    planned: Path
    only: frozenset[str] | None = None
    workers: int = 1
    template: str | None = None

    def __call__(self, _: object = None) -> dict[str, str]:
        """Take runs as `take`, with a worker of its own.

        Args:
            _: the configuration that Hydra hands to a job; the runs have their own.
        """
        with Worker(self.template) as worker:
            return self.take(worker)

    def take(self, worker: Worker) -> dict[str, str]:
        """Take runs until none is free, or the command is asked to stop; runs that differ only in the seed are taken as
        cohorts. A run whose worker is gone is left to the command, which frees the leases of the dead before it starts
        workers.

        Returns:
            Why runs could not be stored, by run_id.
        """
        planned = json.loads(self.planned.read_bytes())
        left: dict[int, dict[str, int]] = {}  # seeds by run_id, by settings
        for run_id, settings, seed in planned["runs"]:
            if self.only is None or run_id in self.only:
                left.setdefault(settings, {})[run_id] = seed
        unstored: dict[str, str] = {}
        while True:
            left = {number: self._without_result(runs) for number, runs in left.items()}
            free = {
                number: {run_id: seed for run_id, seed in runs.items() if not self._is_taken(run_id)}
                for number, runs in left.items()
                if runs
            }
            untouched = [number for number, runs in free.items() if len(runs) == len(left[number])]
            number = untouched[0] if untouched else max(free, key=lambda each: len(free[each]), default=-1)
            if not free.get(number):
                break
            settings = planned["settings"][number]
            share, sole = self._share(settings["cohort"], len(free[number]), len(untouched), len(free))
            answers = worker.execute_cohort(settings, free[number], share, sole, self._is_taken)
            for run_id, answer in answers.items():
                if answer["status"] == "unstored":
                    unstored[run_id] = answer["error"]
            if is_stopping() or any(answer["status"] == "interrupted" for answer in answers.values()):
                break
            done = answers if answers or sole else free[number]  # others have begun those since
            left[number] = {key: seed for key, seed in left[number].items() if key not in done}
        return unstored

    @property
    def _sweep(self) -> Path:
        return self.planned.parents[1]

    def _without_result(self, runs: dict[str, int]) -> dict[str, int]:
        if self.only is not None:
            return runs
        return {key: seed for key, seed in runs.items() if not (self._sweep / "runs" / key / "result.json").exists()}

    def _is_taken(self, run_id: str) -> bool:
        """Tell whether somebody is at a run, also while its worker, which died, is started anew."""
        return (self._sweep / "leases" / run_id).exists()

    def _share(self, cohort: str, runs: int, untouched: int, groups: int) -> tuple[int, bool]:
        """Return how many of some runs to take at a time, and whether none if another worker is at them: as long as
        there is a group of runs for each worker, and else each has a part of one."""
        if cohort != "auto":
            return int(cohort), False
        if untouched >= self.workers:
            return runs, True
        return -(-runs // -(-self.workers // groups)), False


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
