"""One model on the sweep's held-out prompts: what it writes, what both rewards say of it, and how far it moved."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from posttrain.assembly.parts import load_frozen
from posttrain.assembly.records import measures_of, tokenized
from posttrain.batches import RewardStream, Rollout
from posttrain.config import DataSettings
from posttrain.data.collate import Encoder, Tokenized, collate_prompts, collate_sequences, prompt_of, prompts
from posttrain.data.jsonl import read_rows
from posttrain.data.records import Prompt
from posttrain.errors import InputError
from posttrain.evaluation.evaluate import Generated, generate_and_measure
from posttrain.evaluation.measures import repetition
from posttrain.evaluation.results import bootstrap_mean
from posttrain.frontier.plan import Plan, PlannedPoint
from posttrain.frontier.settings import FrontierConfig
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
NUMBERS = {
    "reward/gold": "gold", "reward/learned": "learned", "kl": "kl", "length": "length", "repetition": "repetition",
    "cut_share": "cut_share",
}  # fmt: skip
"""What an evaluation calls its numbers → what results.json calls them."""


def interval(values: Sequence[float], seed: int) -> dict[str, float]:
    """Mean, ends of the 95 % bootstrap interval over prompts, and their number."""
    return asdict(bootstrap_mean(values, seed))


def build_reward(choice: Choice, name: str, start: Pretrained) -> Reward:
    return choice.plugin.build(choice.settings, name, start.tokenizer, start_ranks().device)


def prompt_rows(choice: SourceChoice, start: Pretrained, data: DataSettings, where: str, room: int) -> list[Tokenized]:
    """The prompts of a source, within the limits of `data`; InputError where they leave no room for a response."""
    records = [prompt_of(record) for record in choice.plugin.load(choice.settings)]
    if not records:
        raise InputError(f"{where}: source {choice.name} gave no records")
    rows = tokenized(records, start, data, where)
    check_positions(start.model.config, [(len(row.prompt), room) for row in rows], where, "lower max_new_tokens")
    return rows


def sampled(
    model: LanguageModel, start: Pretrained, rows: Sequence[Tokenized], num_samples: int, max_new_tokens: int, seed: int
) -> Iterator[Rollout]:
    """`num_samples` responses to each prompt at temperature 1, some prompts at a time."""
    settings = in_process.Config(
        max_new_tokens=max_new_tokens, samples_per_prompt=num_samples, is_greedy=False, seed=seed
    )
    engine = in_process.build(settings, model, start)
    at_once = max(1, ROWS_AT_ONCE // num_samples)
    for step, first in enumerate(range(0, len(rows), at_once)):
        yield engine.generate(prompts(rows[first : first + at_once]).to(start_ranks().device), step)


class Bench:
    """The SFT model, the held-out prompts and both rewards, loaded once for all points."""

    def __init__(self, config: FrontierConfig, plan: Plan) -> None:
        self.config, self.plan = config, plan
        self.sft, self.start = load_frozen(str(plan.runs["sft"].place.folder / "model"))
        self.rows = prompt_rows(
            config.measuring.prompts, self.start, config.sft.data, "measuring.prompts", config.max_new_tokens
        )
        self.rewards = {
            "gold": build_reward(plan.gold, "gold", self.start),
            "learned": build_reward(plan.learned, "learned", self.start),
        }

    def measure(self, model_folder: Path) -> Generated:
        """One response to each prompt, drawn with the same random numbers whatever the model.

        KL to the SFT model is exact at every token, over the whole vocabulary, and summed over the response.
        """
        model, start = load_frozen(str(model_folder))
        limit, seed = self.config.max_new_tokens, self.config.seed
        settings = in_process.Config(max_new_tokens=limit, samples_per_prompt=1, is_greedy=False, seed=seed)
        engine = in_process.build(settings, model, start)
        kl = partial(kl_per_token, model, self.sft)
        device = start_ranks().device
        return generate_and_measure(engine, self.rows, self.rewards, measures_of(("repetition",)), BATCH, device, kl)

    def along(self, planned: PlannedPoint) -> list[dict[str, Any]]:
        """What both rewards, and repetition, say of the responses that a run wrote at its evaluations."""
        choice = planned.run.data.evaluation
        if choice is None or not planned.run.evaluation.generate:
            return []
        records = [prompt_of(record) for record in choice.plugin.load(choice.settings)]
        tables = {int(path.stem.removeprefix("step_")): path
                  for path in (planned.place.folder / "generations").glob("step_*.jsonl")}  # fmt: skip
        found = []
        for step, path in sorted(tables.items()):
            texts = [row["output"] for _, row in read_rows(path)]
            shown = records[: len(texts)]
            values = {name: self.judge(reward, shown, texts) for name, reward in self.rewards.items()}
            values["repetition"] = repetition.measure(texts, shown, repetition.Config())
            found.append({"step": step} | {name: interval(it, self.config.seed) for name, it in values.items()})
        return found

    def judge(self, reward: Reward, records: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
        """A reward of recorded texts, one to each prompt."""
        groups = [(record, (text,)) for record, text in zip(records, texts, strict=True)]
        streams = judged_texts(reward, self.start.tokenizer, self.start.is_encoder_decoder, groups)
        return [value for stream in streams for value in stream.totals().tolist()]


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


def named_scores(generated: Generated) -> dict[str, list[float]]:
    return {name: generated.scores[key] for key, name in NUMBERS.items()}
