"""Decoder-only language models (GPT-2, Llama, Qwen): prompt and response share one stream.

Each row of the forward is `prompt, response, padding`: positions count from 0 and padding comes last, where
causal attention never looks back at it. So neither position ids nor an attention mask are needed.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from posttrain.batches import Sequences


def states(backbone: PreTrainedModel, sequences: Sequences) -> Float[Tensor, "B R1 D"]:
    """Last hidden states after 0, 1, ..., R response tokens; see `interfaces.ModelFamily`."""
    prompt_lengths = sequences.prompts.lengths[sequences.prompt_index]
    rows = len(sequences)
    longest_prompt, longest_response = int(prompt_lengths.max()), int(sequences.lengths.max())
    width = int((prompt_lengths + sequences.lengths).max())
    ids = sequences.prompts.ids.new_zeros(rows, longest_prompt + longest_response)
    ids[:, :longest_prompt] = sequences.prompts.ids[sequences.prompt_index][:, :longest_prompt]
    columns = torch.arange(longest_response, device=ids.device)
    after_prompt = prompt_lengths.unsqueeze(1) + columns
    ids.scatter_(1, after_prompt, sequences.response_ids[:, :longest_response])
    hidden = backbone.base_model(input_ids=ids[:, :width], use_cache=False).last_hidden_state
    total = sequences.response_ids.shape[1] + 1
    read = prompt_lengths.unsqueeze(1) - 1 + torch.arange(total, device=ids.device)
    read = read.clamp(max=width - 1).unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
    return hidden.gather(1, read)


def logits(model: PreTrainedModel, hidden: Float[Tensor, "N D"]) -> Float[Tensor, "N V"]:
    """Next-token logits from last hidden states."""
    head = model.get_output_embeddings()
    assert head is not None, "a language model has a head"
    return head(hidden)
