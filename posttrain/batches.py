"""What flows between stages. Every field is named for what it holds; every mask is True where a token counts.

Axes: U unique prompts, P prompt columns, B responses, R response columns, A actions of a response (its tokens, or 1),
N pairs, V vocabulary.
Everything downstream of a model is aligned to the response: column t of a [B, R] tensor belongs to
response token t. Prompts and responses start at column 0 and are padded on the right; how a family
lays them out for its forward is its own business.

A batch has rows: `len(batch)` of them, `batch.select(rows)` keeps some, `batch.split(size)` cuts it in
pieces. A row is one response, except in `Prompts` (one prompt) and `PreferencePairs` (one prompt with
all of its responses and pairs, so that pairs of one prompt are never torn apart).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from posttrain.data.records import Prompt


class Batch:
    """Rows that can be counted, selected and split. Fields are tensors or tuples with one entry a row, or batches."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))  # pyright: ignore[reportArgumentType]

    def select(self, rows: Sequence[int]) -> Self:
        kept = {f.name: _select(getattr(self, f.name), rows) for f in fields(self)}  # pyright: ignore[reportArgumentType]
        return replace(self, **kept)  # pyright: ignore[reportArgumentType]

    def split(self, size: int) -> list[Self]:
        return [self.select(range(i, min(i + size, len(self)))) for i in range(0, len(self), size)]

    def row_lengths(self) -> list[int]:
        """Tokens of each row, prompt included: what a row costs. A batch that holds `sequences` has theirs."""
        return self.sequences.row_lengths()  # pyright: ignore[reportAttributeAccessIssue]

    def row_prompts(self) -> list[int]:
        """The number of each row's prompt: rows with the same one share it."""
        return self.sequences.row_prompts()  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def prompt_records(self) -> tuple[Prompt, ...]:
        """The records of the prompts of these rows, each once."""
        return self.sequences.prompts.examples  # pyright: ignore[reportAttributeAccessIssue]

    def to(self, device: torch.device | str) -> Self:
        moved = {
            f.name: value.to(device)
            for f in fields(self)  # pyright: ignore[reportArgumentType]
            if isinstance(value := getattr(self, f.name), Tensor | Batch)
        }
        return replace(self, **moved)  # pyright: ignore[reportArgumentType]


def _select(value: Any, rows: Sequence[int]) -> Any:
    if isinstance(value, Tensor):
        return value[torch.as_tensor(list(rows), device=value.device, dtype=torch.long)]
    if isinstance(value, Batch):
        return value.select(rows)
    if isinstance(value, tuple):
        return tuple(value[i] for i in rows)
    return value


@dataclass(frozen=True)
class Prompts(Batch):
    ids: Int[Tensor, "U P"]
    mask: Bool[Tensor, "U P"]
    examples: tuple[Prompt, ...]  # the source records, for rewards and measures that need them

    @property
    def prompt_records(self) -> tuple[Prompt, ...]:
        return self.examples

    @property
    def lengths(self) -> Int[Tensor, "U"]:
        return self.mask.sum(-1)

    def row_lengths(self) -> list[int]:
        return self.lengths.tolist()


@dataclass(frozen=True)
class Sequences(Batch):
    """Responses, each to one of the prompts. A group, a pair or a ranking shares its prompt, which is encoded once."""

    prompts: Prompts
    prompt_index: Int[Tensor, "B"]
    response_ids: Int[Tensor, "B R"]
    response_mask: Bool[Tensor, "B R"]  # a real token
    action_mask: Bool[Tensor, "B R"]  # a token that the policy chose, so one that is trained on

    def __len__(self) -> int:
        return len(self.prompt_index)

    @property
    def prompt_records(self) -> tuple[Prompt, ...]:
        return self.prompts.examples

    @property
    def lengths(self) -> Int[Tensor, "B"]:
        return self.response_mask.sum(-1)

    def row_lengths(self) -> list[int]:
        return (self.prompts.lengths[self.prompt_index] + self.lengths).tolist()

    def row_prompts(self) -> list[int]:
        return self.prompt_index.tolist()

    def select(self, rows: Sequence[int]) -> Self:
        index = torch.as_tensor(list(rows), device=self.prompt_index.device, dtype=torch.long)
        used, prompt_index = self.prompt_index[index].unique(return_inverse=True)
        return replace(
            self,
            prompts=self.prompts.select(used.tolist()),
            prompt_index=prompt_index,
            response_ids=self.response_ids[index],
            response_mask=self.response_mask[index],
            action_mask=self.action_mask[index],
        )


@dataclass(frozen=True)
class Judged(Batch):
    """Responses, each marked good or bad."""

    sequences: Sequences
    is_good: Bool[Tensor, "B"]


