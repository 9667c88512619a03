"""Encoder-decoder language models (T5, BART): the encoder reads the prompt, the decoder writes the response.

Each unique prompt goes through the encoder once, however many responses it has.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from posttrain.batches import Sequences


def states(backbone: PreTrainedModel, sequences: Sequences) -> Float[Tensor, "B R1 D"]:
    """Last hidden states after 0, 1, ..., R response tokens; see `interfaces.ModelFamily`."""
    prompts = sequences.prompts
    longest_prompt, longest_response = int(prompts.lengths.max()), int(sequences.lengths.max())
    mask = prompts.mask[:, :longest_prompt].long()
    encoded = backbone.get_encoder()(input_ids=prompts.ids[:, :longest_prompt], attention_mask=mask).last_hidden_state
    response_ids = sequences.response_ids[:, :longest_response]
    start = torch.full_like(response_ids[:, :1], backbone.config.decoder_start_token_id)
    # Causal attention never looks ahead at the padding on the right, so the decoder needs no mask of its own.
    hidden = backbone.get_decoder()(
        input_ids=torch.cat([start, response_ids], dim=1),
        encoder_hidden_states=encoded[sequences.prompt_index],
        encoder_attention_mask=mask[sequences.prompt_index],
        use_cache=False,
    ).last_hidden_state
    return F.pad(hidden, (0, 0, 0, sequences.response_ids.shape[1] - longest_response))


def logits(model: PreTrainedModel, hidden: Float[Tensor, "N D"]) -> Float[Tensor, "N V"]:
    """Next-token logits from last decoder states: T5 scales them first, BART adds a bias."""
    if getattr(model.config, "scale_decoder_outputs", False):
        hidden = hidden * model.config.d_model**-0.5
    head = model.get_output_embeddings()
    assert head is not None, "a language model has a head"
    scores = head(hidden)
    bias = getattr(model, "final_logits_bias", None)
    return scores if bias is None else scores + bias
