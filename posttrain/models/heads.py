"""What reads last hidden states: the head of a language model, and heads of one number, a score or a value."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from posttrain.functional.head_logprobs import head_logprobs


@dataclass(frozen=True)
class VocabularyHead:
    """`linear` makes logits of `hidden`, as the family gives them to it; some models add a `bias` of their own."""

    hidden: Float[Tensor, "N D"]
    linear: nn.Module
    bias: Float[Tensor, "1 V"] | None

    def logits(self) -> Float[Tensor, "N V"]:
        scores = self.linear(self.hidden)
        return scores if self.bias is None else scores + self.bias

    @property
    def is_plain(self) -> bool:
        """Not where something stands in the place of the linear layer, such as an adapter."""
        return type(self.linear) is nn.Linear

    def logprobs(self, ids: Int[Tensor, "N"], temperature: float) -> Float[Tensor, "N"]:
        """log softmax(logits / temperature) at `ids`, of a plain head."""
        assert type(self.linear) is nn.Linear
        biases = [each.view(-1) for each in (self.linear.bias, self.bias) if each is not None]
        bias = sum(biases[1:], biases[0]) if biases else None
        return head_logprobs(self.hidden, self.linear.weight, bias, ids, temperature)


def linear_head(width: int, is_zero: bool) -> nn.Linear:
    """A value head starts at 0: no opinion. A score head starts small and random, or nothing below it would learn."""
    head = nn.Linear(width, 1)
    if is_zero:
        nn.init.zeros_(head.weight)
    else:
        nn.init.normal_(head.weight, std=(width + 1) ** -0.5)
    nn.init.zeros_(head.bias)
    return head
