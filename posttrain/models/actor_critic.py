"""A policy with a value estimate: one module, so that one forward serves both losses under DDP and FSDP."""

from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from posttrain.batches import Sequences
from posttrain.models.heads import linear_head
from posttrain.models.language_model import LanguageModel, family_of


class SeparateActorCritic(nn.Module):
    """The value model has a backbone of its own."""

    def __init__(self, policy: LanguageModel, value_backbone: PreTrainedModel):
        super().__init__()
        self.policy, self.value_backbone = policy, value_backbone
        self.head = linear_head(value_backbone.config.hidden_size, is_zero=True)

    def forward(self, sequences: Sequences) -> tuple[Float[Tensor, "B R"], Float[Tensor, "B R"]]:
        """Log-probabilities and values V(s_t), both before token t is read."""
        states = family_of(self.value_backbone).states(self.value_backbone, sequences)
        return self.policy(sequences), self.head(states[:, :-1]).squeeze(-1)


class SharedActorCritic(nn.Module):
    """The value head reads the policy's last hidden states."""

    def __init__(self, policy: LanguageModel):
        super().__init__()
        self.policy, self.head = policy, linear_head(policy.hf_model.config.hidden_size, is_zero=True)

    def forward(self, sequences: Sequences) -> tuple[Float[Tensor, "B R"], Float[Tensor, "B R"]]:
        """Log-probabilities and values V(s_t), both before token t is read."""
        states = self.policy.states(sequences)
        return self.policy.logprobs_from(states, sequences), self.head(states[:, :-1]).squeeze(-1)
