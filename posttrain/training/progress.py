"""A progress bar for people; silent where the output is not a terminal, but for a line now and then."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

SHOWN = (
    "train/loss",
    "train/accuracy",
    "rollout/reward",
    "rollout/kl",
    "eval/loss",
    "eval/rougeL",
    "eval/accuracy",
)
SECONDS_BETWEEN_LINES = 15.0


class Progress:
    def __init__(self, title: str, is_shown: bool = True):
        console = Console(stderr=True)
        self._is_bar = is_shown and console.is_terminal
        self._is_lines = is_shown and not console.is_terminal
        columns = (TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                   TimeRemainingColumn(), TextColumn("{task.fields[values]}"))  # fmt: skip
        self._bar = Bar(*columns, console=console, disable=not self._is_bar)
        self._task = self._bar.add_task(title, total=None, values="")
        self._title, self._last_line, self._values, self._total = title, time.monotonic(), {}, 0

    def start(self, step: int, total: int) -> None:
        self._total = total
        self._bar.update(self._task, completed=step, total=total)

    def show(self, step: int, values: Mapping[str, float]) -> None:
        self._values |= {name.partition("/")[2]: values[name] for name in SHOWN if name in values}
        text = "  ".join(f"{name} {value:.3f}" for name, value in self._values.items())
        self._bar.update(self._task, completed=step, values=text)
        is_due = time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES or step == self._total
        if self._is_lines and is_due:
            self._last_line = time.monotonic()
            print(f"{self._title} {step}/{self._total}  {text}", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()
