"""Texts one behind the other in one row of tokens, without padding between them."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

MOST_GROUPS = 4
"""Texts are read in this many groups of like lengths at most: a long one makes padding of the others of its group."""


class Packed:
    """Texts stand one behind the other in one row of tokens; a token sees those before it in its own text.

    `order` has the texts by length and is the order in which they stand: `row` puts tokens there, and `place[text, t]`
    says where they are. If `keep` is given, it is called in each layer for each group of texts with the group's number
    and its keys and values [G · J, longest of the group, E].
    """

    def __init__(
        self,
        lengths: Int[Tensor, "U"],
        keep: Callable[[int, Tensor, Tensor], None] | None = None,
        num_groups: int | None = None,
    ):
        self.keep, self.num, self.longest = keep, len(lengths), int(lengths.max())
        self.order = lengths.argsort(stable=True)
        self.groups = [Padding(lengths[rows]) for rows in self.order.chunk(num_groups or min(MOST_GROUPS, self.num))]
        in_order = lengths[self.order]
        start = torch.empty_like(lengths).index_copy(0, self.order, in_order.cumsum(0) - in_order)
        self.place = start.unsqueeze(1) + torch.arange(self.longest, device=lengths.device)
        self.columns = torch.cat([group.places % group.longest for group in self.groups])

    def positions(self) -> Int[Tensor, "1 N"]:
        return self.columns.unsqueeze(0)

    def row(self, ids: Int[Tensor, "U P"], mask: Bool[Tensor, "U P"]) -> Int[Tensor, "1 N"]:
        return ids[self.order][mask[self.order]].unsqueeze(0)

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, bias: Tensor | None
    ) -> Tensor:
        assert bias is None, "a bias of positions would be one of the whole row"
        q, k, v = (each[0].transpose(0, 1) for each in (query, key, value))  # [N, heads, E]
        sizes = [len(group.places) for group in self.groups]
        parts = zip(self.groups, q.split(sizes), k.split(sizes), v.split(sizes), strict=True)
        read = []
        for number, (group, queries, keys, values) in enumerate(parts):
            if self.keep is not None:
                self.keep(number, *(group.pad(each).flatten(0, 1) for each in (keys, values)))
            read.append(group.attend(queries, keys, values, scaling))
        return torch.cat(read).transpose(0, 1).unsqueeze(0)


class Padding:
    """Some texts that are read as one padded batch: `places` of their tokens, one text behind the other, in it."""

    def __init__(self, lengths: Int[Tensor, "G"]):
        self.num, self.longest = len(lengths), int(lengths.max())
        columns = torch.arange(self.longest, device=lengths.device).expand(self.num, -1)
        is_token = columns < lengths.unsqueeze(1)
        self.places = is_token.flatten().nonzero().squeeze(1)

    def attend(
        self, query: Float[Tensor, "M H E"], key: Float[Tensor, "M J E"], value: Float[Tensor, "M J E"], scaling: float
    ) -> Float[Tensor, "M H E"]:
        """Padding stands behind, where causal attention never looks back at it."""
        q, k, v = (self.pad(each) for each in (query, key, value))
        is_grouped = key.shape[1] < query.shape[1]
        read = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=is_grouped)
        return self.unpad(read)

    def pad(self, tokens: Float[Tensor, "M H E"]) -> Float[Tensor, "G H T E"]:
        _, heads, width = tokens.shape
        table = tokens.new_zeros(self.num * self.longest, heads, width).index_copy(0, self.places, tokens)
        return table.view(self.num, self.longest, heads, width).transpose(1, 2)

    def unpad(self, padded: Float[Tensor, "G H T E"]) -> Float[Tensor, "M H E"]:
        return padded.transpose(1, 2).flatten(0, 1).index_select(0, self.places)
