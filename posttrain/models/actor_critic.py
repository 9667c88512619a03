"""A policy with a value estimate: one module, so that one forward serves both losses under DDP and FSDP."""

from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from posttrain.batches import Sequences
from posttrain.models.heads import linear_head
from posttrain.models.language_model import LanguageModel, states_of


class SeparateActorCritic(nn.Module):
    """The value model has a backbone of its own."""

    def __init__(self, policy: LanguageModel, value_backbone: PreTrainedModel):
        super().__init__()
        self.policy, self.value_backbone = policy, value_backbone
        self.head = linear_head(value_backbone.config.hidden_size, is_zero=True)

    def forward(self, sequences: Sequences, has_entropy: bool = False) -> tuple[Float[Tensor, "B R"], ...]:
        """Log-probabilities and values V(s_t), both before token t is read; the entropy there if it is asked for."""
        values = self.head(states_of(self.value_backbone, sequences)[:, :-1]).squeeze(-1)
        return _with_values(self.policy, self.policy.states(sequences), values, sequences, has_entropy)


class SharedActorCritic(nn.Module):
    """The value head reads the policy's last hidden states."""

    def __init__(self, policy: LanguageModel):
        super().__init__()
        self.policy, self.head = policy, linear_head(policy.hf_model.config.hidden_size, is_zero=True)

    def forward(self, sequences: Sequences, has_entropy: bool = False) -> tuple[Float[Tensor, "B R"], ...]:
        """Log-probabilities and values V(s_t), both before token t is read; the entropy there if it is asked for."""
        states = self.policy.states(sequences)
        values = self.head(states[:, :-1]).squeeze(-1)
        return _with_values(self.policy, states, values, sequences, has_entropy)


def _with_values(
    policy: LanguageModel, states: Float[Tensor, "B R1 D"], values: Float[Tensor, "B R"], sequences: Sequences,
    has_entropy: bool,
) -> tuple[Float[Tensor, "B R"], ...]:  # fmt: skip
    if has_entropy:
        logprobs, entropy = policy.logprobs_and_entropy_from(states, sequences)
        return logprobs, values, entropy
    return policy.logprobs_from(states, sequences), values
