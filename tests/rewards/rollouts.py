"""Rollouts of any text or tokens, for tokenizers of each kind, with what must never count: garbage in padding."""

from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from posttrain.batches import Rollout, Sequences
from posttrain.data.collate import collate_prompts, pad
from posttrain.data.records import Prompt
from posttrain.models.loading import load_tokenizer

BUILTIN = ("builtin/encoder_decoder", "builtin/decoder_only")
TOKENIZERS = (*BUILTIN, "byte fallback")


@cache
def tokenizer_of(name: str) -> Any:
    return load_tokenizer(name) if name in BUILTIN else byte_fallback_tokenizer()


def byte_fallback_tokenizer() -> PreTrainedTokenizerFast:
    """As Llama 2's: ▁ for blanks, letters and a few pieces, and any other character as the bytes of its UTF-8."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", *"abcdefghijklmnopqrstuvwxyz.,;!?", "▁t", "he", "▁the", "ca", "▁ca", "▁cat", "s.", "▁do", "▁dog"]
    merges = [("▁", "t"), ("h", "e"), ("▁t", "he"), ("c", "a"), ("▁", "ca"), ("▁ca", "t"), ("s", "."), ("▁", "d"),
              ("▁d", "o"), ("▁do", "g")]  # fmt: skip
    pieces.append("▁d")
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split("\n", "isolated")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>",
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def ids_of(tokenizer: Any, text: str, has_end: bool = True) -> list[int]:
    ids = tokenizer(text, add_special_tokens=False).input_ids
    return [*ids, tokenizer.eos_token_id] if has_end else ids


def rollout_of(
    tokenizer: Any, responses: list[list[int]], prompts: list[Prompt] | None = None, num_padded: int = 3
) -> Rollout:
    """Responses of these tokens. The columns after a response hold what the next one says, and garbage logprobs."""
    ids, mask = pad([*responses, [0] * (max(map(len, responses)) + num_padded)])
    ids, mask = ids[:-1], mask[:-1]
    garbage = torch.tensor((responses[-1] + responses[0]) * ids.shape[1])[: ids.shape[1]]
    ids = torch.where(mask, ids, garbage)
    examples = prompts or [Prompt(f"prompt {i}") for i in range(len(responses))]
    encoded = collate_prompts([[4, 5]] * len(examples), examples)
    sequences = Sequences(encoded, torch.arange(len(examples)), ids, mask, mask.clone())
    texts = tokenizer.batch_decode(responses, skip_special_tokens=True)
    is_cut = torch.tensor([row[-1:] != [tokenizer.eos_token_id] for row in responses])
    logprobs = torch.where(mask, -1.0, float("nan"))
    return Rollout(sequences, logprobs, tuple(text.strip() for text in texts), is_cut)


def completing(end: int, complete: list[int], tokenizer: Any, ids: list[int], text: str) -> int:
    """The token that completes a span; bytes that are no character show as one from the first on, to the last."""
    first = next(n for n, it in enumerate(complete) if it >= end)
    if text[end - 1] != "\ufffd":
        return first
    return max(n for n, it in enumerate(complete) if it == complete[first] and ids[n] not in tokenizer.all_special_ids)