@dataclass(frozen=True)
class JudgedSpans(Batch):
    """Responses with the class of each of their spans, written at the span's last token."""

    sequences: Sequences
    first: Int[Tensor, "B R"]  # column of the first token of the span that ends here
    label: Int[Tensor, "B R"]  # its class; -1 where no span ends
    weight: Float[Tensor, "B R"]  # of that span in the loss


@dataclass(frozen=True)
class Rollout(Batch):
    """Responses that the policy sampled."""

    sequences: Sequences
    logprobs: Float[Tensor, "B R"]  # of the sampling distribution, as the sampler saw it
    texts: tuple[str, ...]
    is_cut: Bool[Tensor, "B"]  # stopped by the length limit, not by an end token
    policy_version: int = 0

    @property
    def examples(self) -> tuple[Prompt, ...]:
        """The prompt record of each response."""
        return tuple(self.sequences.prompts.examples[i] for i in self.sequences.prompt_index.tolist())


@dataclass(frozen=True)
class RewardStream:
    """One reward, written at the last token of each span that it judges."""

    name: str
    values: Float[Tensor, "B R"]
    mask: Bool[Tensor, "B R"]  # where a judgement was made: judged 0 differs from not judged
    num_truncated: int = 0  # responses of which the judge read a part only

    def totals(self) -> Float[Tensor, "B"]:
        return self.values.masked_fill(~self.mask, 0.0).sum(-1)

    def nonfinite_rows(self) -> list[int]:
        """Responses whose total is no finite number, as it is with any judgement that is none."""
        return (~self.totals().isfinite()).nonzero().flatten().tolist()


def stacked(
    rewards: Sequence[tuple[float, RewardStream]],
) -> tuple[Float[Tensor, "K B R"], Float[Tensor, "K"]]:
    """The values of all streams, 0 where one does not judge, and their weights."""
    streams = torch.stack([torch.where(stream.mask, stream.values, 0.0) for _, stream in rewards])
    return streams, torch.tensor([weight for weight, _ in rewards], device=streams.device)


@dataclass(frozen=True)
class Experience(Batch):
    """A rollout turned into a training batch for a policy-gradient method."""

    sequences: Sequences
    old_logprobs: Float[Tensor, "B A"]
    advantages: Float[Tensor, "B A"]


@dataclass(frozen=True)
class ActorCriticExperience(Experience):
    returns: Float[Tensor, "B A"]
    old_values: Float[Tensor, "B A"]


@dataclass(frozen=True)
class ReferencedExperience(Experience):
    reference_logprobs: Float[Tensor, "B R"]


@dataclass(frozen=True)
class PreferencePairs(Batch):
    """Judged pairs of responses to the same prompt. K-wise rankings are just more pairs of the same rows.

    A row is a prompt: selecting prompts keeps all their responses and pairs. `better` and `worse` index
    rows of `sequences`; in a tie they are the first and the second shown.
    """

    sequences: Sequences
    better: Int[Tensor, "N"]
    worse: Int[Tensor, "N"]
    is_tie: Bool[Tensor, "N"]
    weight: Float[Tensor, "N"]  # one prompt's pairs sum to 1 (Ouyang et al. 2022, eq. 1)

    def __len__(self) -> int:
        return len(self.sequences.prompts)

    def row_prompts(self) -> list[int]:
        return list(range(len(self)))  # a row is a prompt

    def row_lengths(self) -> list[int]:
        """The longest prompt and response of each prompt: its rows are padded to it together."""
        lengths = torch.tensor(self.sequences.row_lengths())
        return [int(lengths[self.sequences.prompt_index == prompt].max()) for prompt in range(len(self))]

    def select(self, rows: Sequence[int]) -> Self:
        prompts = torch.as_tensor(list(rows), device=self.better.device, dtype=torch.long)
        kept_responses = torch.isin(self.sequences.prompt_index, prompts).nonzero().squeeze(-1)
        position = torch.full((len(self.sequences),), -1, device=prompts.device)
        position[kept_responses] = torch.arange(len(kept_responses), device=prompts.device)
        pairs = (position[self.better] >= 0).nonzero().squeeze(-1)
        return replace(
            self,
            sequences=self.sequences.select(kept_responses.tolist()),
            better=position[self.better[pairs]],
            worse=position[self.worse[pairs]],
            is_tie=self.is_tie[pairs],
            weight=self.weight[pairs],
            **self._select_responses(kept_responses),
        )

    def _select_responses(self, rows: Int[Tensor, "K"]) -> dict[str, Tensor]:
        """The fields of a subclass that have one entry a response."""
        return {}


@dataclass(frozen=True)
class ReferencedPairs(PreferencePairs):
    """Pairs with what the frozen reference thinks of each response."""

    reference_logprobs: Float[Tensor, "B"]  # summed over the response

    def _select_responses(self, rows: Int[Tensor, "K"]) -> dict[str, Tensor]:
        return {"reference_logprobs": self.reference_logprobs[rows]}
