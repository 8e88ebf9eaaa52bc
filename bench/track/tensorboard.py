"""TensorBoard: a folder of event files for each run, results/NAME/tensorboard/RUN_ID."""

import shutil
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from bench.record.records import Evaluation, Result, StoredReading
from bench.spec.config import Settings
from bench.track.tracker import flat_settings, numbers, summary_of, values_of


class _Run:
    """See `bench.track.tracker.TrackedRun`."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._writer = SummaryWriter(str(folder))
        self._settings = {
            key: value if isinstance(value, int | float | str) else str(value) for key, value in settings.items()
        }

    def log(self, evaluation: Evaluation) -> None:
        for name, value in values_of(evaluation).items():
            self._writer.add_scalar(name, value, evaluation.step)

    def finish(self, result: Result, readings: list[StoredReading]) -> None:
        self._writer.add_hparams(self._settings, numbers(summary_of(result)), run_name=".")
        self._writer.close()

    def pause(self) -> None:
        self._writer.close()


def open_run(config: Settings, run_id: str, attempt: str, sweep: Path) -> _Run:
    """Begin a run's folder anew: what was told before the run was resumed is told again."""
    folder = sweep / "tensorboard" / run_id
    shutil.rmtree(folder, ignore_errors=True)
    return _Run(folder, flat_settings(config))


def store_report(config: Settings, sweep: Path, headline: Any, step_times: dict[tuple[str, str], float]) -> None:
    """Store the headline table as text and the figures as images, in `report`."""
    from matplotlib.image import imread

    shutil.rmtree(sweep / "tensorboard" / "report", ignore_errors=True)
    with SummaryWriter(str(sweep / "tensorboard" / "report")) as writer:
        writer.add_text("headline", headline.to_markdown(index=False))
        for path in sorted((sweep / "report").glob("*.png")):
            writer.add_image(path.stem, imread(path), dataformats="HWC")
