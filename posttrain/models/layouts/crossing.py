"""Whole responses that share prompts, in a decoder with an encoder."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Tensor


class Crossing:
    """Whole responses in a decoder with an encoder. Each layer makes keys and values of a prompt once for all of them.

    What is read is [B, R]; the encoder's states are [U, P]. There must be more responses than prompts.
    """

    def __init__(self, prompt_mask: Bool[Tensor, "U P"], index: Int[Tensor, "B"]):
        num_rows = torch.bincount(index, minlength=len(prompt_mask))
        self.num_prompts, self.most_rows = len(prompt_mask), int(num_rows.max())
        order = index.argsort(stable=True)
        first = num_rows.cumsum(0) - num_rows
        number = torch.arange(len(index), device=index.device) - first[index[order]]
        self.cells = torch.empty_like(index).index_copy(0, order, index[order] * self.most_rows + number)
        self.prompt_mask = prompt_mask[:, None, None]

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, bias: Tensor | None
    ) -> Tensor:
        rows, heads, num, width = query.shape
        if len(key) == rows:
            if bias is None:
                return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
            is_later = torch.ones(num, num, dtype=torch.bool, device=query.device).triu(1)
            mask = bias.masked_fill(is_later, float("-inf"))
            return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
        table = query.new_zeros(self.num_prompts * self.most_rows, heads, num, width).index_copy(0, self.cells, query)
        by_prompt = table.view(self.num_prompts, self.most_rows, heads, num, width).transpose(1, 2).flatten(2, 3)
        read = F.scaled_dot_product_attention(by_prompt, key, value, attn_mask=self.prompt_mask, scale=scaling)
        table = read.unflatten(2, (self.most_rows, num)).transpose(1, 2).flatten(0, 1)
        return table.index_select(0, self.cells)
