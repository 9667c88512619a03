"""What studies measure models by: samples of a model, and what a reward says of recorded texts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial

import torch

from posttrain.assembly.parts import load_frozen
from posttrain.assembly.records import measures_of, tokenized
from posttrain.batches import RewardStream, Rollout
from posttrain.config import DataSettings
from posttrain.data.collate import Encoder, Tokenized, collate_prompts, collate_sequences, prompt_of, prompts
from posttrain.data.records import Prompt
from posttrain.errors import InputError
from posttrain.evaluation.evaluate import Generated, generate_and_measure
from posttrain.evaluation.results import bootstrap_mean
from posttrain.interfaces import Reward
from posttrain.models.language_model import LanguageModel, kl_per_token
from posttrain.models.loading import Pretrained, Tokenizer
from posttrain.models.positions import check_positions
from posttrain.reading.config_reading import Choice
from posttrain.reading.config_sections import SourceChoice
from posttrain.rollouts import in_process
from posttrain.training.distributed import start_ranks

BATCH = 64  # prompts
ROWS_AT_ONCE = 512  # responses sampled side by side
ANY_LENGTH = 2**20  # tokens


def interval(values: Sequence[float], seed: int) -> dict[str, float]:
    """Mean, ends of the 95 % bootstrap interval over prompts, and their number."""
    return asdict(bootstrap_mean(values, seed))


def build_reward(choice: Choice, name: str, start: Pretrained) -> Reward:
    return choice.plugin.build(choice.settings, name, start.tokenizer, start_ranks().device)


def prompts_from(choice: SourceChoice, where: str) -> list[Prompt]:
    records = [prompt_of(record) for record in choice.plugin.load(choice.settings)]
    if not records:
        raise InputError(f"{where}: source {choice.name} gave no records")
    return records


def prompt_rows(
    records: Sequence[Prompt], start: Pretrained, data: DataSettings, where: str, room: int
) -> list[Tokenized]:
    """The prompts within the limits of `data`; InputError where they leave no room for a response."""
    rows = tokenized(records, start, data, where)
    check_positions(start.model.config, [(len(row.prompt), room) for row in rows], where, "lower max_new_tokens")
    return rows


def sampled(
    model: LanguageModel, start: Pretrained, rows: Sequence[Tokenized], num_samples: int, max_new_tokens: int,
    seed: int, temperature: float = 1.0,
) -> Iterator[Rollout]:  # fmt: skip
    """`num_samples` responses to each prompt, some prompts at a time."""
    settings = in_process.Config(
        max_new_tokens=max_new_tokens, samples_per_prompt=num_samples, is_greedy=False, seed=seed,
        temperature=temperature,
    )  # fmt: skip
    engine = in_process.build(settings, model, start)
    at_once = max(1, ROWS_AT_ONCE // num_samples)
    for step, first in enumerate(range(0, len(rows), at_once)):
        yield engine.generate(prompts(rows[first : first + at_once]).to(start_ranks().device), step)


def measured(
    model: str, reference: LanguageModel, rows: Sequence[Tokenized], rewards: Mapping[str, Reward],
    max_new_tokens: int, seed: int,
) -> Generated:  # fmt: skip
    """One response to each prompt, drawn with the same random numbers whatever the model.

    KL to the reference is exact at every token, over the whole vocabulary, and summed over the response.
    """
    policy, start = load_frozen(model)
    settings = in_process.Config(max_new_tokens=max_new_tokens, samples_per_prompt=1, is_greedy=False, seed=seed)
    engine = in_process.build(settings, policy, start)
    kl = partial(kl_per_token, policy, reference)
    return generate_and_measure(engine, rows, rewards, measures_of(("repetition",)), BATCH, start_ranks().device, kl)


@torch.no_grad()
def judged_texts(
    reward: Reward, tokenizer: Tokenizer, is_encoder_decoder: bool, groups: Sequence[tuple[Prompt, Sequence[str]]]
) -> Iterator[RewardStream]:
    """What a reward says of recorded texts, each prompt's in turn, as if a policy had written them.

    One that was cut is judged as if it had ended: the text does not say.
    """
    encoder, device = Encoder(tokenizer, is_encoder_decoder, ANY_LENGTH, ANY_LENGTH), start_ranks().device
    for first in range(0, len(groups), BATCH):
        some = groups[first : first + BATCH]
        records, texts = [record for record, _ in some], [text for _, written in some for text in written]
        index = [place for place, (_, written) in enumerate(some) for _ in written]
        read = collate_prompts(encoder.prompts([record.text for record in records]), records)
        sequences = collate_sequences(read, index, encoder.responses(texts))
        nothing = torch.zeros(sequences.response_ids.shape)
        rollout = Rollout(sequences, nothing, tuple(texts), torch.zeros(len(texts), dtype=torch.bool))
        yield reward(rollout.to(device))
