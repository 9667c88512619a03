"""The statistics of the dashboard, computed again as votes come in but never for more than a tenth of the time."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from posttrain.annotation.project import Project
from posttrain.annotation.statistics.settings import StatisticsSettings
from posttrain.annotation.store import reading
from posttrain.annotation.store.reading import Progress
from posttrain.annotation.store.tables import events, votes

if TYPE_CHECKING:
    from posttrain.annotation.statistics.summary import Summary

NUM_RESAMPLES = 300
"""Of bootstraps: ends of intervals then move by some 6 % of the width, which a page that changes anyway can bear."""

LEAST_SECONDS = 3.0
REST = 9.0  # so many times as long as the last computation took is left to annotators


@dataclass(frozen=True)
class Numbers:
    progress: Progress
    summary: "Summary"
    is_random_arm: bool  # the others were chosen for being hard, so they say nothing about models
    at: float


class LiveSummary:
    """Shared by all who watch."""

    def __init__(self, project: Project, clock: Callable[[], float] = time.monotonic) -> None:
        self.project = project
        self.clock = clock
        self.lock = threading.Lock()
        self.found: Numbers | None = None
        self.seen: tuple[int, int] | None = None
        self.not_before = 0.0
        self.counted: Progress | None = None
        self.counted_at = 0.0

    def progress(self) -> Progress:
        """At most a second old: counting takes longer than an answer does."""
        if self.counted is None or self.clock() > self.counted_at + 1:
            self.counted_at = self.clock()
            with self.project.store.reading() as connection:
                self.counted = reading.progress(connection, self.project.settings.overlap)
        return self.counted

    def numbers(self) -> Numbers:
        """The newest, or some that are a few seconds old."""
        progress = self.progress()
        with self.project.store.reading() as connection:
            # undoing changes no vote but leaves an event
            newest = tuple(
                connection.execute(select(func.max(each.c.id))).scalar_one() or 0 for each in (votes, events)
            )
        known = self.found
        is_known = known is not None and (newest == self.seen or self.clock() < self.not_before)
        # whoever comes while another computes is given what there is, if there is something
        if is_known or not self.lock.acquire(blocking=known is None):
            assert known is not None, "the first comer waits for the first numbers"
            return Numbers(progress, known.summary, known.is_random_arm, known.at)
        try:
            if known is None and self.found is not None:  # another one computed the first numbers meanwhile
                return self.found
            began = self.clock()
            self.found = self._computed(progress)
            self.seen = (newest[0], newest[1])
            self.not_before = self.clock() + max(LEAST_SECONDS, REST * (self.clock() - began))
            return self.found
        finally:
            self.lock.release()

    def _computed(self, progress: Progress) -> Numbers:
        # SciPy and pandas behind it take seconds to import, which a server that starts again should not
        from posttrain.annotation.statistics.summary import summary

        with self.project.store.reading() as connection:
            items, found = reading.read_items(connection), reading.read_votes(connection)
        by_chance = [item for item in items if item.arm == "random"]
        settings = StatisticsSettings(
            num_resamples=NUM_RESAMPLES, are_images=self.project.settings.mode == "image_pair"
        )
        return Numbers(progress, summary(by_chance, found, settings), len(by_chance) < len(items), time.time())
