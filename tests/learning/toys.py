"""Tasks of one word or a few, which a tiny model learns in seconds."""

from pathlib import Path

import torch
from torch import nn

from posttrain.batches import RewardStream, Rollout
from posttrain.config import TrainingSettings
from posttrain.data.collate import Encoder, Tokenized, tokenize
from posttrain.data.records import Comparison, Demonstration, Judgement, Pair, Prompt, Record
from posttrain.functional.reward_streams import place_at_last
from posttrain.interfaces import Algorithm
from posttrain.models.loading import Pretrained, initialize_language_model
from posttrain.training.distributed import Ranks
from posttrain.training.loop import Passes, train_on_batch
from posttrain.training.optimizer import build_optimizer
from tests.tiny_models import ARCHITECTURES, WORDS, is_encoder_decoder, word_tokenizer

ONE = Ranks(0, 1, torch.device("cpu"))
GOOD, BAD = WORDS[::2], WORDS[1::2]  # words of even and of odd token ids
WIDER = {
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 1, "num_decoder_layers": 1, "dropout_rate": 0.0},
    "llama": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2},
}


def start(name: str, seed: int = 0) -> Pretrained:
    torch.manual_seed(seed)
    return initialize_language_model(ARCHITECTURES[name] | WIDER[name], word_tokenizer(is_encoder_decoder(name)))


def save(pretrained: Pretrained, folder: Path) -> str:
    pretrained.model.save_pretrained(folder)
    pretrained.tokenizer.save_pretrained(folder)
    return str(folder)


def rows_of(records: list[Record], pretrained: Pretrained) -> list[Tokenized]:
    return tokenize(records, Encoder(pretrained.tokenizer, pretrained.is_encoder_decoder, 20, 20), "toy")


def words(from_these: tuple[str, ...], count: int, generator: torch.Generator) -> str:
    return " ".join(from_these[int(i)] for i in torch.randint(0, len(from_these), (count,), generator=generator))


def prompts(count: int, seed: int) -> list[Prompt]:
    generator = torch.Generator().manual_seed(seed)
    return [Prompt(words(WORDS, 2 + i % 3, generator)) for i in range(count)]


def demonstrations(count: int, seed: int) -> list[Record]:
    """One word of the prompt is from the first six, the others are not; the answer is that word, twice."""
    generator = torch.Generator().manual_seed(seed)
    records: list[Record] = []
    for i in range(count):
        word = words(WORDS[:6], 1, generator)
        before, after = (words(WORDS[6:], i // n % 2, generator) for n in (1, 2))
        records.append(Demonstration(Prompt(f"{before} {word} {after}"), f"{word} {word}"))
    return records


def comparisons(count: int, seed: int) -> list[Record]:
    """Three answers: of good words, of bad ones, and of both; the last two tie."""
    generator = torch.Generator().manual_seed(seed)
    return [
        Comparison(
            prompt,
            (words(BAD, 3, generator), words(GOOD, 3, generator), words(BAD, 1, generator)),
            (Pair(0, 1, 2), Pair(1, 2, 1), Pair(0, 2, 0)),
        )
        for prompt in prompts(count, seed)
    ]


def judgements(count: int, seed: int) -> list[Record]:
    generator = torch.Generator().manual_seed(seed)
    return [
        Judgement(prompt, words(GOOD if i % 2 else BAD, 1 + i % 3, generator), bool(i % 2))
        for i, prompt in enumerate(prompts(count, seed))
    ]


def share_of_good_words(rollout: Rollout) -> RewardStream:
    mask = rollout.sequences.response_mask
    is_good = mask & (rollout.sequences.response_ids >= 4) & (rollout.sequences.response_ids % 2 == 0)
    return RewardStream("good", *place_at_last(is_good.sum(-1) / mask.sum(-1), mask))


def optimizer_of(module: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    return build_optimizer(module, TrainingSettings(num_steps=1, batch_size=1, learning_rate=learning_rate))


def train(algorithm: Algorithm, batches: list, learning_rate: float, num_epochs: int) -> list[float]:
    """The loss of every step."""
    optimizer = optimizer_of(algorithm.module, learning_rate)
    passes = Passes(num_passes=1, minibatch_size=None, microbatch_size=None, max_grad_norm=1.0)
    shuffle = torch.Generator().manual_seed(0)
    return [
        train_on_batch(algorithm, batch, optimizer, passes, shuffle, ONE)["loss"]
        for _ in range(num_epochs)
        for batch in batches
    ]
