"""Decoder-only language models (GPT-2, Llama, Qwen): prompt and response share one stream."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from posttrain.batches import Sequences

SHARING_TYPES = ("gpt2", "llama", "qwen2", "qwen3")
"""Models that are tested to give the same states when prompts are shared."""
MAX_GROUPS, MIN_GROUP = 4, 8
"""Responses to shared prompts are read in this many groups at most, of this many rows at least."""


def states(backbone: PreTrainedModel, sequences: Sequences) -> Float[Tensor, "B R1 D"]:
    """Last hidden states after 0, 1, ..., R response tokens; see `interfaces.ModelFamily`."""
    used, index = sequences.prompt_index.unique(return_inverse=True)
    is_shared = len(used) < len(sequences) and _can_share_prompts(backbone)
    read = _states_of_shared_prompts(backbone, sequences, used, index) if is_shared else _states(backbone, sequences)
    return F.pad(read, (0, 0, 0, sequences.response_ids.shape[1] + 1 - read.shape[1]))


def _can_share_prompts(backbone: PreTrainedModel) -> bool:
    """Shared keys and values stand at other columns than their positions, with a gap after a short prompt.

    Models whose attention counts columns (local windows, ALiBi) or has a state of its own would read something else;
    gradient checkpointing drops the cache.
    """
    config = backbone.config
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    is_plain = config.model_type in SHARING_TYPES and getattr(config, "sliding_window", None) is None
    is_checkpointing = backbone.is_activation_checkpointing and backbone.training
    return is_plain and layers == {"full_attention"} and not is_checkpointing


def _states(backbone: PreTrainedModel, sequences: Sequences) -> Float[Tensor, "B R1 D"]:
    """Each row is `prompt, response, padding`: positions count from 0 and padding comes last, where causal attention
    never looks back at it. So neither position ids nor an attention mask are needed."""
    prompt_lengths = sequences.prompts.lengths[sequences.prompt_index]
    longest_prompt, longest_response = int(prompt_lengths.max()), int(sequences.lengths.max())
    width = int((prompt_lengths + sequences.lengths).max())
    ids = sequences.prompts.ids.new_zeros(len(sequences), longest_prompt + longest_response)
    ids[:, :longest_prompt] = sequences.prompts.ids[sequences.prompt_index][:, :longest_prompt]
    columns = torch.arange(longest_response + 1, device=ids.device)
    after_prompt = prompt_lengths.unsqueeze(1) + columns[:-1]
    ids.scatter_(1, after_prompt, sequences.response_ids[:, :longest_response])
    hidden = backbone.base_model(input_ids=ids[:, :width], use_cache=False).last_hidden_state
    return _gather(hidden, (prompt_lengths.unsqueeze(1) - 1 + columns).clamp(max=width - 1))


def _states_of_shared_prompts(
    backbone: PreTrainedModel, sequences: Sequences, used: Int[Tensor, "U"], index: Int[Tensor, "B"]
) -> Float[Tensor, "B R1 D"]:
    """Each prompt is read once, and its keys and values serve all of its responses. Gradients flow through them.

    Responses are read in groups of similar lengths: a long one would make padding of most of a batch.
    """
    lengths = sequences.prompts.lengths[used]
    width, longest_response = int(lengths.max()), int(sequences.lengths.max())
    read = backbone.base_model(
        input_ids=sequences.prompts.ids[used, :width], use_cache=True, cache=DynamicCache(config=backbone.config)
    )
    first = _gather(read.last_hidden_state, lengths.unsqueeze(1) - 1)
    order = sequences.lengths.argsort(stable=True)
    groups = order.chunk(max(1, min(MAX_GROUPS, len(order) // MIN_GROUP)))
    states = []
    for rows in groups:
        prompts, response_lengths = index[rows], sequences.lengths[rows]
        ids = sequences.response_ids[rows, : int(response_lengths.max())]
        hidden = first.index_select(0, prompts)
        if ids.shape[1] > 0:
            cache = _repeated(read.cache, prompts, backbone)
            read_on = _after_prompts(backbone, cache, lengths[prompts], width, ids, response_lengths)
            hidden = torch.cat([hidden, read_on], dim=1)
        states.append(F.pad(hidden, (0, 0, 0, longest_response + 1 - hidden.shape[1])))
    return torch.cat(states).index_select(0, order.argsort())


def _repeated(cache: DynamicCache, index: Int[Tensor, "B"], backbone: PreTrainedModel) -> DynamicCache:
    """A cache of its own for these responses; the prompts' stays as it is for the others."""
    repeated = DynamicCache(config=backbone.config)
    for number, layer in enumerate(cache.layers):
        assert isinstance(layer, DynamicLayer)
        assert layer.keys is not None
        assert layer.values is not None
        # A product with rows of one 1: the gradient of an index would be added up element by element.
        choice = F.one_hot(index, len(layer.keys)).to(layer.keys.dtype)
        keys, values = (torch.tensordot(choice, tensor, 1) for tensor in (layer.keys, layer.values))
        repeated.update(keys, values, number)
    return repeated


def _after_prompts(
    backbone: PreTrainedModel, cache: DynamicCache, prompt_lengths: Int[Tensor, "B"], width: int,
    ids: Int[Tensor, "B R"], lengths: Int[Tensor, "B"],
) -> Float[Tensor, "B R D"]:  # fmt: skip
    """States after each response token; the cache holds the prompts in `width` columns, padding included."""
    # Padding stays at its row's last position: a table of positions has no more than the longest row needs.
    last = (lengths - 1).clamp(min=0).unsqueeze(1)
    columns = torch.arange(ids.shape[1], device=ids.device).minimum(last)
    mask = torch.arange(width + ids.shape[1], device=ids.device).expand(len(ids), -1)
    return backbone.base_model(
        input_ids=ids,
        attention_mask=((mask < prompt_lengths.unsqueeze(1)) | (mask >= width)).long(),
        position_ids=prompt_lengths.unsqueeze(1) + columns,
        cache=cache, use_cache=True,
    ).last_hidden_state  # fmt: skip


def _gather(hidden: Float[Tensor, "B C D"], columns: Int[Tensor, "B R"]) -> Float[Tensor, "B R D"]:
    return hidden.gather(1, columns.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))


def logits(model: PreTrainedModel, hidden: Float[Tensor, "N D"]) -> Float[Tensor, "N V"]:
    """Next-token logits from last hidden states."""
    head = model.get_output_embeddings()
    assert head is not None, "a language model has a head"
    return head(hidden)
