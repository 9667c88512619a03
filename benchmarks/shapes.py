"""Models of known shapes with random weights, made here: what is timed does not depend on what the weights know.

The tokenizer has one token a word ("w17 w900" is two), so that lengths in tokens are exact. The weights are such that
sampled texts end, about one token in 40, as they would with a trained model: rows that have ended are a part of the
work that an engine can save.
"""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
)

VOCABULARY = 32_000
PAD, START, END, UNKNOWN = range(4)
FIRST_WORD = 4
END_HAZARD = 1 / 40
TOP_K, TEMPERATURE = 20, 0.7

LLAMA: dict[str, Any] = {
    "vocab_size": VOCABULARY, "max_position_embeddings": 2048, "tie_word_embeddings": True,
    "pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END,
}  # fmt: skip
SHAPES: dict[str, Any] = {
    "llama-15m": LlamaConfig(
        **LLAMA, hidden_size=288, num_hidden_layers=6, num_attention_heads=6, num_key_value_heads=6,
        intermediate_size=768,
    ),
    "llama-60m": LlamaConfig(
        **LLAMA, hidden_size=640, num_hidden_layers=8, num_attention_heads=10, num_key_value_heads=10,
        intermediate_size=1728,
    ),
    "t5-small": T5Config(
        vocab_size=VOCABULARY, d_model=512, d_kv=64, d_ff=2048, num_layers=6, num_decoder_layers=6, num_heads=8,
        dropout_rate=0.0, pad_token_id=PAD, eos_token_id=END, decoder_start_token_id=PAD,
    ),
}  # fmt: skip


def folder(shape: str, root: Path) -> Path:
    """The model and tokenizer of a shape, made if they are not there yet."""
    path = root / shape
    if not (path / "made.json").exists():
        torch.manual_seed(0)
        config = SHAPES[shape]
        auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        model = auto.from_config(config).eval()
        _make_texts_end(model)
        model.generation_config.eos_token_id, model.generation_config.pad_token_id = END, PAD
        model.save_pretrained(path)
        word_tokenizer().save_pretrained(path)
        (path / "made.json").write_text(json.dumps({"shape": shape}) + "\n")
    return path


def word_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {"<pad>": PAD, "<s>": START, "</s>": END, "<unk>": UNKNOWN}
    vocabulary |= {f"w{number}": number for number in range(FIRST_WORD, VOCABULARY)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


@torch.no_grad()
def _make_texts_end(model: PreTrainedModel) -> None:
    """Channel 0 is the same in all embeddings and the end token has nothing else, so that its logit hardly depends on
    the text; it is then raised until the mean probability of ending is END_HAZARD. Signs in the last norm keep a tied
    head from repeating what it has just read."""
    is_t5 = model.config.is_encoder_decoder
    embeddings = model.get_input_embeddings().weight
    norm = model.decoder.final_layer_norm.weight if is_t5 else model.base_model.norm.weight
    draws = torch.Generator().manual_seed(1)
    embeddings.copy_(torch.randn(embeddings.shape, generator=draws) * 0.1)
    embeddings[:, 0] = 1.0
    embeddings[END, 1:] = 0.0
    signs = torch.randint(0, 2, norm.shape, generator=draws) * 2.0 - 1
    signs[0] = 1.0
    # T5 scales what its tied head reads by d_model ** -0.5.
    norm.copy_(signs * (0.6 * model.config.d_model**0.5 if is_t5 else 1.0))
    prompts = torch.randint(FIRST_WORD, VOCABULARY, (16, 200), generator=draws)
    texts = _sampled_without_end(model, prompts)
    logits = _logits_of(model, prompts, texts)
    low, high = 0.0, 400.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if _hazard(logits, middle) > END_HAZARD else (middle, high)
    embeddings[END, 0] = low


def _sampled_without_end(model: PreTrainedModel, prompts: Tensor) -> Tensor:
    """What the model writes while it cannot end: what is read before the end token is then the same as in use."""
    return model.generate(
        prompts, attention_mask=torch.ones_like(prompts), do_sample=True, top_k=TOP_K, temperature=TEMPERATURE,
        max_new_tokens=48, suppress_tokens=[END], eos_token_id=END, pad_token_id=PAD,
    )  # fmt: skip  # pyright: ignore[reportReturnType]


def _logits_of(model: PreTrainedModel, prompts: Tensor, texts: Tensor) -> Tensor:
    if model.config.is_encoder_decoder:
        logits = model(input_ids=prompts, decoder_input_ids=texts[:, :-1]).logits
    else:
        logits = model(texts[:, :-1]).logits[:, prompts.shape[1] - 1 :]
    return logits.reshape(-1, VOCABULARY)


def _hazard(logits: Tensor, factor: float) -> float:
    """Mean probability of the end token where its logit is multiplied by `factor`."""
    scaled = logits.clone()
    scaled[:, END] *= factor
    kept = scaled.topk(TOP_K, dim=-1)
    ends = (kept.indices == END).float()
    return float(((kept.values / TEMPERATURE).softmax(-1) * ends).sum(-1).mean())
