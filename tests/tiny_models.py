"""Tiny language models with strong random weights, and batches of random sequences for them.

Weights are drawn wide, so that distributions are far from uniform and a wrong token, position or mask shows.
"""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from posttrain.batches import Sequences
from posttrain.data.collate import collate_prompts, collate_sequences
from posttrain.data.records import Prompt
from posttrain.models.loading import initialize_language_model

PAD, END, START, UNKNOWN = 0, 1, 2, 3
WORDS = tuple(f"{first}{second}" for first in "abcdefgh" for second in "aeiouy")
VOCABULARY = {word: i for i, word in enumerate(("<pad>", "</s>", "<s>", "<unk>", *WORDS))}

T5 = {
    "model_type": "t5",
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 24,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "num_heads": 2,
}
BART = {
    "model_type": "bart", "d_model": 16, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_position_embeddings": 64,
    "forced_eos_token_id": None, "decoder_start_token_id": END,
}  # fmt: skip
LLAMA = {
    "model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 64,
}  # fmt: skip
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "t5": T5,
    "t5_untied": T5 | {"tie_word_embeddings": False, "feed_forward_proj": "gated-gelu"},
    "bart": BART,
    "bart_forced": BART,  # its generation config forces a first token
    "gpt2": {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "llama": LLAMA,
    "qwen2": LLAMA | {"model_type": "qwen2", "tie_word_embeddings": True},
    "qwen3": LLAMA | {"model_type": "qwen3", "head_dim": 8},
}
EVERY = tuple(ARCHITECTURES)
ONE_PER_FAMILY = ("t5", "llama")


def word_tokenizer(is_encoder_decoder: bool) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel(dict(VOCABULARY), unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    template = "$A </s>" if is_encoder_decoder else "<s> $A"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("</s>", END), ("<s>", START)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", bos_token="<s>", unk_token="<unk>"
    )


def is_encoder_decoder(name: str) -> bool:
    return name.startswith(("t5", "bart"))


def write_model(name: str, folder: Path, **changes: Any) -> Path:
    """A model folder; `changes` go into its config."""
    tokenizer = word_tokenizer(is_encoder_decoder(name))
    model = initialize_language_model(ARCHITECTURES[name] | changes, tokenizer).model
    randomize(model, seed=0)
    if name == "bart_forced":
        assert model.generation_config is not None
        model.generation_config.forced_bos_token_id = START
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@torch.no_grad()
def randomize(model: PreTrainedModel, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    biases = [buffer for name, buffer in model.named_buffers() if name == "final_logits_bias"]
    for tensor in [*model.parameters(), *biases]:
        noise = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim == 1:
            tensor += 0.1 * noise  # norms stay near 1, biases near 0
        else:
            tensor.copy_(0.25 * noise)


def decoder_start(model: PreTrainedModel) -> list[int]:
    """What `generate` has written before it chooses: the start token, and the one that it is told to put first."""
    forced = [] if model.generation_config is None else [model.generation_config.forced_bos_token_id]
    return [model.config.decoder_start_token_id, *(token for token in forced if token is not None)]


def random_ids(length: int, generator: torch.Generator) -> list[int]:
    return torch.randint(4, len(VOCABULARY), (length,), generator=generator).tolist()


def random_sequences(prompt_lengths: list[int], response_lengths: list[list[int]], seed: int = 0) -> Sequences:
    """Responses of the given lengths to each prompt; every second one ends with the end token."""
    generator = torch.Generator().manual_seed(seed)
    prompts = [random_ids(length, generator) for length in prompt_lengths]
    responses = [random_ids(length, generator) for lengths in response_lengths for length in lengths]
    responses = [[*row[:-1], END] if i % 2 else row for i, row in enumerate(responses)]
    index = [i for i, lengths in enumerate(response_lengths) for _ in lengths]
    return collate_sequences(
        collate_prompts(prompts, [Prompt(f"prompt {i}") for i in range(len(prompts))]), index, responses
    )


def prompt_of_row(sequences: Sequences, row: int) -> list[int]:
    prompts, index = sequences.prompts, int(sequences.prompt_index[row])
    return prompts.ids[index][prompts.mask[index]].tolist()


def response_of_row(sequences: Sequences, row: int) -> list[int]:
    return sequences.response_ids[row][sequences.response_mask[row]].tolist()


def plain_logits(model: PreTrainedModel, prompt: list[int], response: list[int]) -> torch.Tensor:
    """[R, V]: what transformers' own forward gives for one unpadded sequence, before each response token is read."""
    if model.config.is_encoder_decoder:
        start = decoder_start(model)
        inputs = torch.tensor([[*start, *response[:-1]]])
        return model(input_ids=torch.tensor([prompt]), decoder_input_ids=inputs).logits[0, len(start) - 1 :]
    logits = model(input_ids=torch.tensor([prompt + response])).logits[0]
    return logits[len(prompt) - 1 : len(prompt) + len(response) - 1]


def plain_logprobs(model: PreTrainedModel, prompt: list[int], response: list[int]) -> torch.Tensor:
    logits = plain_logits(model, prompt, response)
    return logits.log_softmax(-1)[torch.arange(len(response)), torch.tensor(response)]
