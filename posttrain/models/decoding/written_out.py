"""One token's forward written out for the two shapes that are used most, over the weights of the model itself.

For a handful of rows a CPU spends most of a token's time outside of the arithmetic: in the modules and reshapings of a
forward that is made for whole texts, and in products that read a weight matrix in the slower of two orders.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from posttrain.models.decoding.shared import DecoderOnlyDecoding, EncoderDecoderDecoding

TYPES = ("llama", "qwen2", "qwen3", "t5")


def is_written_out(model: PreTrainedModel) -> bool:
    """Not where something stands in the place of a linear layer, such as an adapter."""
    linear = (part for part in model.modules() if hasattr(part, "weight") and hasattr(part, "in_features"))
    return model.config.model_type in TYPES and all(type(part) is nn.Linear for part in linear)


def project(linear: nn.Linear, rows: Float[Tensor, "B D"]) -> Float[Tensor, "B N"]:
    """`linear(rows)`, as weight × rowsᵀ: up to twice as fast on CPUs when there are few rows."""
    product = (linear.weight @ rows.contiguous().t()).t()
    return product if linear.bias is None else product + linear.bias


def root_mean_square_norm(norm: Any, rows: Float[Tensor, "*S D"]) -> Float[Tensor, "*S D"]:
    """Source: Zhang and Sennrich 2019, arXiv:1910.07467. Statistics in float32."""
    scale = torch.rsqrt(rows.float().square().mean(-1, keepdim=True) + norm.variance_epsilon)
    return norm.weight * (rows.float() * scale).to(rows.dtype)


class LlamaDecoding(DecoderOnlyDecoding):
    """Llama, Qwen2 and Qwen3: rotary positions, grouped heads and a gated feed-forward."""

    def next_logits(self, token: Int[Tensor, "B"]) -> Float[Tensor, "B V"]:
        model: Any = self.model.base_model
        rows = model.embed_tokens(token)
        cos, sin = model.rotary_emb(rows, self.layout.positions())  # [B, 1, E]
        sin = torch.cat([-sin[..., : sin.shape[-1] // 2], sin[..., sin.shape[-1] // 2 :]], dim=-1)
        for number, layer in enumerate(model.layers):
            normed = root_mean_square_norm(layer.input_layernorm, rows)
            rows = rows + self._attended(number, layer.self_attn, normed, cos, sin)
            normed = root_mean_square_norm(layer.post_attention_layernorm, rows)
            gated = layer.mlp.act_fn(project(layer.mlp.gate_proj, normed)) * project(layer.mlp.up_proj, normed)
            rows = rows + project(layer.mlp.down_proj, gated)
        self.layout.own.advance()
        head: Any = self.model.get_output_embeddings()
        return project(head, root_mean_square_norm(model.norm, rows))

    def _attended(self, number: int, attention: Any, rows: Tensor, cos: Tensor, sin: Tensor) -> Float[Tensor, "B D"]:
        query, key, value = (
            project(part, rows).unflatten(1, (-1, attention.head_dim)).contiguous()
            for part in (attention.q_proj, attention.k_proj, attention.v_proj)
        )  # [B, heads, E]
        if hasattr(attention, "q_norm"):
            query = root_mean_square_norm(attention.q_norm, query)
            key = root_mean_square_norm(attention.k_norm, key)
        query, key = (_rotated(each, cos, sin).unsqueeze(2) for each in (query, key))
        read = self.layout.attend(number, query, key, value.unsqueeze(2), attention.scaling, None)
        return project(attention.o_proj, read.flatten(1))


def _rotated(
    heads: Float[Tensor, "B H E"], cos: Float[Tensor, "B 1 E"], signed_sin: Float[Tensor, "B 1 E"]
) -> Float[Tensor, "B H E"]:
    """Source: Su et al. 2021, arXiv:2104.09864, section 3.2; channel i is turned with channel i + E / 2."""
    return torch.addcmul(heads * cos, heads.roll(heads.shape[-1] // 2, -1), signed_sin)


class T5Decoding(EncoderDecoderDecoding):
    """T5: biases of relative positions, and a feed-forward with or without a gate."""

    def join(self, other: "T5Decoding") -> None:
        """Rows of `other`, whose first tokens are chosen, stand behind these. Positions are distances here."""
        self.layout.join(other.layout)

    def next_logits(self, token: Int[Tensor, "B"]) -> Float[Tensor, "B V"]:
        decoder: Any = self.model.get_decoder()
        own = self.layout.own
        bias = decoder.block[0].layer[0].SelfAttention.compute_bias(1, own.num_read, past_seen_tokens=own.place)
        rows = decoder.embed_tokens(token)
        for number, block in enumerate(decoder.block):
            own, cross, forward = block.layer
            rows = rows + self._own(number, own.SelfAttention, root_mean_square_norm(own.layer_norm, rows), bias)
            rows = rows + self._cross(number, cross.EncDecAttention, root_mean_square_norm(cross.layer_norm, rows))
            rows = rows + _fed_forward(forward.DenseReluDense, root_mean_square_norm(forward.layer_norm, rows))
        self.layout.own.advance()
        rows = root_mean_square_norm(decoder.final_layer_norm, rows)
        if self.model.config.scale_decoder_outputs:
            rows = rows * self.model.config.d_model**-0.5
        head: Any = self.model.get_output_embeddings()
        return project(head, rows)

    def _own(self, number: int, attention: Any, rows: Tensor, bias: Tensor) -> Float[Tensor, "B D"]:
        query, key, value = (_heads(attention, project(part, rows)) for part in (attention.q, attention.k, attention.v))
        keys, values = self.layout.own.add(number, key, value)
        keys, values = (each.unflatten(0, (len(rows), -1)) for each in (keys, values))
        read = self.layout.attend(number, query, keys, values, 1.0, bias)
        return project(attention.o, read.flatten(1))

    def _cross(self, number: int, attention: Any, rows: Tensor) -> Float[Tensor, "B D"]:
        query = _heads(attention, project(attention.q, rows))
        return project(attention.o, self.layout.attend_to_prompt(number, query).flatten(1))


def _heads(attention: Any, rows: Float[Tensor, "B D"]) -> Float[Tensor, "B H 1 E"]:
    return rows.contiguous().view(len(rows), -1, 1, attention.key_value_proj_dim)


def _fed_forward(part: Any, rows: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    if hasattr(part, "wi"):
        inner = part.act(project(part.wi, rows))
    else:
        inner = part.act(project(part.wi_0, rows)) * project(part.wi_1, rows)
    return project(part.wo, inner)
