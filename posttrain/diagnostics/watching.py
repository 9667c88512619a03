"""Watches what a run logs, and tells of each diagnostic once."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from posttrain.diagnostics.settings import DiagnosticsSettings
from posttrain.diagnostics.statistics import PATIENCE, WINDOW
from posttrain.diagnostics.table import BY_NAME, DIAGNOSTICS, JUDGE, Diagnostic


@dataclass(frozen=True)
class Trip:
    """A diagnostic that went beyond its threshold, at the step whose metrics did it."""

    name: str
    metric: str
    step: int
    value: float
    threshold: float

    @property
    def diagnostic(self) -> Diagnostic:
        return BY_NAME[self.name]

    @property
    def finding(self) -> str:
        """What was seen."""
        side = "below" if self.diagnostic.is_below else "above"
        return f"{self.diagnostic.seen}: {self.value:.3g}, {side} {self.threshold:g}"

    def message(self) -> str:
        """One line for the console."""
        return (
            f"step {self.step}: {self.name} ({self.finding}). {self.diagnostic.meaning} To try: "
            f"{self.diagnostic.remedy} This describes what was seen and foretells nothing."
        )


@dataclass
class Memory:
    """The first and the newest values of one metric."""

    first: list[float] = field(default_factory=list)
    newest: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        if len(self.first) < WINDOW:
            self.first.append(value)
        self.newest = [*self.newest, value][-PATIENCE:]


class Diagnostics:
    """`learned` has the metrics of an evaluation whose weighted sum is the reward that training follows."""

    def __init__(self, settings: DiagnosticsSettings, learned: Mapping[str, float]) -> None:
        self._thresholds = {diagnostic: getattr(settings, diagnostic.name) for diagnostic in DIAGNOSTICS}
        self._judge = None if settings.judge is None else f"eval/{settings.judge}"
        self._learned = learned
        self._memories: dict[str, Memory] = {diagnostic.metric: Memory() for diagnostic in DIAGNOSTICS}
        self._fall: list[tuple[float, float]] = []  # (judge, learned reward) of evaluations since the judge last rose
        self._tripped: set[str] = set()

    def see(self, step: int, values: Mapping[str, float]) -> list[Trip]:
        """What these metrics, logged at `step`, trip for the first time. What is not a finite number is not seen."""
        seen = {name: value for name, value in values.items() if name in self._memories and math.isfinite(value)}
        falls = self._falls(values)
        if falls is not None:
            seen[JUDGE] = falls
        for name, value in seen.items():
            self._memories[name].add(float(value))
        trips = []
        for diagnostic, threshold in self._thresholds.items():
            if diagnostic.metric not in seen or threshold is None or diagnostic.name in self._tripped:
                continue
            memory = self._memories[diagnostic.metric]
            value = diagnostic.statistic(memory.first, memory.newest)
            if value is not None and diagnostic.is_beyond(value, threshold):
                self._tripped.add(diagnostic.name)
                metric = self._judge if diagnostic.metric == JUDGE else diagnostic.metric
                assert metric is not None
                trips.append(Trip(diagnostic.name, metric, step, value, threshold))
        return trips

    def _falls(self, values: Mapping[str, float]) -> float | None:
        """How often the judge fell in a row, 0 where the learned reward did not rise over these evaluations.

        None where there is no judge among these metrics.
        """
        if self._judge is None or not self._learned:
            return None
        if not all(math.isfinite(values.get(name, math.nan)) for name in (self._judge, *self._learned)):
            return None
        judged = values[self._judge]
        learned = math.fsum(weight * values[name] for name, weight in self._learned.items())
        if self._fall and judged >= self._fall[-1][0]:
            self._fall = []
        self._fall.append((judged, learned))
        return float(len(self._fall) - 1) if learned > self._fall[0][1] else 0.0

    def state_dict(self) -> dict[str, Any]:
        return {
            "memories": {name: [memory.first, memory.newest] for name, memory in self._memories.items()},
            "fall": self._fall,
            "tripped": sorted(self._tripped),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._memories = {name: Memory(*map(list, lists)) for name, lists in state["memories"].items()}
        self._fall = [(judged, learned) for judged, learned in state["fall"]]
        self._tripped = set(state["tripped"])
