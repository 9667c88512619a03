"""Encoder-decoder language models (T5, BART): the encoder reads the prompt, the decoder writes the response.

Each unique prompt goes through the encoder once, however many responses it has.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from posttrain.batches import Sequences

FORCED_FIRST = "forced_first_token_id"
"""Key of a model's config: the token that its generation config forces to be first (`forced_bos_token_id`)."""


def decoder_start(config: PreTrainedConfig) -> list[int]:
    """What the decoder reads before the response.

    BART was trained on `</s> <s> text </s>` and generates with a forced <s>, which is nobody's choice: so it belongs to
    the start and not to the response. Models that start from random weights force nothing.
    """
    forced = getattr(config, FORCED_FIRST, None)
    return [config.decoder_start_token_id] if forced is None else [config.decoder_start_token_id, forced]


def states(backbone: PreTrainedModel, sequences: Sequences) -> Float[Tensor, "B R1 D"]:
    """Last hidden states after 0, 1, ..., R response tokens; see `interfaces.ModelFamily`."""
    prompts = sequences.prompts
    longest_prompt, longest_response = int(prompts.lengths.max()), int(sequences.lengths.max())
    mask = prompts.mask[:, :longest_prompt].long()
    encoded = backbone.get_encoder()(input_ids=prompts.ids[:, :longest_prompt], attention_mask=mask).last_hidden_state
    response_ids = sequences.response_ids[:, :longest_response]
    start = response_ids.new_tensor(decoder_start(backbone.config)).expand(len(response_ids), -1)
    # Causal attention never looks ahead at the padding on the right, so the decoder needs no mask of its own.
    hidden = backbone.get_decoder()(
        input_ids=torch.cat([start, response_ids], dim=1),
        encoder_hidden_states=encoded[sequences.prompt_index],
        encoder_attention_mask=mask[sequences.prompt_index],
        use_cache=False,
    ).last_hidden_state
    hidden = hidden[:, start.shape[1] - 1 :]  # the first state is the one after the whole start
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
