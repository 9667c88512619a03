"""A byte-level BPE tokenizer trained on a run's own texts, for models that start from random weights."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

PAD, END, START, RESPONSE = "<pad>", "</s>", "<s>", "<response>"


def train_tokenizer(texts: Iterable[str], vocab_size: int, is_encoder_decoder: bool) -> PreTrainedTokenizerFast:
    """Any text encodes, byte by byte if need be.

    Prompts of encoder-decoders end with </s>, as T5's do. Those of the others begin with <s> and end with <response>:
    without a mark, where the prompt ends and the response begins would be for the model to guess.
    """
    special = [PAD, END, START] if is_encoder_decoder else [PAD, END, START, RESPONSE]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    template = f"$A {END}" if is_encoder_decoder else f"{START} $A {RESPONSE}"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(token, tokenizer.token_to_id(token)) for token in special]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, bos_token=START,
        additional_special_tokens=special[3:], clean_up_tokenization_spaces=False,
    )  # fmt: skip
