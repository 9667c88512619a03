"""The model of the best evaluation so far, whole, in RUN/best; its best.json says which evaluation that was.

What is best is part of every checkpoint, so that a run that was killed and resumed ends with the same folder: an
evaluation that came after the checkpoint is made again, and so is what it exported.
"""

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain import plugins
from posttrain.config import CheckpointSettings
from posttrain.errors import InputError

log = logging.getLogger(__name__)
BEST_FILE = "best.json"


@dataclass
class Best:
    """`write` makes a folder of the model as it is now, with these files in it, whole or not at all."""

    settings: CheckpointSettings
    folder: Path
    write: Callable[[Path, Mapping[str, str]], None]
    step: int | None = None
    value: float | None = None

    def see(self, step: int, values: Mapping[str, float]) -> None:
        """Export the model if its evaluation is better than all before; the first of equals stays."""
        metric = self.settings.best_metric
        value = values.get(metric) if metric is not None else None
        if value is None or not math.isfinite(value) or not self._is_better(value):
            return
        self.step, self.value = step, value
        found = {"step": step, "metric": metric, "value": value}
        self.write(self.folder, {BEST_FILE: json.dumps(found, indent=1) + "\n"})
        log.info("step %d: %s is %.4g, the best so far; the model is in %s", step, metric, value, self.folder)

    def _is_better(self, value: float) -> bool:
        if self.value is None:
            return True
        return value > self.value if self.settings.best_is == "highest" else value < self.value

    def state_dict(self) -> dict[str, Any]:
        s = self.settings
        return {"metric": s.best_metric, "best_is": s.best_is, "step": self.step, "value": self.value}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint. What another metric called best counts no more."""
        now = self.state_dict()
        if any(state[name] != now[name] for name in ("metric", "best_is")):
            return
        self.step, self.value = state["step"], state["value"]
        if self.step is not None and not (self.folder / BEST_FILE).exists():
            log.warning("%s is gone, and comes back only with an evaluation better than that of step %d",
                        self.folder, self.step)  # fmt: skip


def check_best(metric: str | None, known: Sequence[str]) -> None:
    """InputError where no evaluation of the run can log this metric."""
    if metric is not None and metric not in known:
        raise InputError(
            f"checkpoint.best_metric: {metric!r} is no metric of this run's evaluations"
            f"{plugins.did_you_mean(metric, known)} (there: {', '.join(known) or 'none'})"
        )
