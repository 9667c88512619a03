"""Responses that grow by a token at a time, and prompts that they share."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache, DynamicCache, EncoderDecoderCache
from transformers.cache_utils import DynamicLayer

from posttrain.models.layouts import packed


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
        self.keys.append(keys)
        self.values.append(values)

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
    """All prompts, which stand by length, in groups: a long one makes padding of the others of its group only."""

    def __init__(self, lengths: Int[Tensor, "U"], index: Int[Tensor, "B"]):
        assert bool((lengths.diff() >= 0).all()), "prompts stand by length"
        self.groups: list[PromptGroup] = []
        first = 0
        for some in lengths.chunk(min(packed.MOST_GROUPS, len(lengths))):
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

    def keep(self, rows: Int[Tensor, "K"]) -> None:
        for group, own in list(self.rows()):
            kept = rows[(rows >= own.start) & (rows < own.stop)] - own.start
            if len(kept) == 0:
                group.index = kept
            else:
                group.keep(kept)
        self._count()


class OwnTokens:
    """Keys and values [B · J, columns, E] of each layer of what rows write, in memory that is taken once.

    `written` columns are in use. Three axes, so that a product over the first columns needs no copy of them.
    """

    def __init__(self, num_rows: int, num_columns: int):
        self.num_rows, self.num_columns, self.written = num_rows, num_columns, 0
        self.memory: dict[int, tuple[Tensor, Tensor]] = {}

    def add(
        self, layer: int, key: Float[Tensor, "B J S E"], value: Float[Tensor, "B J S E"]
    ) -> tuple[Float[Tensor, "BJ T E"], Float[Tensor, "BJ T E"]]:
        """All keys and values of the layer, the new ones last; `written` grows when every layer has them."""
        rows, heads, num_new, width = key.shape
        if layer not in self.memory:
            shape = (rows * heads, self.num_columns, width)
            self.memory[layer] = (key.new_empty(shape), value.new_empty(shape))
        now = self.written + num_new
        keys, values = (each[:, :now] for each in self.memory[layer])
        keys[:, self.written :], values[:, self.written :] = key.flatten(0, 1), value.flatten(0, 1)
        return keys, values

    def keep(self, rows: Int[Tensor, "K"]) -> None:
        """Only what is written is copied."""
        for layer, pair in self.memory.items():
            kept: list[Tensor] = []
            for each in pair:
                by_row = each.view(self.num_rows, -1, *each.shape[1:])
                new = each.new_empty(len(rows), *by_row.shape[1:])
                new[:, :, : self.written] = by_row[rows, :, : self.written]
                kept.append(new.flatten(0, 1))
            self.memory[layer] = (kept[0], kept[1])
        self.num_rows = len(rows)


class Continuing:
    """A new token of each row sees the prompt that rows share and what its own row has written."""

    def __init__(self, prompts: SharedPrompts, num_columns: int):
        self.prompts, self.own = prompts, OwnTokens(len(prompts.row_lengths), num_columns)

    def positions(self) -> Int[Tensor, "B 1"]:
        return (self.prompts.row_lengths + self.own.written).unsqueeze(1)

    def keep(self, rows: Int[Tensor, "K"]) -> None:
        self.prompts.keep(rows)
        self.own.keep(rows)

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, bias: Tensor | None
    ) -> Tensor:
        assert bias is None, "a bias would have to know where the prompt ends"
        rows, heads, _, width = query.shape
        key_heads = key.shape[1]
        keys, values = self.own.add(layer, key, value)
        # Queries of the heads that one head of keys serves are rows of one product.
        query = (query * scaling).view(rows, key_heads, heads // key_heads, width)
        read = [
            _read_both(
                group,
                layer,
                query[own],
                *(each[own.start * key_heads : own.stop * key_heads] for each in (keys, values)),
            )
            for group, own in self.prompts.rows()
        ]
        return torch.cat(read).view(rows, heads, 1, width)


def _read_both(
    group: PromptGroup,
    layer: int,
    query: Float[Tensor, "B J G E"],
    keys: Float[Tensor, "BJ T E"],
    values: Float[Tensor, "BJ T E"],
) -> Float[Tensor, "B J G E"]:
    """What rows read of their prompt and of their own tokens."""
    on_prompt = group.scores(layer, query)
    on_own = torch.bmm(query.flatten(0, 1), keys.transpose(1, 2)).view(*query.shape[:3], -1)
    weights = torch.cat([on_prompt, on_own], dim=-1).softmax(-1, dtype=torch.float32).to(values.dtype)
    on_prompt, on_own = weights.split([on_prompt.shape[-1], on_own.shape[-1]], dim=-1)
    of_own = torch.bmm(on_own.flatten(0, 1), values).view(query.shape)
    return group.read(layer, on_prompt) + of_own


class _OwnCache(Cache):
    """`OwnTokens` as transformers asks for them."""

    def __init__(self, own: OwnTokens):
        super().__init__(layers=[])
        self.own = own

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        keys, values = self.own.add(layer_idx, key_states, value_states)
        rows = len(key_states)
        return keys.unflatten(0, (rows, -1)), values.unflatten(0, (rows, -1))

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.own.written


class Decoding:
    """New tokens of each row in a decoder with an encoder: one layer sees the row's own, the next the shared prompt.

    `cache` goes to the model's decoder. It makes the prompts' keys and values in its first forward, one set a prompt.
    """

    def __init__(self, lengths: Int[Tensor, "U"], index: Int[Tensor, "B"], num_columns: int):
        self.prompts = SharedPrompts(lengths, index)
        self.own = OwnTokens(len(index), num_columns)
        self.of_prompts = DynamicCache()
        self.cache = EncoderDecoderCache(_OwnCache(self.own), self.of_prompts)

    def keep(self, rows: Int[Tensor, "K"]) -> None:
        self.prompts.keep(rows)
        self.own.keep(rows)

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, bias: Tensor | None
    ) -> Tensor:
        if layer < len(self.of_prompts.layers) and key is self._keys_of_prompts(layer):
            if layer == len(self.prompts.groups[0].keys):  # the first forward
                self.prompts.add_layer(key, value)
                self._forget(layer)
            return self.attend_to_prompt(layer, query * scaling)
        rows, heads, num_new = query.shape[:3]
        keys, values = (each.flatten(0, 1) for each in (key, value))
        scores = torch.bmm((query * scaling).flatten(0, 1), keys.transpose(1, 2)).view(rows, heads, num_new, -1)
        if bias is not None:
            scores = scores + bias
        if num_new > 1:
            is_later = torch.ones(num_new, keys.shape[1], dtype=torch.bool, device=key.device).triu(
                self.own.written + 1
            )
            scores = scores.masked_fill(is_later, float("-inf"))
        weights = scores.softmax(-1, dtype=torch.float32).to(value.dtype)
        return torch.bmm(weights.flatten(0, 1), values).view(query.shape)

    def _keys_of_prompts(self, layer: int) -> Tensor | None:
        memory = self.of_prompts.layers[layer]
        assert isinstance(memory, DynamicLayer)
        return memory.keys

    def _forget(self, layer: int) -> None:
        """What `prompts` has now; the cache keeps its mark, by which the model's later forwards are known."""
        memory = self.of_prompts.layers[layer]
        assert isinstance(memory, DynamicLayer)
        assert memory.keys is not None
        memory.keys = memory.values = memory.keys[:, :, :0]

    def attend_to_prompt(self, layer: int, query: Float[Tensor, "B H S E"]) -> Float[Tensor, "B H S E"]:
        read = []
        for group, own in self.prompts.rows():
            scores = group.scores(layer, query[own])
            read.append(group.read(layer, scores.softmax(-1, dtype=torch.float32).to(query.dtype)))
        return torch.cat(read)
