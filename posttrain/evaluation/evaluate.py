"""How good a model is on records that it was not trained on: its loss, and measures of what it writes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from posttrain.batches import RewardStream, Rollout, Sequences
from posttrain.data.collate import Tokenized, prompts
from posttrain.data.records import Prompt
from posttrain.data.text_columns import TextColumns
from posttrain.errors import NumericStop
from posttrain.evaluation.reward_spans import RewardedAnswer, RewardSpan, placed
from posttrain.interfaces import Algorithm, Reward, RolloutEngine

Measure = Callable[[Sequence[str], Sequence[Prompt]], list[float]]
Divergence = Callable[[Sequences], Tensor]
"""From the model that wrote the responses to another, at each of their tokens, [B, R]."""


@torch.no_grad()
def loss_metrics(algorithm: Algorithm, batches: Sequence[Any], device: torch.device) -> dict[str, float]:
    """The algorithm's loss and metrics over all batches, as one sum over one count each; dropout off.

    What counts nothing, such as the accuracy over no decided pair, is left out.
    """
    sums: dict[str, float] = {}
    counts: dict[str, float] = {}
    algorithm.module.eval()
    for batch in batches:
        report = algorithm.loss(batch.to(device))
        for name, value in {"loss": report.loss_sum, **report.metric_sums}.items():
            sums[name] = sums.get(name, 0.0) + float(value)
            counts[name] = counts.get(name, 0.0) + float(report.metric_counts.get(name, report.count))
    return {name: sums[name] / counts[name] for name in sums if counts[name] > 0}


@dataclass(frozen=True)
class Generated:
    """One response to each prompt, with what every measure and reward says of it."""

    prompts: tuple[Prompt, ...]
    responses: tuple[str, ...]
    scores: Mapping[str, list[float]]
    reward_spans: Mapping[str, Sequence[Sequence[RewardSpan]]] = field(default_factory=dict)  # where they are kept

    def means(self) -> dict[str, float]:
        return {name: sum(values) / max(len(values), 1) for name, values in self.scores.items()}

    def rewarded(self) -> list[RewardedAnswer]:
        """Each response with the spans of every reward; [] where they are not kept."""
        if not self.reward_spans:
            return []
        return [
            RewardedAnswer(prompt.text, response, {name: spans[row] for name, spans in self.reward_spans.items()})
            for row, (prompt, response) in enumerate(zip(self.prompts, self.responses, strict=True))
        ]


def generated_names(rewards: Iterable[str], measures: Iterable[str]) -> list[str]:
    """What `Generated.means` has, but for the KL."""
    return [*(f"reward/{name}" for name in rewards), "length", "cut_share", *measures]


def generate_and_measure(
    engine: RolloutEngine, rows: Sequence[Tokenized], rewards: Mapping[str, Reward], measures: Mapping[str, Measure],
    batch_size: int, device: torch.device, kl: Divergence | None = None, columns: TextColumns | None = None,
) -> Generated:  # fmt: skip
    """The engine must give one sample a prompt. Batch i draws from the random streams of step i.

    With `columns`, which know the policy's tokens, the spans of every reward are kept.
    """
    records: list[Prompt] = []
    responses: list[str] = []
    scores: dict[str, list[float]] = {name: [] for name in generated_names(rewards, ())}
    scores |= {"kl": []} if kl else {}
    reward_spans: dict[str, list[list[RewardSpan]]] = {name: [] for name in rewards} if columns else {}
    for step, start in enumerate(range(0, len(rows), batch_size)):
        rollout: Rollout = engine.generate(prompts(rows[start : start + batch_size]).to(device), step)
        records += rollout.examples
        responses += rollout.texts
        scores["length"] += rollout.sequences.lengths.tolist()
        scores["cut_share"] += rollout.is_cut.float().tolist()
        if kl:
            scores["kl"] += kl(rollout.sequences).sum(-1).tolist()
        streams = {name: _judged(name, reward, rollout) for name, reward in rewards.items()}
        for name, stream in streams.items():
            scores[f"reward/{name}"] += stream.totals().tolist()
        if columns and streams:
            ends = columns.ends_of(rollout)
            for name, stream in streams.items():
                reward_spans[name] += _spans(stream, rollout, ends)
    for name, measure in measures.items():
        scores[name] = measure(responses, records)
    return Generated(tuple(records), tuple(responses), scores, reward_spans)


def _judged(name: str, reward: Reward, rollout: Rollout) -> RewardStream:
    stream = reward(rollout)
    if wrong := stream.nonfinite_rows():
        raise NumericStop(f"reward {name} gave a score that is not finite", [rollout.examples[i] for i in wrong])
    return stream


def _spans(stream: RewardStream, rollout: Rollout, ends: Sequence[Sequence[int]]) -> list[list[RewardSpan]]:
    rows = zip(stream.values.tolist(), stream.mask.tolist(), ends, rollout.texts, rollout.is_cut.tolist(), strict=True)
    return [placed(*row) for row in rows]
