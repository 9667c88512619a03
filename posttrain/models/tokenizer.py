"""A byte-level BPE tokenizer trained on a run's own texts, for models that start from random weights."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

PAD, END, START = "<pad>", "</s>", "<s>"


def train_tokenizer(texts: Iterable[str], vocab_size: int, is_encoder_decoder: bool) -> PreTrainedTokenizerFast:
    """Any text encodes, byte by byte if need be.

    Prompts of encoder-decoders end with </s>, as T5's do; prompts of the others begin with <s>.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, END, START],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    template = f"$A {END}" if is_encoder_decoder else f"{START} $A"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(END, tokenizer.token_to_id(END)), (START, tokenizer.token_to_id(START))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, bos_token=START, clean_up_tokenization_spaces=False
    )
