"""Beam search, which transformers does well: the likeliest whole responses instead of the likeliest next token."""

from collections.abc import Collection, Sequence

import torch
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel

from posttrain.batches import Prompts
from posttrain.models.families import encoder_decoder


@torch.no_grad()
def beam_search(
    model: PreTrainedModel, prompts: Prompts, end_ids: Sequence[int], pad_id: int, num_beams: int, num_returned: int,
    max_new_tokens: int,
) -> list[list[int]]:  # fmt: skip
    """The `num_returned` best of `num_beams` responses to each prompt, best first, end tokens included.

    Those of prompt u are rows u·k ... u·k + k − 1. What else the model's generation_config.json asks for, such as a
    length penalty, holds as well.
    """
    is_encoder_decoder = bool(model.config.is_encoder_decoder)
    ids, mask = (prompts.ids, prompts.mask.long()) if is_encoder_decoder else _on_the_right(prompts)
    num_read = len(encoder_decoder.decoder_start(model.config)) if is_encoder_decoder else ids.shape[1]
    num_forced = num_read - 1 if is_encoder_decoder else 0  # which generate counts among the new tokens
    # generate's own cache has as many layers as the encoder, which a decoder with more layers overruns
    own_cache = {"cache": EncoderDecoderCache(DynamicCache(), DynamicCache())}
    written = model.generate(  # pyright: ignore[reportCallIssue]
        input_ids=ids,
        attention_mask=mask,
        do_sample=False,
        num_beams=num_beams,
        num_return_sequences=num_returned,
        max_new_tokens=max_new_tokens + num_forced,
        eos_token_id=list(end_ids),
        pad_token_id=pad_id,
        **(own_cache if is_encoder_decoder else {}),
    )
    return [until_end(row, end_ids) for row in written[:, num_read:].tolist()]


def _on_the_right(prompts: Prompts) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts with their padding on the left, so that responses begin in one column.

    Not for an encoder: BART's counts positions from the first column, padding or not.
    """
    width = prompts.ids.shape[1]
    columns = torch.arange(width, device=prompts.ids.device) - (width - prompts.lengths).unsqueeze(1)
    mask = (columns >= 0).long()
    return prompts.ids.gather(1, columns.clamp(min=0)) * mask, mask


def until_end(ids: list[int], end_ids: Collection[int]) -> list[int]:
    """Up to the first end token, which is kept; what follows is padding."""
    return next((ids[: i + 1] for i, token in enumerate(ids) if token in end_ids), ids)
