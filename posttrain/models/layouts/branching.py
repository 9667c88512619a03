"""Prompts in one row of tokens, each followed by all of its responses."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from posttrain.models.layouts import packed
from posttrain.models.layouts.packed import Padding


class Branching:
    """Prompts stand in one row of tokens, each followed by all of its responses: a token of a response sees the prompt
    and what stands before it in its own response.

    `prompt_place[u, t]` and `response_place[b, t]` say where tokens are. Prompts are read in groups of like lengths.
    """

    def __init__(self, prompt_lengths: Int[Tensor, "U"], lengths: Int[Tensor, "B"], index: Int[Tensor, "B"]):
        sums = torch.zeros_like(prompt_lengths).index_add(0, index, lengths)
        order = (prompt_lengths + sums).argsort(stable=True)
        self.groups: list[_Branches] = []
        self.prompt_place = prompt_lengths.new_zeros(len(prompt_lengths), int(prompt_lengths.max()))
        self.response_place = prompt_lengths.new_zeros(len(lengths), int(lengths.max()))
        columns, start = [], 0
        for prompts in order.chunk(min(packed.MOST_GROUPS, len(order))):
            group = _Branches(prompt_lengths, lengths, index, prompts)
            self.groups.append(group)
            of_prompts = torch.arange(self.prompt_place.shape[1], device=order.device)
            self.prompt_place[prompts] = start + group.prompt_start.unsqueeze(1) + of_prompts
            of_responses = torch.arange(self.response_place.shape[1], device=order.device)
            middle = start + len(group.prompts.places)
            self.response_place[group.rows] = middle + group.response_start.unsqueeze(1) + of_responses
            columns += [group.prompt_columns, group.response_columns]
            start = middle + len(group.responses.places)
        self.columns, self.num_tokens = torch.cat(columns), start

    def positions(self) -> Int[Tensor, "1 N"]:
        return self.columns.unsqueeze(0)

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, bias: Tensor | None
    ) -> Tensor:
        assert bias is None, "a bias of positions would be one of the whole row"
        q, k, v = (each[0].transpose(0, 1) for each in (query, key, value))
        sizes = [size for group in self.groups for size in (len(group.prompts.places), len(group.responses.places))]
        q, k, v = (each.split(sizes) for each in (q, k, v))
        read = []
        for number, group in enumerate(self.groups):
            p, r = 2 * number, 2 * number + 1
            read.append(group.prompts.attend(q[p], k[p], v[p], scaling))
            read.append(group.attend(q[r], (k[p], k[r]), (v[p], v[r]), scaling))
        return torch.cat(read).transpose(0, 1).unsqueeze(0)


class _Branches:
    """Some prompts, then the responses to them; in a padded batch those of one prompt stand side by side in a row."""

    def __init__(
        self, prompt_lengths: Int[Tensor, "U"], lengths: Int[Tensor, "B"], index: Int[Tensor, "B"],
        prompts: Int[Tensor, "G"],
    ):  # fmt: skip
        device = lengths.device
        number = torch.full_like(prompt_lengths, -1).index_copy(0, prompts, torch.arange(len(prompts), device=device))
        rows = (number[index] >= 0).nonzero().squeeze(1)
        self.rows = rows[number[index[rows]].argsort(stable=True)]  # in the order of the group's prompts
        own_lengths, own_prompt = lengths[self.rows], number[index[self.rows]]
        sums = torch.zeros(len(prompts), dtype=lengths.dtype, device=device).index_add(0, own_prompt, own_lengths)
        self.prompts, self.responses = Padding(prompt_lengths[prompts]), Padding(sums)
        self.prompt_start = prompt_lengths[prompts].cumsum(0) - prompt_lengths[prompts]
        self.response_start = own_lengths.cumsum(0) - own_lengths
        self.prompt_columns = self.prompts.places % self.prompts.longest
        tokens = torch.arange(int(own_lengths.sum()), device=device)
        self.response_columns = tokens - self.response_start.repeat_interleave(own_lengths)
        self.response_columns += prompt_lengths[prompts][own_prompt].repeat_interleave(own_lengths)
        self.mask = self._mask(prompt_lengths[prompts], own_lengths)

    def _mask(self, prompt_lengths: Int[Tensor, "G"], own_lengths: Int[Tensor, "R"]) -> Bool[Tensor, "G 1 C K"]:
        """What the tokens of responses see: the tokens of the prompt, then those of responses."""
        device = own_lengths.device
        of_prompt = torch.arange(self.prompts.longest, device=device) < prompt_lengths.unsqueeze(1)
        owner = torch.full((self.responses.num * self.responses.longest,), -1, device=device)
        owner[self.responses.places] = torch.arange(len(own_lengths), device=device).repeat_interleave(own_lengths)
        owner = owner.view(self.responses.num, self.responses.longest)
        is_own = (owner.unsqueeze(1) == owner.unsqueeze(2)).tril()
        of_prompt = of_prompt.unsqueeze(1).expand(-1, self.responses.longest, -1)
        return torch.cat([of_prompt, is_own], dim=2).unsqueeze(1)

    def attend(
        self, query: Float[Tensor, "M H E"], key: tuple[Tensor, Tensor], value: tuple[Tensor, Tensor], scaling: float
    ) -> Float[Tensor, "M H E"]:
        if len(query) == 0:
            return query
        q = self.responses.pad(query)
        k, v = (torch.cat([self.prompts.pad(a), self.responses.pad(b)], dim=2) for a, b in (key, value))
        is_grouped = k.shape[1] < q.shape[1]
        read = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask, scale=scaling, enable_gqa=is_grouped)
        return self.responses.unpad(read)
