"""Modules that return what they are given, so that a loss can be worked out by hand."""

from torch import Tensor, nn

from posttrain.batches import Sequences
from posttrain.data.collate import collate_prompts, collate_sequences
from posttrain.data.records import Prompt


class Given(nn.Module):
    """Returns its tensors, whatever the sequences: one alone, or several as a tuple."""

    def __init__(self, *values: Tensor):
        super().__init__()
        self.values = nn.ParameterList(values)

    def forward(self, sequences: Sequences, has_entropy: bool = False) -> Tensor | tuple[Tensor, ...]:
        return self.values[0] if len(self.values) == 1 else tuple(self.values)


def sequences_of(lengths: list[int], prompt_index: list[int] | None = None) -> Sequences:
    """Responses of these lengths; without an index, each to a prompt of its own."""
    index = prompt_index or list(range(len(lengths)))
    prompts = collate_prompts([[4, 5]] * (max(index) + 1), [Prompt("")] * (max(index) + 1))
    return collate_sequences(prompts, index, [[4] * length for length in lengths])


def gradient(module: Given, loss: Tensor, position: int = 0) -> Tensor:
    for value in module.values:
        value.grad = None
    loss.backward()
    grad = module.values[position].grad
    assert grad is not None
    return grad


NAN = float("nan")
