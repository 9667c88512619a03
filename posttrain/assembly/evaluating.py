"""The evaluations of a run: losses on held-out records, and what the responses to them are worth."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from posttrain.assembly.journal import Journal
from posttrain.assembly.records import collator
from posttrain.assembly.spans import SpanData
from posttrain.config import EvaluationSettings
from posttrain.data.collate import Tokenized
from posttrain.data.text_columns import TextColumns
from posttrain.evaluation.evaluate import Generated, Measure, generate_and_measure, generated_names, loss_metrics
from posttrain.evaluation.reward_spans import spans_file, write_reward_spans
from posttrain.interfaces import Algorithm, Reward, RolloutEngine
from posttrain.models.language_model import LanguageModel
from posttrain.training.metrics import GENERATIONS

BATCH = 64
CACHE = "cache"
PREFIX = "eval/"


@dataclass
class Evaluations:
    """`rows` may be none, and then there is nothing to measure. `has_text`: the algorithm trains a language model."""

    settings: EvaluationSettings
    consumes: str
    has_text: bool
    rows: Sequence[Tokenized]
    spans: SpanData | None
    algorithm: Algorithm
    reference: Callable[[], LanguageModel]
    engine: Callable[[], RolloutEngine]
    rewards: Mapping[str, Reward]
    measures: Mapping[str, Measure]
    columns: TextColumns  # of the policy's tokens
    device: torch.device
    _collate: Callable[[Sequence[int]], Any] | None = None  # made once: DPO's scores the reference

    @property
    def has_loss(self) -> bool:
        return bool(self.rows) and self.consumes != "rollouts"

    @property
    def has_responses(self) -> bool:
        return bool(self.rows) and self.settings.generate and self.has_text

    def evaluate(self, step: int, journal: Journal, folder: Path) -> dict[str, float]:
        """Measure, and write it into the run's folder; what is logged, by the names that it is logged under."""
        values: dict[str, float] = {}
        if self.has_loss:
            values |= loss_metrics(self.algorithm, self.batches(folder / CACHE), self.device)
        if self.has_responses:
            generated = self._generate()
            values |= generated.means()
            columns = ["prompt", "output", *generated.scores]
            texts = (prompt.text for prompt in generated.prompts)
            rows = list(zip(texts, generated.responses, *generated.scores.values(), strict=True))
            journal.metrics.log_table(GENERATIONS, columns, rows, step)
            if rewarded := generated.rewarded():
                write_reward_spans(spans_file(folder, step), rewarded)
        named = {PREFIX + name: value for name, value in values.items()}
        if named:
            journal.write(step, named)
        return named

    def names(self) -> list[str]:
        """What an evaluation may log; the metrics of the loss are those of a try on one record."""
        names: list[str] = []
        if self.has_loss:
            with TemporaryDirectory() as cache, torch.no_grad():
                batch = self._collator(self.rows[:1], Path(cache))([0])
                self.algorithm.module.eval()
                report = self.algorithm.loss(batch.to(self.device))
            names += ["loss", *report.metric_sums]
        if self.has_responses:
            names += generated_names(self.rewards, self.measures)
        return [PREFIX + name for name in names]

    def batches(self, cache: Path) -> list[Any]:
        if self._collate is None:
            self._collate = self._collator(self.rows, cache)
        numbers = range(len(self.rows))
        return [self._collate(numbers[i : i + BATCH]) for i in range(0, len(numbers), BATCH)]

    def _collator(self, rows: Sequence[Tokenized], cache: Path) -> Callable[[Sequence[int]], Any]:
        if self.spans is not None:
            return self.spans.collator(is_evaluation=True)
        return collator(self.consumes, rows, self.reference, cache)

    def _generate(self) -> Generated:
        return generate_and_measure(
            self.engine(), self.rows, self.rewards, self.measures, BATCH, self.device, columns=self.columns
        )
