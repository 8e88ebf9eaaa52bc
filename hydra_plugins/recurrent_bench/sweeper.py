"""Hydra's sweeper, for whom the plan says what is launched."""

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins


class PlannedSweeper(BasicSweeper):
    """Launches the runs that the sweep's callback has planned and that are not finished, and no others.

    The plan has composed and checked every run, which Hydra's own sweeper would do once more."""

    def sweep(self, arguments: list[str]) -> Any:
        assert self.launcher is not None
        assert self.hydra_context is not None
        # The callback is known by its plan: importing its class here would make every process import torch.
        plans = [callback.plan for callback in self.hydra_context.callbacks.callbacks if hasattr(callback, "plan")]
        returned = self.launcher.launch([plans[0].jobs[key] for key in plans[0].pending], initial_job_idx=0)
        for each in returned:
            _ = each.return_value  # raises what the job did
        return [returned]


def register_sweeper() -> None:
    """Make the sweeper known to Hydra, which would find it by itself in a checkout and an ordinary installation, and
    not in an editable one."""
    ConfigStore.instance().store(
        group="hydra/sweeper",
        name="planned",
        node={"_target_": f"{__name__}.{PlannedSweeper.__name__}", "max_batch_size": None, "params": None},
        provider="recurrent-bench",
    )
    Plugins.instance().register(PlannedSweeper)
