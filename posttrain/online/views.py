"""Two views of one decision process: each token is an action, or the whole response is one."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class View:
    """Turns what is aligned to tokens, [B, R], into what is aligned to actions, [B, A]: A is R, or 1."""

    kind: Literal["token", "sequence"]

    def mask(self, action_mask: Bool[Tensor, "B R"]) -> Bool[Tensor, "B A"]:
        return action_mask if self.kind == "token" else action_mask.any(-1, keepdim=True)

    def sums(self, of_tokens: Float[Tensor, "B R"], action_mask: Bool[Tensor, "B R"]) -> Float[Tensor, "B A"]:
        """Of log-probabilities, rewards or entropies. What does not count, NaN included, is 0."""
        kept = torch.where(action_mask, of_tokens, 0.0)
        return kept if self.kind == "token" else kept.sum(-1, keepdim=True)

    def states(self, of_states: Float[Tensor, "B R"], action_mask: Bool[Tensor, "B R"]) -> Float[Tensor, "B A"]:
        """Of values: that of the state in which the action is taken, a response's before its first token."""
        if self.kind == "token":
            return torch.where(action_mask, of_states, 0.0)
        first = action_mask.int().argmax(-1, keepdim=True)
        return torch.where(action_mask.any(-1, keepdim=True), of_states.gather(1, first), 0.0)
