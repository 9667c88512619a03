"""Sample with the training model itself, in this process.

The prompt (or the encoder) is run once per unique prompt and shared by its samples; finished responses leave
the batch; every sample draws from a random stream of its own, keyed by (seed, step, sample), so that a response
does not depend on what else is in the batch.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from posttrain.batches import Prompts, Rollout, Sequences
from posttrain.functional.logprobs import distribution_logits
from posttrain.models.decoding.start import Decoder, start_decoding
from posttrain.models.language_model import LanguageModel, Sampling
from posttrain.models.loading import Pretrained, Tokenizer
from posttrain.randomness import stream

FULL_ENOUGH = 0.8
"""Rows that have ended leave the decoder when at most this share is going on: leaving copies what the rest wrote."""


class Config(Sampling):
    max_new_tokens: int = Field(64, gt=0, description="the end token included")
    samples_per_prompt: int = Field(1, gt=0)
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
        uniform = self._uniform(len(index), step).to(prompts.ids.device)
        by_length = prompts.lengths.argsort(stable=True)
        rows = torch.arange(len(index), device=index.device).view(len(prompts), -1)[by_length].flatten()
        decoder = start_decoding(
            self.policy.hf_model, prompts.select(by_length.tolist()), index, self.config.max_new_tokens
        )
        decoded = self._decode(decoder, uniform[rows])
        ids, logprobs, lengths, is_cut = (each[rows.argsort()] for each in decoded)
        self.policy.train(was_training)
        mask = torch.arange(ids.shape[1], device=ids.device) < lengths.unsqueeze(1)
        sequences = Sequences(prompts, index, ids.masked_fill(~mask, 0), mask, mask)
        texts = self.tokenizer.batch_decode([row[:n] for row, n in zip(ids.tolist(), lengths.tolist(), strict=True)],
                                            skip_special_tokens=True)  # fmt: skip
        return Rollout(sequences, logprobs, tuple(text.strip() for text in texts), is_cut, self.policy_version)

    def _uniform(self, rows: int, step: int) -> Float[Tensor, "B T"]:
        if self.config.is_greedy:
            return torch.zeros(rows, self.config.max_new_tokens)
        streams = (stream(self.config.seed, step, sample) for sample in range(rows))
        return torch.stack([torch.rand(self.config.max_new_tokens, generator=g) for g in streams])

    def _decode(
        self, decoder: Decoder, uniform: Float[Tensor, "B T"]
    ) -> tuple[Int[Tensor, "B R"], Float[Tensor, "B R"], Int[Tensor, "B"], Bool[Tensor, "B"]]:
        rows, steps = uniform.shape
        device = uniform.device
        ends = torch.tensor(self.end_ids, device=device)
        ids = torch.zeros(rows, steps, dtype=torch.long, device=device)
        logprobs = torch.zeros(rows, steps, device=device)
        lengths = torch.full((rows,), steps, device=device)
        kept = torch.arange(rows, device=device)  # the row of the batch that each row of the decoder writes
        is_going = torch.ones(rows, dtype=torch.bool, device=device)  # of those
        logits = decoder.first_logits()
        for t in range(steps):
            token, logprob = self._choose(logits, uniform[kept, t])
            going = kept[is_going]
            ids[going, t], logprobs[going, t] = token[is_going], logprob[is_going]
            has_ended = torch.isin(token, ends) & is_going
            lengths[kept[has_ended]] = t + 1
            is_going &= ~has_ended
            num_going = int(is_going.sum())
            if t + 1 == steps or num_going == 0:
                break
            if num_going <= FULL_ENOUGH * len(kept):
                rest = is_going.nonzero().squeeze(-1)
                decoder.keep(rest)
                kept, token, is_going = kept[rest], token[rest], is_going[rest]
            logits = decoder.next_logits(token)
        width = int(lengths.max())
        is_cut = torch.zeros(rows, dtype=torch.bool, device=device)
        is_cut[kept[is_going]] = True
        return ids[:, :width], logprobs[:, :width], lengths, is_cut

    def _choose(
        self, logits: Float[Tensor, "B V"], uniform: Float[Tensor, "B"]
    ) -> tuple[Int[Tensor, "B"], Float[Tensor, "B"]]:
        """Inverse-CDF sampling: one uniform number per token, so a row's draws are its own."""
        c = self.config
        if c.is_greedy:
            token = logits.argmax(-1)
            filtered = distribution_logits(logits, c.temperature, c.top_k, c.top_p, c.min_p)
            return token, filtered.log_softmax(-1).gather(-1, token.unsqueeze(-1)).squeeze(-1)
        survivors = _top_k_survivors(logits, c.top_k) if 0 < c.top_k < logits.shape[-1] else None
        if survivors is None:
            return _draw(distribution_logits(logits, c.temperature, c.top_k, c.top_p, c.min_p), uniform)
        place, logprob = _draw(distribution_logits(survivors.values, c.temperature, 0, c.top_p, c.min_p), uniform)
        return survivors.indices.gather(-1, place.unsqueeze(-1)).squeeze(-1), logprob


def _draw(filtered: Float[Tensor, "B V"], uniform: Float[Tensor, "B"]) -> tuple[Int[Tensor, "B"], Float[Tensor, "B"]]:
    """A column of each row, and its log-probability."""
    cumulative = filtered.softmax(-1).cumsum(-1)
    target = uniform.unsqueeze(-1) * cumulative[:, -1:]  # rounding: the sum is not exactly 1
    column = torch.searchsorted(cumulative, target, right=True).clamp(max=filtered.shape[-1] - 1)
    return column.squeeze(-1), filtered.gather(-1, column).squeeze(-1) - filtered.logsumexp(-1)


class Survivors(NamedTuple):
    """What top-k leaves of each row, in the order of the vocabulary."""

    values: Float[Tensor, "B K"]
    indices: Int[Tensor, "B K"]


def _top_k_survivors(logits: Float[Tensor, "B V"], top_k: int) -> Survivors | None:
    """None where the filter keeps more than k tokens of a row, since some are as likely as the k-th."""
    top = logits.topk(min(top_k + 1, logits.shape[-1]), dim=-1)
    if (top.values[:, top_k - 1] == top.values[:, top_k]).any():
        return None
    indices = top.indices[:, :top_k].sort(-1).values
    return Survivors(logits.gather(-1, indices), indices)
