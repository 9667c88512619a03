"""What rows have written, in shapes that never change: as a step needs it that is recorded once and played again."""

import torch
from jaxtyping import Float
from torch import Tensor

from posttrain.models.layouts.growing import OwnTokens
from posttrain.models.layouts.prompts import for_attention


class FixedTokens(OwnTokens):
    """Every column is read at every token; those that are not written yet have no weight.

    Where the next token is written stands in `column`, on the device, so that a recorded step moves it on itself.
    """

    def __init__(self, own: OwnTokens):
        """Takes over what `own` holds."""
        super().__init__(own.num_rows, own.num_columns, own.start.device)
        self.written, self.start, self.has_joined = own.written, own.start, own.has_joined
        self.column = torch.tensor([own.written], device=own.start.device)
        for layer, (keys, values) in own.memory.items():
            self.memory[layer] = (self._taken(keys), self._taken(values))

    def _taken(self, memory: Float[Tensor, "BJ T E"]) -> Float[Tensor, "BJ T E"]:
        room = self.room(memory, *memory.shape)
        room[:, : self.written] = memory[:, : self.written]
        return room

    @property
    def num_read(self) -> int:
        return next(iter(self.memory.values()))[0].shape[1] if self.memory else self.num_columns

    @property
    def place(self) -> Tensor:
        return self.column

    def room(self, like: Tensor, *shape: int) -> Tensor:
        """Zeros: a column without weight must hold a number, since 0 · NaN is NaN."""
        return like.new_zeros(shape)

    def advance(self, num: int = 1) -> None:
        self.written += num
        self.column += num

    def mask(self, num_columns: int) -> Float[Tensor, "B 1 1 T"]:
        columns = torch.arange(num_columns, device=self.start.device)
        is_hidden = (columns < self.start.unsqueeze(1)) | (columns > self.column)
        return torch.where(is_hidden, float("-inf"), 0.0)[:, None, None]

    def add(
        self, layer: int, key: Float[Tensor, "B J S E"], value: Float[Tensor, "B J S E"]
    ) -> tuple[Float[Tensor, "BJ T E"], Float[Tensor, "BJ T E"]]:
        """All columns of the layer; one new token a row."""
        rows, heads, num_new, width = key.shape
        assert num_new == 1
        key, value = for_attention(key), for_attention(value)
        if layer not in self.memory:
            shape = (rows * heads, self.num_columns, width)
            self.memory[layer] = (self.room(key, *shape), self.room(value, *shape))
        keys, values = self.memory[layer]
        keys.index_copy_(1, self.column, key.flatten(0, 1))
        values.index_copy_(1, self.column, value.flatten(0, 1))
        return keys, values

    def join(self, other: OwnTokens) -> None:
        super().join(other)
        self.column.fill_(self.written)

    def return_to(self, written: int) -> None:
        """As if only so many columns had been written."""
        self.written = written
        self.column.fill_(written)
