"""A reward model from preferences (Bradley & Terry 1952; Ouyang et al. 2022, arXiv:2203.02155, eq. 1).

Ties can be half a win each, be left out, or have a probability of their own: Rao & Kupper 1967, Davidson 1970. Whole
rankings can be read as such: Plackett 1975.
"""

from dataclasses import dataclass
from typing import Literal, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from posttrain.batches import PreferencePairs
from posttrain.functional.preference import (
    bradley_terry_loss,
    davidson_loss,
    plackett_luce_loss,
    rao_kupper_loss,
)
from posttrain.interfaces import LossReport, Parts, Pooling
from posttrain.settings import Settings

CONSUMES = "preferences"


class Config(Settings):
    reads: Literal["pairs", "rankings"] = Field(
        "pairs", description="each judged pair for itself, or all pairs of a prompt as one ranking (Plackett-Luce)"
    )
    ties: Literal["half", "drop", "rao_kupper", "davidson"] = Field(
        "half", description="a tie is half a win for each, is left out of the loss, or has a probability of its own"
    )
    tie_strength: float | None = Field(
        None, gt=0, description="theta (> 1) of rao_kupper or nu of davidson; without a number it is learnt"
    )
    pair_weighting: Literal["prompt", "pair"] = Field(
        "prompt", description="what counts once: a prompt with all of its pairs, or each pair"
    )
    margin: float = Field(0.0, ge=0, description="by which the better score has to lead (Llama 2, 2307.09288, eq. 2)")
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="chance that a label is wrong")
    pooling: Pooling = Field(
        "last", description="the score reads the state after the last token, or the mean over the response's tokens"
    )
    centering: float = Field(0.0, ge=0, description="weight of (score + score')², which keeps scores near 0")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.has_tie_model and (self.label_smoothing > 0 or self.reads == "rankings"):
            raise ValueError(
                f"ties={self.ties} is a likelihood of pairs: leave label_smoothing out, and reads at pairs"
            )
        if self.reads == "rankings" and (self.margin > 0 or self.label_smoothing > 0):
            raise ValueError("reads=rankings has neither margin nor label_smoothing")
        if self.reads == "rankings" and self.pair_weighting == "pair":
            raise ValueError("reads=rankings counts each ranking once: leave pair_weighting out, or set reads to pairs")
        if self.tie_strength is not None and not self.has_tie_model:
            raise ValueError("tie_strength belongs to ties rao_kupper and davidson")
        if self.ties == "rao_kupper" and self.tie_strength is not None and self.tie_strength <= 1:
            raise ValueError("tie_strength of rao_kupper is above 1: at 1 a tie has no probability")
        return self

    @property
    def has_tie_model(self) -> bool:
        return self.ties in ("rao_kupper", "davidson")

    @property
    def learns_tie_strength(self) -> bool:
        return self.has_tie_model and self.tie_strength is None


def build(config: Config, parts: Parts) -> "PreferenceRewardModel":
    return PreferenceRewardModel(config, parts.scorer(config.pooling, config.learns_tie_strength))


@dataclass
class PreferenceRewardModel:
    """`module` gives scores and, where the tie strength is learnt, one number more."""

    config: Config
    module: nn.Module

    def loss(self, batch: PreferencePairs) -> LossReport:
        """−log σ(r(y⁺) − r(y⁻)) or its kin; the count is the sum of weights."""
        config, strength = self.config, None
        scores = self.module(batch.sequences)
        if config.learns_tie_strength:
            scores, raw = scores
            strength = F.softplus(raw) if config.ties == "rao_kupper" else raw  # log θ is positive
        elif config.tie_strength is not None:
            strength = scores.new_tensor(config.tie_strength).log()
        better, worse = scores[batch.better], scores[batch.worse]
        weight = batch.weight if config.pair_weighting == "prompt" else torch.ones_like(batch.weight)
        if config.reads == "rankings":
            losses, weight = self._of_rankings(scores, batch), torch.ones(len(batch), device=scores.device)
            loss = losses.sum() + config.centering * (batch.weight * (better + worse) ** 2).sum()
        else:
            weight = weight.masked_fill(batch.is_tie, 0.0) if config.ties == "drop" else weight
            losses = self._of_pairs(better - worse, batch, strength)
            loss = (weight * (losses + config.centering * (better + worse) ** 2)).sum()
        is_decided = ~batch.is_tie
        margin = (better - worse).detach()
        correct = ((margin > 0).float() + 0.5 * (margin == 0).float())[is_decided]
        metrics = {"accuracy": correct.sum(), "margin": margin[is_decided].sum()}
        counts = dict.fromkeys(metrics, is_decided.sum())
        if strength is not None:
            metrics["tie_strength"], counts["tie_strength"] = strength.detach().exp(), scores.new_tensor(1.0)
        return LossReport(loss, weight.sum(), metrics, counts)

    def _of_pairs(
        self, difference: Float[Tensor, "N"], batch: PreferencePairs, strength: Float[Tensor, ""] | None
    ) -> Float[Tensor, "N"]:
        lead = difference - torch.where(batch.is_tie, 0.0, self.config.margin)
        if strength is None:
            return bradley_terry_loss(lead, batch.is_tie, self.config.label_smoothing)
        of_ties = rao_kupper_loss if self.config.ties == "rao_kupper" else davidson_loss
        return of_ties(lead, batch.is_tie, strength)

    def _of_rankings(self, scores: Float[Tensor, "B"], batch: PreferencePairs) -> Float[Tensor, "U"]:
        """A response's place in its prompt's ranking is the number of pairs that it has lost."""
        group, lost = batch.sequences.prompt_index, torch.bincount(batch.worse, minlength=len(scores))
        size = int(torch.bincount(group).max())
        ranked = scores.new_zeros(len(batch), size).index_put((group, lost), scores)
        mask = torch.zeros(len(batch), size, dtype=torch.bool, device=scores.device).index_put(
            (group, lost), torch.ones_like(lost, dtype=torch.bool)
        )
        return plackett_luce_loss(ranked, mask)
