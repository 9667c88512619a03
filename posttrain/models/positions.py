"""How long a text a model can read."""

from collections.abc import Sequence
from typing import Literal

from transformers import PreTrainedConfig

from posttrain.batches import Sequences
from posttrain.data.collate import collate_prompts, collate_sequences
from posttrain.errors import InputError
from posttrain.models.families import encoder_decoder


def max_positions(config: PreTrainedConfig) -> int | None:
    """Tokens of the longest text; None where positions are relative, so that no length is too long (T5)."""
    if getattr(config, "relative_attention_num_buckets", None) is not None:
        return None
    return getattr(config, "max_position_embeddings", None)


def needed_positions(config: PreTrainedConfig, prompt: int, response: int) -> int:
    """For so many tokens of each. A decoder-only model reads both as one text; a decoder reads its start first."""
    if config.is_encoder_decoder:
        return max(prompt, len(encoder_decoder.decoder_start(config)) + response)
    return prompt + response


def check_positions(config: PreTrainedConfig, lengths: Sequence[tuple[int, int]], where: str, remedy: str) -> None:
    """InputError with counts if the model cannot read some rows; `lengths` are tokens of (prompt, response)."""
    limit = max_positions(config)
    if limit is None:
        return
    needed = [needed_positions(config, prompt, response) for prompt, response in lengths]
    num_too_long = sum(tokens > limit for tokens in needed)
    if num_too_long:
        raise InputError(
            f"{where}: {num_too_long} of {len(needed)} rows need more than the {limit} positions of the model "
            f"(the longest needs {max(needed)}, its response included); {remedy}"
        )


def cut_to_positions(
    config: PreTrainedConfig, sequences: Sequences, limit: int, side: Literal["left", "right"]
) -> Sequences:
    """Each row within the limit, cut on this side: where prompt and response are one text, the prompt first."""
    prompts, index = sequences.prompts, sequences.prompt_index.tolist()
    ids = [prompts.ids[i][prompts.mask[i]].tolist() for i in index]
    responses = [row[mask].tolist() for row, mask in zip(sequences.response_ids, sequences.response_mask, strict=True)]
    both = zip(ids, responses, strict=True)
    if config.is_encoder_decoder:
        room = limit - len(encoder_decoder.decoder_start(config))
        rows = [(_cut_prompt(prompt, limit, side), _cut(response, room, side)) for prompt, response in both]
    else:
        rows = [_decoder_only_row(prompt, response, limit, side) for prompt, response in both]
    kept = collate_prompts([prompt for prompt, _ in rows], [prompts.examples[i] for i in index])
    return collate_sequences(kept, range(len(rows)), [response for _, response in rows])


def _cut_prompt(ids: list[int], limit: int, side: str) -> list[int]:
    """Its last token stays: an encoder's end token, or the mark from which a response is read."""
    return ids if len(ids) <= limit else [*_cut(ids[:-1], limit - 1, side), ids[-1]]


def _decoder_only_row(prompt: list[int], response: list[int], limit: int, side: str) -> tuple[list[int], list[int]]:
    prompt = _cut_prompt(prompt, max(limit - len(response), 1), side)
    return prompt, _cut(response, limit - len(prompt), side)


def _cut(ids: list[int], room: int, side: str) -> list[int]:
    if len(ids) <= room:
        return ids
    return ids[len(ids) - room :] if side == "left" else ids[:room]
