"""Responses that grow by a token at a time, and prompts that they share."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache, DynamicCache, EncoderDecoderCache
from transformers.cache_utils import DynamicLayer

from posttrain.models.layouts.prompts import PromptGroup, SharedPrompts, for_attention


class OwnTokens:
    """Keys and values [B · J, columns, E] of each layer of what rows write, in memory that is taken once.

    `written` columns are in use. A row that joined later begins at its column of `start`; what all rows write next
    stands in the same column. Three axes, so that a product over the first columns needs no copy of them.
    """

    def __init__(self, num_rows: int, num_columns: int, device: torch.device):
        self.num_rows, self.num_columns, self.written = num_rows, num_columns, 0
        self.start = torch.zeros(num_rows, dtype=torch.long, device=device)
        self.has_joined = False
        self.memory: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def num_read(self) -> int:
        """Columns that the next token reads, its own among them."""
        return self.written + 1

    @property
    def place(self) -> int | Tensor:
        """The column of the next token."""
        return self.written

    def room(self, like: Tensor, *shape: int) -> Tensor:
        """Memory of which nothing is read before it is written."""
        return like.new_empty(shape)

    def advance(self, num: int = 1) -> None:
        """Every layer has so many tokens more."""
        self.written += num

    def mask(self, num_columns: int) -> Float[Tensor, "B 1 1 T"] | None:
        """Minus infinity at columns before a row's first one; None where all rows began together."""
        if not self.has_joined:
            return None
        columns = torch.arange(num_columns, device=self.start.device)
        return torch.where(columns < self.start.unsqueeze(1), float("-inf"), 0.0)[:, None, None]

    def add(
        self, layer: int, key: Float[Tensor, "B J S E"], value: Float[Tensor, "B J S E"]
    ) -> tuple[Float[Tensor, "BJ T E"], Float[Tensor, "BJ T E"]]:
        """All keys and values of the layer, the new ones last; `written` grows when every layer has them."""
        rows, heads, num_new, width = key.shape
        key, value = for_attention(key), for_attention(value)
        if layer not in self.memory:
            shape = (rows * heads, self.num_columns, width)
            self.memory[layer] = (self.room(key, *shape), self.room(value, *shape))
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
                new = self.room(each, len(rows), *by_row.shape[1:])
                new[:, :, : self.written] = by_row[rows, :, : self.written]
                kept.append(new.flatten(0, 1))
            self.memory[layer] = (kept[0], kept[1])
        self.num_rows, self.start = len(rows), self.start[rows]

    def join(self, other: "OwnTokens") -> None:
        """Rows of `other` stand behind. Columns that no row uses any more are dropped."""
        both = (self, other)
        used = [each.written - int(each.start.min()) for each in both]
        written = max(used)
        for layer, before in self.memory.items():
            heads, width = len(before[0]) // self.num_rows, before[0].shape[-1]
            rows = heads * (self.num_rows + other.num_rows)
            # Zeros, since a column before a row's first one has weight 0, and 0 · NaN is NaN.
            joined = tuple(each.new_zeros(rows, written + self.num_columns, width) for each in before)
            for number, new in enumerate(joined):
                first = 0
                for tokens, num in zip(both, used, strict=True):
                    last = first + heads * tokens.num_rows
                    if num:  # rows that only have their prompt yet have no memory
                        own = tokens.memory[layer][number][:, tokens.written - num : tokens.written]
                        new[first:last, written - num : written] = own
                    first = last
            self.memory[layer] = (joined[0], joined[1])
        self.start = torch.cat([each.start + written - each.written for each in both])
        self.written, self.num_rows, self.has_joined = written, self.num_rows + other.num_rows, True


class Continuing:
    """A new token of each row sees the prompt that rows share and what its own row has written."""

    def __init__(self, prompts: SharedPrompts, num_columns: int):
        rows = prompts.row_lengths
        self.prompts, self.own = prompts, OwnTokens(len(rows), num_columns, rows.device)

    def positions(self) -> Int[Tensor, "B 1"]:
        return (self.prompts.row_lengths + self.own.place - self.own.start).unsqueeze(1)

    def join(self, other: "Continuing") -> None:
        self.prompts.join(other.prompts)
        self.own.join(other.own)

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
        dtype, query = query.dtype, (for_attention(query) * scaling).view(rows, key_heads, heads // key_heads, width)
        mask = self.own.mask(keys.shape[1])
        read = []
        for group, own in self.prompts.rows():
            heads_of_keys = slice(own.start * key_heads, own.stop * key_heads)
            own_mask = None if mask is None else mask[own]
            read.append(_read_both(group, layer, query[own], keys[heads_of_keys], values[heads_of_keys], own_mask))
        return torch.cat(read).view(rows, heads, 1, width).to(dtype)


def _read_both(
    group: PromptGroup,
    layer: int,
    query: Float[Tensor, "B J G E"],
    keys: Float[Tensor, "BJ T E"],
    values: Float[Tensor, "BJ T E"],
    mask: Float[Tensor, "B 1 1 T"] | None,
) -> Float[Tensor, "B J G E"]:
    """What rows read of their prompt and of their own tokens."""
    on_prompt = group.scores(layer, query)
    on_own = torch.bmm(query.flatten(0, 1), keys.transpose(1, 2)).view(*query.shape[:3], -1)
    if mask is not None:
        on_own = on_own + mask
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
        self.own = OwnTokens(len(index), num_columns, index.device)
        self.of_prompts = DynamicCache()
        self.cache = EncoderDecoderCache(_OwnCache(self.own), self.of_prompts)

    def keep(self, rows: Int[Tensor, "K"]) -> None:
        self.prompts.keep(rows)
        self.own.keep(rows)

    def join(self, other: "Decoding") -> None:
        self.prompts.join(other.prompts)
        self.own.join(other.own)

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, bias: Tensor | None
    ) -> Tensor:
        if layer < len(self.of_prompts.layers) and key is self._keys_of_prompts(layer):
            if layer == len(self.prompts.groups[0].keys):  # the first forward
                self.prompts.add_layer(key, value)
                self._forget(layer)
            return self.attend_to_prompt(layer, query * scaling)
        rows, heads, num_new = query.shape[:3]
        dtype, query = query.dtype, for_attention(query)
        keys, values = (for_attention(each).flatten(0, 1) for each in (key, value))
        scores = torch.bmm((query * scaling).flatten(0, 1), keys.transpose(1, 2)).view(rows, heads, num_new, -1)
        if bias is not None:
            scores = scores + bias
        mask = self.own.mask(keys.shape[1])
        if mask is not None:
            scores = scores + mask
        if num_new > 1:
            is_later = torch.ones(num_new, keys.shape[1], dtype=torch.bool, device=key.device).triu(
                self.own.written + 1
            )
            scores = scores.masked_fill(is_later, float("-inf"))
        weights = scores.softmax(-1, dtype=torch.float32).to(values.dtype)
        return torch.bmm(weights.flatten(0, 1), values).view(query.shape).to(dtype)

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
        dtype, query, read = query.dtype, for_attention(query), []
        for group, own in self.prompts.rows():
            scores = group.scores(layer, query[own])
            read.append(group.read(layer, scores.softmax(-1, dtype=torch.float32).to(query.dtype)))
        return torch.cat(read).to(dtype)
