"""Changes of a batch that may change nothing: more padding, other padding, another order of its rows."""

from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from posttrain.batches import Batch, JudgedSpans, PreferencePairs, Prompts, RewardStream, Rollout, Sequences
from tests.algorithms.variants import Acted
from tests.tiny_models import VOCABULARY

GARBAGE = torch.tensor([float("nan"), float("inf"), -float("inf"), 1e30, -3.0])


class Padded:
    """More columns of padding, and in all padding any id or number."""

    def __init__(self, prompt_columns: int, response_columns: int, seed: int):
        self.prompt_columns, self.response_columns = prompt_columns, response_columns
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, batch: Any) -> Any:
        if isinstance(batch, Acted):
            rollout, greedy = self(batch.rollout), self(batch.greedy)
            of_rollout, of_greedy = ([self._stream(x) for x in some] for some in (batch.rewards, batch.greedy_rewards))
            return Acted(rollout, of_rollout, greedy, of_greedy)
        if isinstance(batch, Prompts):
            ids, mask = self._ids(batch.ids, batch.mask, self.prompt_columns)
            return replace(batch, ids=ids, mask=mask)
        if isinstance(batch, Sequences):
            ids, mask = self._ids(batch.response_ids, batch.response_mask, self.response_columns)
            actions = _widened(batch.action_mask, self.response_columns, False)
            prompts = self(batch.prompts)
            return replace(batch, prompts=prompts, response_ids=ids, response_mask=mask, action_mask=actions)
        mask = batch.sequences.action_mask
        if isinstance(batch, JudgedSpans):  # whether a span ends at a token is said by its label, which has no padding
            first, label = (_widened(x, self.response_columns, -1) for x in (batch.first, batch.label))
            noise = torch.randint(0, 99, first.shape, generator=self.generator)
            weight = self._numbers(batch.weight, batch.label >= 0)
            first = torch.where(label >= 0, first, noise)
            return replace(batch, sequences=self(batch.sequences), first=first, label=label, weight=weight)
        numbers = {
            field.name: self._numbers(value, mask)
            for field in fields(batch)
            if isinstance(value := getattr(batch, field.name), Tensor) and value.shape == mask.shape
        }
        return replace(batch, sequences=self(batch.sequences), **numbers)

    def _stream(self, stream: RewardStream) -> RewardStream:
        mask = _widened(stream.mask, self.response_columns, False)
        return replace(stream, values=self._numbers(stream.values, stream.mask), mask=mask)

    def _ids(self, ids: Tensor, mask: Tensor, columns: int) -> tuple[Tensor, Tensor]:
        ids, mask = _widened(ids, columns, 0), _widened(mask, columns, False)
        return torch.where(mask, ids, torch.randint(0, len(VOCABULARY), ids.shape, generator=self.generator)), mask

    def _numbers(self, values: Tensor, mask: Tensor) -> Tensor:
        values, mask = (_widened(x, self.response_columns, fill) for x, fill in ((values, 0.0), (mask, False)))
        return torch.where(mask, values, GARBAGE[torch.randint(0, len(GARBAGE), mask.shape, generator=self.generator)])


def _widened(values: Tensor, columns: int, fill: float) -> Tensor:
    return torch.cat([values, values.new_full((len(values), columns), fill)], dim=1)


class Reordered:
    """Prompts, responses and pairs in another order, and what is shown first in a tie is shown second."""

    def __init__(self, seed: int):
        self.seed = seed

    def __call__(self, batch: Any) -> Any:
        generator = torch.Generator().manual_seed(self.seed)
        if isinstance(batch, Acted):
            prompts, rows = self._orders(batch.rollout.sequences, generator)
            rollout, greedy = _reordered(batch.rollout, prompts, rows), _reordered(batch.greedy, prompts, prompts)
            streams = [_stream(stream, rows) for stream in batch.rewards]
            return Acted(rollout, streams, greedy, [_stream(stream, prompts) for stream in batch.greedy_rewards])
        prompts, rows = self._orders(batch if isinstance(batch, Sequences) else batch.sequences, generator)
        if not isinstance(batch, PreferencePairs):
            return _reordered(batch, prompts, rows)
        pairs, place = torch.randperm(len(batch.better), generator=generator), rows.argsort()
        better, worse, is_tie = place[batch.better[pairs]], place[batch.worse[pairs]], batch.is_tie[pairs]
        better, worse = torch.where(is_tie, worse, better), torch.where(is_tie, better, worse)
        of_responses = {
            field.name: getattr(batch, field.name)[rows]
            for field in fields(batch)
            if field.name == "reference_logprobs"
        }
        sequences = _reordered(batch.sequences, prompts, rows)
        return replace(
            batch, sequences=sequences, better=better, worse=worse, is_tie=is_tie, weight=batch.weight[pairs],
            **of_responses,
        )  # fmt: skip

    def _orders(self, sequences: Sequences, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        numbers = (len(sequences.prompts), len(sequences))
        prompts, rows = (torch.randperm(number, generator=generator) for number in numbers)
        return prompts, rows


def _reordered(batch: Any, prompts: Tensor, rows: Tensor) -> Any:
    """Rows of responses, and their prompts: row i is what was row `rows[i]`."""
    if isinstance(batch, Sequences):
        picked = {name: getattr(batch, name)[rows] for name in ("response_ids", "response_mask", "action_mask")}
        index = prompts.argsort()[batch.prompt_index[rows]]
        return replace(batch, prompts=batch.prompts.select(prompts.tolist()), prompt_index=index, **picked)
    changed: dict[str, Any] = {}
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Batch):
            changed[field.name] = _reordered(value, prompts, rows)
        elif isinstance(value, Tensor):
            changed[field.name] = value[rows]
        elif isinstance(batch, Rollout) and field.name == "texts":
            changed[field.name] = tuple(value[row] for row in rows.tolist())
    return replace(batch, **changed)


def _stream(stream: RewardStream, rows: Tensor) -> RewardStream:
    return replace(stream, values=stream.values[rows], mask=stream.mask[rows])
