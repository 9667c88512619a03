"""Sample with the training model itself, in this process.

The prompt (or the encoder) is run once per unique prompt and shared by its samples; finished responses leave
the batch; every sample draws from a random stream of its own, keyed by (seed, step, sample), so that a response
does not depend on what else is in the batch.
"""

import math
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from posttrain.batches import Prompts, Rollout, Sequences
from posttrain.functional.logprobs import MASKED, distribution_logits
from posttrain.models.decoding.start import Decoder, Joinable, start_decoding
from posttrain.models.language_model import LanguageModel, Sampling
from posttrain.models.loading import Pretrained, Tokenizer
from posttrain.models.precision import rounded
from posttrain.randomness import stream


class Config(Sampling):
    max_new_tokens: int = Field(64, gt=0, description="the end token included")
    samples_per_prompt: int = Field(1, gt=0)
    rows_at_once: Annotated[
        int | None, Field(gt=0, description="responses in memory, one prompt's at least: as some end, others begin")
    ] = None
    is_greedy: bool = Field(False, description="take the most likely token instead of sampling")
    seed: int = 0


def build(config: Config, policy: LanguageModel, start: Pretrained) -> "InProcess":
    return InProcess(config, policy, start.tokenizer, start.end_ids)


@dataclass
class InProcess:
    config: Config
    policy: LanguageModel
    tokenizer: Tokenizer
    end_ids: tuple[int, ...]
    policy_version: int = 0

    def load_weights(self, policy: nn.Module, version: int) -> None:
        self.policy_version = version  # the weights are the trainer's own

    @torch.no_grad()
    def generate(self, prompts: Prompts, step: int) -> Rollout:
        """`samples_per_prompt` responses to each prompt; those of prompt u are rows u·k ... u·k + k − 1."""
        was_training = self.policy.training
        self.policy.eval()
        index = torch.arange(len(prompts)).repeat_interleave(self.config.samples_per_prompt).to(prompts.ids.device)
        written = Written(self._uniform(len(index), step).to(prompts.ids.device), self.end_ids)
        self._write(rounded(self.policy.hf_model), prompts, written)
        self.policy.train(was_training)
        ids, lengths, width = written.ids, written.lengths, int(written.lengths.max())
        mask = torch.arange(width, device=ids.device) < lengths.unsqueeze(1)
        sequences = Sequences(prompts, index, ids[:, :width], mask, mask)
        texts = self.tokenizer.batch_decode([row[:n] for row, n in zip(ids.tolist(), lengths.tolist(), strict=True)],
                                            skip_special_tokens=True)  # fmt: skip
        return Rollout(
            sequences,
            written.logprobs[:, :width],
            tuple(text.strip() for text in texts),
            written.is_cut,
            self.policy_version,
        )

    def greedy(self, prompts: Prompts) -> Rollout:
        """The likeliest token at each place; one response a prompt."""
        config = self.config.model_copy(update={"is_greedy": True, "samples_per_prompt": 1})
        return replace(self, config=config).generate(prompts, 0)

    def _uniform(self, rows: int, step: int) -> Float[Tensor, "B T"]:
        if self.config.is_greedy:
            return torch.zeros(rows, self.config.max_new_tokens)
        streams = (stream(self.config.seed, step, sample) for sample in range(rows))
        return torch.stack([torch.rand(self.config.max_new_tokens, generator=g) for g in streams])

    def _write(self, model: Any, prompts: Prompts, written: "Written") -> None:
        """All responses. Prompts are taken by length; with `rows_at_once`, new ones begin where others have ended."""
        k, waiting = self.config.samples_per_prompt, prompts.lengths.argsort(stable=True)
        at_once = len(prompts) if self.config.rows_at_once is None else max(1, self.config.rows_at_once // k)
        decoder, rows, token = self._begin(model, prompts, waiting[:at_once], written)
        waiting = waiting[at_once:]
        while True:
            is_going = written.is_going[rows]
            num_going = int(is_going.sum())
            if num_going <= decoder.full_enough * len(rows):
                rest = is_going.nonzero().squeeze(-1)
                rows, token = rows[rest], token[rest]
                if num_going:
                    decoder.keep(rest)
                free = at_once - math.ceil(num_going / k)
                if len(waiting) and free and (num_going == 0 or isinstance(decoder, Joinable)):
                    other, *new = self._begin(model, prompts, waiting[:free], written)
                    waiting = waiting[free:]
                    if num_going:
                        assert isinstance(decoder, Joinable)
                        decoder.join(other)
                    else:
                        decoder = other
                    rows, token = torch.cat([rows, new[0]]), torch.cat([token, new[1]])
                    continue
                if num_going == 0:
                    return
            token, logprob = self._choose(decoder.next_logits(token), written.next_uniform(rows))
            written.add(rows, token, logprob)

    def _begin(
        self, model: Any, prompts: Prompts, chosen: Int[Tensor, "U"], written: "Written"
    ) -> tuple[Decoder, Int[Tensor, "B"], Int[Tensor, "B"]]:
        """Read some of the prompts and choose the first tokens: the decoder, its rows of the batch, their tokens."""
        k = self.config.samples_per_prompt
        index = torch.arange(len(chosen), device=chosen.device).repeat_interleave(k)
        rows = (chosen.unsqueeze(1) * k + torch.arange(k, device=chosen.device)).flatten()
        some = prompts.select(chosen.tolist())
        decoder = start_decoding(model, some, index, self.config.max_new_tokens)
        token, logprob = self._choose(decoder.first_logits(), written.next_uniform(rows))
        written.add(rows, token, logprob)
        return decoder, rows, token

    def _choose(
        self, logits: Float[Tensor, "B V"], uniform: Float[Tensor, "B"]
    ) -> tuple[Int[Tensor, "B"], Float[Tensor, "B"]]:
        """Inverse-CDF sampling: one uniform number per token, so a row's draws are its own."""
        c = self.config
        if c.is_greedy:
            token = logits.argmax(-1)
            filtered = distribution_logits(logits, c.temperature, c.top_k, c.top_p, c.min_p)
            return token, filtered.log_softmax(-1).gather(-1, token.unsqueeze(-1)).squeeze(-1)
        if not 0 < c.top_k < logits.shape[-1]:
            return _draw(distribution_logits(logits, c.temperature, c.top_k, c.top_p, c.min_p), uniform)
        survivors = _top_k_survivors(logits, c.top_k)
        place, logprob = _draw(distribution_logits(survivors.values, c.temperature, 0, c.top_p, c.min_p), uniform)
        return survivors.indices.gather(-1, place.unsqueeze(-1)).squeeze(-1), logprob


class Written:
    """What the rows of a batch have written so far: an end token, or the limit of `uniform`'s columns, ends a row."""

    def __init__(self, uniform: Float[Tensor, "B T"], end_ids: tuple[int, ...]):
        rows, device = len(uniform), uniform.device
        self.uniform, self.ends = uniform, torch.tensor(end_ids, device=device)
        self.ids = torch.zeros(uniform.shape, dtype=torch.long, device=device)
        self.logprobs = torch.zeros(uniform.shape, device=device)
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)
        self.is_going = torch.ones(rows, dtype=torch.bool, device=device)
        self.is_cut = torch.zeros(rows, dtype=torch.bool, device=device)

    def next_uniform(self, rows: Int[Tensor, "R"]) -> Float[Tensor, "R"]:
        """The number that each row's next token is drawn with; any number for a row that has ended."""
        return self.uniform[rows, self.lengths[rows].clamp(max=self.uniform.shape[1] - 1)]

    def add(self, rows: Int[Tensor, "R"], token: Int[Tensor, "R"], logprob: Float[Tensor, "R"]) -> None:
        """One token of each row that is going."""
        is_going = self.is_going[rows]
        rows, token, logprob = rows[is_going], token[is_going], logprob[is_going]
        column = self.lengths[rows]
        self.ids[rows, column], self.logprobs[rows, column] = token, logprob
        self.lengths[rows] += 1
        has_ended, is_full = torch.isin(token, self.ends), column + 1 == self.uniform.shape[1]
        self.is_cut[rows] = is_full & ~has_ended
        self.is_going[rows] = ~(has_ended | is_full)


