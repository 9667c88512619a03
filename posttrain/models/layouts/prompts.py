"""Prompts that rows share while they are answered: keys and values, read once and kept in groups of like lengths."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from posttrain.models.layouts import packed

SMALLEST_GROUP = 4
"""Prompts of a group, where there are as many: each group costs products of its own for every token."""


def for_attention(states: Float[Tensor, "*S E"]) -> Float[Tensor, "*S E"]:
    """Float32 on a CPU: its batched products in bfloat16 first copy what does not stand in one piece."""
    return states.float() if states.device.type == "cpu" else states


def num_groups(num_prompts: int) -> int:
    return max(1, min(packed.MOST_GROUPS, num_prompts // SMALLEST_GROUP))


class PromptGroup:
    """Keys and values [U · J, P, E] of each layer of prompts of like lengths, which rows share.

    Rows stand in the order of prompts; `index` has the prompt of each.
    """

    def __init__(self, lengths: Int[Tensor, "U"], index: Int[Tensor, "B"]):
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.lengths, self.index = lengths, index
        self._place()

    def _place(self) -> None:
        """Where each row stands among those of its prompt, as a cell of a table [prompts, most rows of one]."""
        num_rows = torch.bincount(self.index, minlength=len(self.lengths))
        first = num_rows.cumsum(0) - num_rows
        self.width = int(num_rows.max())
        cell = torch.arange(len(self.index), device=self.index.device) - first[self.index]
        self.cells = self.index * self.width + cell
        self.is_full = bool((num_rows == self.width).all())
        columns = torch.arange(int(self.lengths.max()), device=self.lengths.device)
        self.mask = torch.where(columns < self.lengths.unsqueeze(1), 0.0, float("-inf"))[:, None, None]

    def add_layer(self, keys: Float[Tensor, "UJ P E"], values: Float[Tensor, "UJ P E"]) -> None:
        self.keys.append(for_attention(keys))
        self.values.append(for_attention(values))

    def keep(self, rows: Int[Tensor, "K"]) -> None:
        used, self.index = self.index[rows].unique(return_inverse=True)
        if len(used) < len(self.lengths):
            num, longest = len(self.lengths), int(self.lengths[used].max())
            for memories in (self.keys, self.values):
                for layer, memory in enumerate(memories):
                    by_prompt = memory.view(num, -1, *memory.shape[1:])
                    memories[layer] = by_prompt[used, :, :longest].flatten(0, 1)
            self.lengths = self.lengths[used]
        self._place()

    def scores(self, layer: int, query: Float[Tensor, "B J G E"]) -> Float[Tensor, "B J G P"]:
        """Minus infinity at padding."""
        products = torch.bmm(self._spread(query), self.keys[layer].transpose(1, 2))
        by_prompt = products.view(len(self.lengths), query.shape[1], *products.shape[1:])
        return self._gathered((by_prompt + self.mask).flatten(0, 1), query.shape[1])

    def read(self, layer: int, weights: Float[Tensor, "B J G P"]) -> Float[Tensor, "B J G E"]:
        return self._gathered(torch.bmm(self._spread(weights), self.values[layer]), weights.shape[1])

    def _spread(self, rows: Float[Tensor, "B J G E"]) -> Float[Tensor, "UJ C E"]:
        """Rows of one prompt beside each other, so that one product reads its keys once for all of them."""
        _, key_heads, group, width = rows.shape
        num_prompts = len(self.lengths)
        if not self.is_full:
            table = rows.new_zeros(num_prompts * self.width, key_heads, group, width)
            rows = table.index_copy(0, self.cells, rows)
        table = rows.reshape(num_prompts, self.width, key_heads, group, width).transpose(1, 2)
        return table.reshape(num_prompts * key_heads, self.width * group, width)

    def _gathered(self, table: Float[Tensor, "UJ C E"], key_heads: int) -> Float[Tensor, "B J G E"]:
        _, cells, width = table.shape
        group = cells // self.width
        rows = table.view(-1, key_heads, self.width, group, width).transpose(1, 2).reshape(-1, key_heads, group, width)
        return rows if self.is_full else rows.index_select(0, self.cells)


class SharedPrompts:
    """Prompts, which stand by length, in groups: a long one makes padding of the others of its group only."""

    def __init__(self, lengths: Int[Tensor, "U"], index: Int[Tensor, "B"]):
        assert bool((lengths.diff() >= 0).all()), "prompts stand by length"
        self.groups: list[PromptGroup] = []
        first = 0
        for some in lengths.chunk(num_groups(len(lengths))):
            is_here = (index >= first) & (index < first + len(some))
            self.groups.append(PromptGroup(some, index[is_here] - first))
            first += len(some)
        self._count()

    def _count(self) -> None:
        self.groups = [group for group in self.groups if len(group.index)]
        self.row_lengths = torch.cat([group.lengths[group.index] for group in self.groups])  # of each row's prompt

    def rows(self) -> Iterator[tuple[PromptGroup, slice]]:
        """Each group, and where its rows stand."""
        first = 0
        for group in self.groups:
            yield group, slice(first, first + len(group.index))
            first += len(group.index)

    def add_layer(self, keys: Float[Tensor, "U J P E"], values: Float[Tensor, "U J P E"]) -> None:
        """Of all prompts, padded to the longest."""
        first = 0
        for group in self.groups:
            own = slice(first, first + len(group.lengths))
            longest = int(group.lengths.max())
            group.add_layer(*(each[own, :, :longest].flatten(0, 1) for each in (keys, values)))
            first += len(group.lengths)

    def join(self, other: "SharedPrompts") -> None:
        """Its rows stand behind these."""
        self.groups += other.groups
        self._count()

    def keep(self, rows: Int[Tensor, "K"]) -> None:
        for group, own in list(self.rows()):
            kept = rows[(rows >= own.start) & (rows < own.stop)] - own.start
            if len(kept) == 0:
                group.index = kept
            else:
                group.keep(kept)
        self._count()
