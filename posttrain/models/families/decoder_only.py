"""Decoder-only language models (GPT-2, Llama, Qwen): prompt and response share one stream."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from posttrain.batches import Sequences
from posttrain.models.heads import VocabularyHead
from posttrain.models.layouts.attending import Layout, attending
from posttrain.models.layouts.branching import Branching
from posttrain.models.layouts.packed import Packed

PLAIN_TYPES = ("gpt2", "llama", "qwen2", "qwen3")
"""Models that are tested to give the same states in every layout."""
LAYERED_TYPES = ("llama", "qwen2", "qwen3")
"""Those among them whose layers are run one by one."""


def states(backbone: PreTrainedModel, sequences: Sequences) -> Float[Tensor, "B R1 D"]:
    """Last hidden states after 0, 1, ..., R response tokens; see `interfaces.ModelFamily`."""
    longest_response = int(sequences.lengths.max())
    if not has_plain_attention(backbone) or _is_training_otherwise(backbone):
        read = _padded_states(backbone, sequences)
    elif longest_response > 0 and len(sequences.prompt_index.unique()) < len(sequences):
        read = _states_of_shared_prompts(backbone, sequences)
    else:
        read = _packed_states(backbone, sequences)
    return F.pad(read, (0, 0, 0, sequences.response_ids.shape[1] + 1 - read.shape[1]))


def has_plain_attention(backbone: PreTrainedModel) -> bool:
    """Whether every token sees all that a layout lets it see.

    Not so where attention counts columns (local windows, ALiBi) or has a state of its own.
    """
    config = backbone.config
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    is_plain = config.model_type in PLAIN_TYPES and getattr(config, "sliding_window", None) is None
    return is_plain and layers == {"full_attention"}


def _is_training_otherwise(backbone: PreTrainedModel) -> bool:
    """Whether attention drops weights, or is done again in the backward pass, when no layout is in charge."""
    config = backbone.config
    rates = (getattr(config, "attention_dropout", 0.0), getattr(config, "attn_pdrop", 0.0))
    return backbone.training and (max(rates) > 0.0 or backbone.is_activation_checkpointing)


def _padded_states(backbone: PreTrainedModel, sequences: Sequences) -> Float[Tensor, "B R1 D"]:
    """Each row is `prompt, response, padding`: positions count from 0 and padding comes last, where causal attention
    never looks back at it. So neither position ids nor an attention mask are needed."""
    ids, lengths = _texts(sequences)
    hidden = backbone.base_model(input_ids=ids, use_cache=False).last_hidden_state
    columns = _columns_after(sequences).minimum(lengths.unsqueeze(1) - 1)
    return hidden.gather(1, columns.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))


def _packed_states(backbone: PreTrainedModel, sequences: Sequences) -> Float[Tensor, "B R1 D"]:
    """All texts in one row, without padding."""
    ids, lengths = _texts(sequences)
    layout = Packed(lengths)
    mask = torch.arange(ids.shape[1], device=ids.device) < lengths.unsqueeze(1)
    columns = _columns_after(sequences).minimum(lengths.unsqueeze(1) - 1)
    places = layout.place.gather(1, columns)
    return _read(backbone, layout.row(ids, mask), layout.positions(), layout, places, sequences.lengths)


def _states_of_shared_prompts(backbone: PreTrainedModel, sequences: Sequences) -> Float[Tensor, "B R1 D"]:
    """Each prompt is read once, and its keys and values serve all of its responses. Gradients flow through them."""
    used, index = sequences.prompt_index.unique(return_inverse=True)
    prompts = sequences.prompts.ids[used]
    layout = Branching(sequences.prompts.lengths[used], sequences.lengths, index)
    is_prompt = sequences.prompts.mask[used][:, : layout.prompt_place.shape[1]]
    is_response = sequences.response_mask[:, : layout.response_place.shape[1]]
    ids = prompts.new_zeros(layout.num_tokens)
    ids[layout.prompt_place[is_prompt]] = prompts[:, : is_prompt.shape[1]][is_prompt]
    ids[layout.response_place[is_response]] = sequences.response_ids[:, : is_response.shape[1]][is_response]
    last = sequences.prompts.lengths[used].unsqueeze(1) - 1
    first = layout.prompt_place.gather(1, last)[index]
    places = torch.cat([first, layout.response_place.where(is_response, first)], dim=1)
    return _read(backbone, ids.unsqueeze(0), layout.positions(), layout, places, sequences.lengths)


def _read(
    backbone: PreTrainedModel, row: Int[Tensor, "1 N"], positions: Int[Tensor, "1 N"], layout: Layout,
    places: Int[Tensor, "B R1"], lengths: Int[Tensor, "B"],
) -> Float[Tensor, "B R1 D"]:  # fmt: skip
    """The last hidden states at these places of the row, up to the response's last token; 0 at padding."""
    is_read = torch.arange(places.shape[1], device=places.device) <= lengths.unsqueeze(1)
    with attending(backbone):
        if backbone.config.model_type in LAYERED_TYPES:
            states = _last_states(backbone.base_model, row, positions, layout, places[is_read])
        else:
            read = backbone.base_model(input_ids=row, position_ids=positions, use_cache=False, layout=layout)
            states = read.last_hidden_state[0].index_select(0, places[is_read])
    cells = is_read.flatten().nonzero().squeeze(1)
    table = states.new_zeros(places.numel(), states.shape[-1]).index_copy(0, cells, states)
    return table.unflatten(0, places.shape)