def _draw(filtered: Float[Tensor, "B V"], uniform: Float[Tensor, "B"]) -> tuple[Int[Tensor, "B"], Float[Tensor, "B"]]:
    """A column of each row, and its log-probability."""
    cumulative = filtered.softmax(-1).cumsum(-1)
    target = uniform.unsqueeze(-1) * cumulative[:, -1:]  # rounding: the sum is not exactly 1
    column = torch.searchsorted(cumulative, target, right=True).clamp(max=filtered.shape[-1] - 1)
    return column.squeeze(-1), filtered.gather(-1, column).squeeze(-1) - filtered.logsumexp(-1)


class Survivors(NamedTuple):
    """What top-k leaves of each row, in the order of the vocabulary, and columns that it removed behind MASKED."""

    values: Float[Tensor, "B K"]
    indices: Int[Tensor, "B K"]


def _top_k_survivors(logits: Float[Tensor, "B V"], top_k: int) -> Survivors:
    """The filter keeps what is as likely as the k-th: with logits in bfloat16 there are often such."""
    top = logits.topk(min(top_k + 1, logits.shape[-1]), dim=-1)
    threshold = top.values[:, top_k - 1 : top_k]
    if (threshold == top.values[:, -1:]).any():
        most = int((logits >= threshold).sum(-1).max())
        top = logits.topk(most, dim=-1)
        indices = top.indices.sort(-1).values
        values = logits.gather(-1, indices).float()
        return Survivors(values.masked_fill(values < threshold, MASKED), indices)
    indices = top.indices[:, :top_k].sort(-1).values
    return Survivors(logits.gather(-1, indices), indices)
