"""Sample with the training model itself, in this process.

The prompt (or the encoder) is run once per unique prompt and shared by its samples; finished responses leave
the batch; every sample draws from a random stream of its own, keyed by (seed, step, sample), so that a response
does not depend on what else is in the batch.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from posttrain.batches import Prompts, Rollout, Sequences
from posttrain.functional.logprobs import distribution_logits
from posttrain.models.decoding import Decoder, start_decoding
from posttrain.models.language_model import LanguageModel, Sampling
from posttrain.models.loading import Pretrained, Tokenizer
from posttrain.randomness import stream


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
        decoder = start_decoding(self.policy.hf_model, prompts, index)
        ids, logprobs, lengths, is_cut = self._decode(decoder, uniform)
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
        alive = torch.arange(rows, device=device)  # the rows of the batch that are still being written
        logits = decoder.first_logits()
        for t in range(steps):
            token, logprob = self._choose(logits, uniform[alive, t])
            ids[alive, t], logprobs[alive, t] = token, logprob
            has_ended = torch.isin(token, ends)
            lengths[alive[has_ended]] = t + 1
            if t + 1 == steps or has_ended.all():
                alive = alive[~has_ended]
                break
            if has_ended.any():
                going = (~has_ended).nonzero().squeeze(-1)
                decoder.keep(going)
                alive, token = alive[going], token[going]
            logits = decoder.next_logits(token)
        width = int(lengths.max())
        is_cut = torch.zeros(rows, dtype=torch.bool, device=device)
        is_cut[alive] = True
        return ids[:, :width], logprobs[:, :width], lengths, is_cut

    def _choose(
        self, logits: Float[Tensor, "B V"], uniform: Float[Tensor, "B"]
    ) -> tuple[Int[Tensor, "B"], Float[Tensor, "B"]]:
        """Inverse-CDF sampling: one uniform number per token, so a row's draws are its own."""
        filtered = distribution_logits(logits, self.config.temperature, self.config.top_k, self.config.top_p)
        all_logprobs = filtered.log_softmax(-1)
        if self.config.is_greedy:
            token = logits.argmax(-1)
        else:
            cumulative = all_logprobs.exp().cumsum(-1)
            target = uniform.unsqueeze(-1) * cumulative[:, -1:]  # rounding: the sum is not exactly 1
            token = torch.searchsorted(cumulative, target, right=True).squeeze(-1)
            token = token.clamp(max=logits.shape[-1] - 1)
        return token, all_logprobs.gather(-1, token.unsqueeze(-1)).squeeze(-1)
