"""A language model as the rest of the system sees it: sequences in, [B, R] out, whatever the family."""

from collections.abc import Iterator
from types import ModuleType
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from posttrain.batches import Sequences
from posttrain.functional.kl import entropy, exact_kl
from posttrain.functional.logprobs import distribution_logits, token_logprobs
from posttrain.models.families import decoder_only, encoder_decoder
from posttrain.models.precision import computing
from posttrain.settings import Settings

LOGITS_AT_ONCE = 2**24
"""Logits held at a time (64 MiB in float32): larger problems go through the head in chunks of tokens."""


class Sampling(Settings):
    """The distribution that responses are sampled from. top_k 0, top_p 1 and min_p 0 switch the filters off."""

    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    top_k: Annotated[int, Field(ge=0, description="keep the k likeliest tokens")] = 0
    top_p: Annotated[float, Field(gt=0, le=1, description="keep the likeliest until their probabilities reach p")] = 1.0
    min_p: Annotated[float, Field(ge=0, lt=1, description="keep those of at least this share of the likeliest's")] = 0.0

    @property
    def is_filtered(self) -> bool:
        return self.top_k > 0 or self.top_p < 1.0 or self.min_p > 0.0


def family_of(model: PreTrainedModel) -> ModuleType:
    return encoder_decoder if model.config.is_encoder_decoder else decoder_only


def states_of(backbone: PreTrainedModel, sequences: Sequences) -> Float[Tensor, "B R1 D"]:
    """Last hidden states after 0, 1, ..., R response tokens; see `interfaces.ModelFamily`."""
    with computing(backbone.device):
        return family_of(backbone).states(backbone, sequences)


class LanguageModel(nn.Module):
    """`forward` gives log-probabilities under `sampling`: the distribution that acts is the one that is scored."""

    def __init__(self, hf_model: PreTrainedModel, sampling: Sampling | None = None):
        super().__init__()
        self.hf_model, self.sampling = hf_model, sampling or Sampling()

    def forward(self, sequences: Sequences) -> Float[Tensor, "B R"]:
        """log π(a_t|s_t) of each response token; 0 at padding."""
        return self.logprobs_from(self.states(sequences), sequences)

    def states(self, sequences: Sequences) -> Float[Tensor, "B R1 D"]:
        return states_of(self.hf_model, sequences)

    def logprobs_from(self, states: Float[Tensor, "B R1 D"], sequences: Sequences) -> Float[Tensor, "B R"]:
        """Logits are computed at response tokens only and, when many, in pieces that the backward pass makes again."""
        mask = sequences.response_mask
        with computing(states.device):
            logprobs = self._of_tokens(states[:, :-1][mask], sequences.response_ids[mask])
        return torch.zeros_like(states[:, :-1, 0], dtype=torch.float32).masked_scatter(mask, logprobs)

    def _of_tokens(self, hidden: Float[Tensor, "N D"], ids: Int[Tensor, "N"]) -> Float[Tensor, "N"]:
        head = family_of(self.hf_model).head_of(self.hf_model, hidden)
        if head.is_plain and not self.sampling.is_filtered:
            return head.logprobs(ids, self.sampling.temperature)
        pieces = [
            checkpoint(self._token_logprobs, h, i, use_reentrant=False) if is_chunked else self._token_logprobs(h, i)
            for h, i, is_chunked in self._chunks(hidden, ids)
        ]
        return torch.cat(pieces)

    def logprobs_and_entropy_from(
        self, states: Float[Tensor, "B R1 D"], sequences: Sequences
    ) -> tuple[Float[Tensor, "B R"], Float[Tensor, "B R"]]:
        """Also the exact entropy of each token's distribution; 0 at padding. Both need every logit."""
        mask = sequences.response_mask
        with computing(states.device):
            pieces = [
                checkpoint(self._with_entropy, h, i, use_reentrant=False) if is_chunked else self._with_entropy(h, i)
                for h, i, is_chunked in self._chunks(states[:, :-1][mask], sequences.response_ids[mask])
            ]
        zeros = torch.zeros_like(states[:, :-1, 0], dtype=torch.float32)
        logprobs, entropies = (zeros.masked_scatter(mask, torch.cat(part)) for part in zip(*pieces, strict=True))
        return logprobs, entropies

    def _with_entropy(
        self, hidden: Float[Tensor, "N D"], ids: Int[Tensor, "N"]
    ) -> tuple[Float[Tensor, "N"], Float[Tensor, "N"]]:
        logits = family_of(self.hf_model).logits(self.hf_model, hidden)
        settings = self.sampling.model_dump()
        of_all = distribution_logits(logits, **settings).log_softmax(-1)
        return token_logprobs(logits, ids, **settings), entropy(of_all)

    def _token_logprobs(self, hidden: Float[Tensor, "N D"], ids: Int[Tensor, "N"]) -> Float[Tensor, "N"]:
        logits = family_of(self.hf_model).logits(self.hf_model, hidden)
        return token_logprobs(logits, ids, **self.sampling.model_dump())

    def _chunks(self, hidden: Tensor, ids: Tensor) -> Iterator[tuple[Tensor, Tensor, bool]]:
        size = max(1, LOGITS_AT_ONCE // self.hf_model.config.vocab_size)
        is_chunked = len(ids) > size
        for start in range(0, max(len(ids), 1), size):
            yield hidden[start : start + size], ids[start : start + size], is_chunked


@torch.no_grad()
def kl_per_token(policy: LanguageModel, reference: LanguageModel, sequences: Sequences) -> Float[Tensor, "B R"]:
    """Exact KL(π(·|s_t) ‖ π_ref(·|s_t)) over the vocabulary at each response token, at temperature 1; 0 at padding."""
    mask: Bool[Tensor, "B R"] = sequences.response_mask
    ids = sequences.response_ids[mask]
    both = [(model, model.states(sequences)[:, :-1][mask]) for model in (policy, reference)]
    pieces = []
    for (ours, _, _), (theirs, _, _) in zip(
        policy._chunks(both[0][1], ids), reference._chunks(both[1][1], ids), strict=True
    ):
        p, q = (
            distribution_logits(family_of(m.hf_model).logits(m.hf_model, h), 1.0, 0, 1.0).log_softmax(-1)
            for m, h in ((policy, ours), (reference, theirs))
        )
        pieces.append(exact_kl(p, q))
    return torch.zeros_like(mask, dtype=torch.float32).masked_scatter(mask, torch.cat(pieces))
