"""Self-attention in two einsums equals torch's, and what a tiny Llama's first layer computes."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from posttrain.models.families import decoder_only
from posttrain.models.language_model import family_of
from posttrain.models.loading import initialize_language_model
from tests.tiny_models import ARCHITECTURES, prompt_of_row, random_sequences, randomize, response_of_row, word_tokenizer


def attention(q: Tensor, k: Tensor, v: Tensor, is_hidden: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √h) v. Here a mask is True where a key is not to be seen, as in the course."""
    scores = torch.einsum("...qh,...kh->...qk", q, k) / math.sqrt(q.shape[-1])
    if is_hidden is not None:
        scores = scores.masked_fill(is_hidden, -math.inf)
    return torch.einsum("...qk,...kh->...qh", scores.softmax(-1), v)


def random_qkv(*shape: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator).requires_grad_() for _ in range(3)]


CAUSAL = torch.ones(6, 6, dtype=torch.bool).triu(1)
FAR = (torch.arange(6).unsqueeze(1) - torch.arange(6)).abs() > 2
PADDING = torch.arange(6) >= torch.tensor([6, 4, 1]).view(3, 1, 1)


@pytest.mark.parametrize("shape", [(3, 6, 8), (3, 2, 6, 8)], ids=["one head", "two heads"])
@pytest.mark.parametrize("mask", [None, CAUSAL, FAR, PADDING], ids=["none", "causal", "window", "padding"])
def test_einsum_attention_is_torch_s(shape, mask):
    if mask is PADDING and len(shape) == 4:
        mask = mask.unsqueeze(1)
    q, k, v = random_qkv(*shape)
    ours = attention(q, k, v, mask)
    theirs = F.scaled_dot_product_attention(q, k, v, None if mask is None else ~mask)
    assert torch.allclose(ours, theirs, atol=1e-12)
    weight = torch.randn_like(ours)
    for a, b in zip(
        torch.autograd.grad((weight * ours).sum(), [q, k, v]),
        torch.autograd.grad((weight * theirs).sum(), [q, k, v]),
        strict=True,
    ):
        assert torch.allclose(a, b, atol=1e-12)


def test_torch_s_mask_says_the_opposite():
    q, k, v = random_qkv(3, 6, 8)
    as_if_ours = F.scaled_dot_product_attention(q, k, v, CAUSAL | torch.eye(6, dtype=torch.bool))
    assert (attention(q, k, v, CAUSAL) - as_if_ours).abs().max() > 0.1


def test_causal_attention_never_sees_what_comes_later():
    q, k, v = random_qkv(3, 6, 8)
    before = attention(q, k, v, CAUSAL)[:, :4]
    later_k, later_v = k.detach().clone(), v.detach().clone()
    later_k[:, 4:], later_v[:, 4:] = 100.0, 1e6
    assert torch.equal(attention(q, later_k, later_v, CAUSAL)[:, :4], before)


def test_a_llama_layer_s_attention_is_the_einsum_s():
    """Prompts with two responses each, in this package's layout of shared prompts."""
    torch.set_default_dtype(torch.float32)
    model = initialize_language_model(ARCHITECTURES["llama"] | {"num_hidden_layers": 1}, word_tokenizer(False)).model
    randomize(model, seed=0)
    sequences = random_sequences([3, 5], [[2, 4], [3, 1]])
    assert family_of(model) is decoder_only
    with torch.no_grad():
        read = decoder_only.states(model, sequences)
        for row in range(len(sequences)):
            prompt, response = prompt_of_row(sequences, row), response_of_row(sequences, row)
            expected = by_hand(model, torch.tensor(prompt + response))[len(prompt) - 1 :]
            assert torch.allclose(expected, read[row, : len(expected)], atol=1e-5)


def by_hand(model, ids: Tensor) -> Tensor:
    """One layer of Llama over one text, its attention by einsum; a head turns channel i with channel i + size / 2."""
    inner, layer = model.model, model.model.layers[0]
    hidden = inner.embed_tokens(ids)
    cos, sin = inner.rotary_emb(hidden.unsqueeze(0), torch.arange(len(ids)).unsqueeze(0))
    normed = layer.input_layernorm(hidden)
    part, size = layer.self_attn, layer.self_attn.head_dim
    q, k, v = (
        each(normed).unflatten(-1, (-1, size)).transpose(0, 1) for each in (part.q_proj, part.k_proj, part.v_proj)
    )

    def rotated(x: Tensor) -> Tensor:
        return x * cos + torch.cat([-x[..., size // 2 :], x[..., : size // 2]], -1) * sin

    causal = torch.ones(len(ids), len(ids), dtype=torch.bool).triu(1)
    seen = attention(rotated(q), rotated(k).expand_as(q), v.expand_as(q), causal)
    hidden = hidden + part.o_proj(seen.transpose(0, 1).flatten(1))
    return inner.norm(hidden + layer.mlp(layer.post_attention_layernorm(hidden)))
