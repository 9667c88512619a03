"""Encoder-decoder language models (T5, BART): the encoder reads the prompt, the decoder writes the response.

Each unique prompt goes through the encoder once, however many responses it has.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from posttrain.batches import Prompts, Sequences
from posttrain.models.heads import VocabularyHead
from posttrain.models.layouts.attending import attending
from posttrain.models.layouts.crossing import Crossing

PLAIN_TYPES = ("t5", "bart")
"""Models that are tested to give the same states in every layout."""
FORCED_FIRST = "forced_first_token_id"
"""Key of a model's config: the token that its generation config forces to be first (`forced_bos_token_id`)."""


def decoder_start(config: PreTrainedConfig) -> list[int]:
    """What the decoder reads before the response.

    BART was trained on `</s> <s> text </s>` and generates with a forced <s>, which is nobody's choice: so it belongs to
    the start and not to the response. Models that start from random weights force nothing.
    """
    forced = getattr(config, FORCED_FIRST, None)
    return [config.decoder_start_token_id] if forced is None else [config.decoder_start_token_id, forced]


MOST_GROUPS = 4
"""Prompts are read in this many groups of like lengths at most: a long one makes padding of the others of its group."""


def encode(backbone: PreTrainedModel, prompts: Prompts) -> Float[Tensor, "U P D"]:
    """The encoder's states of each prompt, up to the longest."""
    order = prompts.lengths.argsort(stable=True)
    longest = int(prompts.lengths.max())
    encoded = []
    for rows in order.chunk(min(MOST_GROUPS, len(order))):
        width = int(prompts.lengths[rows].max())
        mask = prompts.mask[rows, :width].long()
        states = backbone.get_encoder()(input_ids=prompts.ids[rows, :width], attention_mask=mask).last_hidden_state
        encoded.append(F.pad(states, (0, 0, 0, longest - width)))
    return torch.cat(encoded).index_select(0, order.argsort())


def states(backbone: PreTrainedModel, sequences: Sequences) -> Float[Tensor, "B R1 D"]:
    """Last hidden states after 0, 1, ..., R response tokens; see `interfaces.ModelFamily`."""
    used, index = sequences.prompt_index.unique(return_inverse=True)
    prompts = sequences.prompts.select(used.tolist()) if len(used) < len(sequences.prompts) else sequences.prompts
    mask = prompts.mask[:, : int(prompts.lengths.max())]
    encoded = encode(backbone, prompts)
    response_ids = sequences.response_ids[:, : int(sequences.lengths.max())]
    start = response_ids.new_tensor(decoder_start(backbone.config)).expand(len(response_ids), -1)
    ids = torch.cat([start, response_ids], dim=1)
    decoder = backbone.get_decoder()
    if len(used) < len(sequences) and has_plain_attention(backbone) and not _is_training_otherwise(backbone):
        with attending(decoder):
            read = decoder(
                input_ids=ids, encoder_hidden_states=encoded, use_cache=False, layout=Crossing(mask, index)
            ).last_hidden_state  # fmt: skip
    else:
        # Causal attention never looks ahead at the padding on the right, so the decoder needs no mask of its own.
        read = decoder(
            input_ids=ids, encoder_hidden_states=encoded[index], encoder_attention_mask=mask[index].long(),
            use_cache=False,
        ).last_hidden_state  # fmt: skip
    hidden = read[:, start.shape[1] - 1 :]  # the first state is the one after the whole start
    return F.pad(hidden, (0, 0, 0, sequences.response_ids.shape[1] - response_ids.shape[1]))


def has_plain_attention(backbone: PreTrainedModel) -> bool:
    """Whether every token sees all that a layout lets it see."""
    return backbone.config.model_type in PLAIN_TYPES


def _is_training_otherwise(backbone: PreTrainedModel) -> bool:
    """Whether attention drops weights, or is done again in the backward pass, when no layout is in charge."""
    config = backbone.config
    rates = (getattr(config, "dropout_rate", 0.0), getattr(config, "attention_dropout", 0.0))
    return backbone.training and (max(rates) > 0.0 or backbone.is_activation_checkpointing)


def head_of(model: PreTrainedModel, hidden: Float[Tensor, "N D"]) -> VocabularyHead:
    """T5 scales the states that its head reads when it is tied; BART adds a bias of its own."""
    if getattr(model.config, "scale_decoder_outputs", False):
        hidden = hidden * model.config.d_model**-0.5
    linear = model.get_output_embeddings()
    assert linear is not None, "a language model has a head"
    return VocabularyHead(hidden, linear, getattr(model, "final_logits_bias", None))


def logits(model: PreTrainedModel, hidden: Float[Tensor, "N D"]) -> Float[Tensor, "N V"]:
    """Next-token logits from last hidden states."""
    return head_of(model, hidden).logits()