def _last_states(
    model: Any, row: Int[Tensor, "1 N"], positions: Int[Tensor, "1 N"], layout: Layout, places: Int[Tensor, "M"]
) -> Float[Tensor, "M D"]:
    """Layer by layer, so that the last feed-forward reads only what is asked for, and not the prompts."""
    hidden = model.embed_tokens(row)
    rotation = model.rotary_emb(hidden, positions)
    *layers, last = model.layers
    for layer in layers:
        hidden = layer(hidden, position_ids=positions, position_embeddings=rotation, layout=layout)
    normed = last.input_layernorm(hidden)
    read, _ = last.self_attn(normed, position_embeddings=rotation, attention_mask=None, layout=layout)
    states = (hidden + read)[0].index_select(0, places)
    return model.norm(states + last.mlp(last.post_attention_layernorm(states)))


def _texts(sequences: Sequences) -> tuple[Int[Tensor, "B W"], Int[Tensor, "B"]]:
    """Prompt and response of each row, padded on the right, and how many tokens they have."""
    prompt_lengths = sequences.prompts.lengths[sequences.prompt_index]
    longest_prompt, longest_response = int(prompt_lengths.max()), int(sequences.lengths.max())
    lengths = prompt_lengths + sequences.lengths
    ids = sequences.prompts.ids.new_zeros(len(sequences), longest_prompt + longest_response)
    ids[:, :longest_prompt] = sequences.prompts.ids[sequences.prompt_index][:, :longest_prompt]
    after_prompt = prompt_lengths.unsqueeze(1) + torch.arange(longest_response, device=ids.device)
    ids.scatter_(1, after_prompt, sequences.response_ids[:, :longest_response])
    return ids[:, : int(lengths.max())], lengths


def _columns_after(sequences: Sequences) -> Int[Tensor, "B R1"]:
    """The column of the state after 0, 1, ... tokens of the response, in rows that begin with the prompt."""
    prompt_lengths = sequences.prompts.lengths[sequences.prompt_index]
    columns = torch.arange(int(sequences.lengths.max()) + 1, device=prompt_lengths.device)
    return prompt_lengths.unsqueeze(1) - 1 + columns


def head_of(model: PreTrainedModel, hidden: Float[Tensor, "N D"]) -> VocabularyHead:
    """What makes next-token logits from last hidden states."""
    linear = model.get_output_embeddings()
    assert linear is not None, "a language model has a head"
    return VocabularyHead(hidden, linear, None)


def logits(model: PreTrainedModel, hidden: Float[Tensor, "N D"]) -> Float[Tensor, "N V"]:
    """Next-token logits from last hidden states."""
    return head_of(model, hidden).logits()
