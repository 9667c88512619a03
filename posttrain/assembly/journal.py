"""Where a run says what it measures: the log, the console, and what the diagnostics see in it."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from posttrain.config import RunConfig
from posttrain.diagnostics.watching import Diagnostics
from posttrain.training.metrics import Metrics
from posttrain.training.progress import Progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Journal:
    metrics: Metrics
    progress: Progress
    diagnostics: Diagnostics

    def write(self, step: int, values: dict[str, float]) -> None:
        """Log these metrics, and after them each diagnostic that they trip, which the console is told as well."""
        self.metrics.log(step, values)
        self.progress.show(step, values)
        for trip in self.diagnostics.see(step, values):
            self.metrics.log_trip(trip)
            log.warning("%s", trip.message())

    def state_dict(self) -> dict[str, Any]:
        return {"metrics_offset": self.metrics.offset(), "diagnostics": self.diagnostics.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Go on from a checkpoint, or from the start: lines of a later moment are dropped, diagnostics among them."""
        self.metrics.truncate_to(state["metrics_offset"] if state else 0)
        if state:
            self.diagnostics.load_state_dict(state["diagnostics"])


def watch(config: RunConfig) -> Diagnostics:
    """The diagnostics of a run. At evaluations, the learned reward is that of its rewards, or DPO's implicit one."""
    learned = {f"eval/reward/{reward.name}": reward.weight for reward in config.rewards}
    return Diagnostics(config.diagnostics, learned or {"eval/margin": 1.0})
