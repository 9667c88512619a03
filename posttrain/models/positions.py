"""How long a text a model can read."""

from collections.abc import Sequence

from transformers import PreTrainedConfig

from posttrain.errors import InputError


def max_positions(config: PreTrainedConfig) -> int | None:
    """Tokens of the longest text; None where positions are relative, so that no length is too long (T5)."""
    if getattr(config, "relative_attention_num_buckets", None) is not None:
        return None
    return getattr(config, "max_position_embeddings", None)


def check_positions(config: PreTrainedConfig, lengths: Sequence[tuple[int, int]], where: str, remedy: str) -> None:
    """InputError with counts if the model cannot read some rows; `lengths` are tokens of (prompt, response).

    A decoder reads its start token before the response; a decoder-only model reads prompt and response as one text.
    """
    limit = max_positions(config)
    if limit is None:
        return
    needed = [max(prompt, 1 + response) if config.is_encoder_decoder else prompt + response
              for prompt, response in lengths]  # fmt: skip
    num_too_long = sum(tokens > limit for tokens in needed)
    if num_too_long:
        raise InputError(
            f"{where}: {num_too_long} of {len(needed)} rows need more than the {limit} positions of the model "
            f"(the longest needs {max(needed)}, its response included); {remedy}"
        )
