"""One model on the sweep's held-out prompts: what it writes, what both rewards say of it, and how far it moved."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from posttrain.assembly.parts import load_frozen
from posttrain.data.collate import prompt_of
from posttrain.data.jsonl import read_rows
from posttrain.data.records import Prompt
from posttrain.evaluation.evaluate import Generated
from posttrain.evaluation.measures import repetition
from posttrain.frontier.plan import Plan, PlannedPoint
from posttrain.frontier.settings import FrontierConfig
from posttrain.interfaces import Reward
from posttrain.studies.measuring import build_reward, interval, judged_texts, measured, prompt_rows, prompts_from

NUMBERS = {
    "reward/gold": "gold", "reward/learned": "learned", "kl": "kl", "length": "length", "repetition": "repetition",
    "cut_share": "cut_share",
}  # fmt: skip
"""What an evaluation calls its numbers → what results.json calls them."""


class Bench:
    """The SFT model, the held-out prompts and both rewards, loaded once for all points."""

    def __init__(self, config: FrontierConfig, plan: Plan) -> None:
        self.config, self.plan = config, plan
        self.sft, self.start = load_frozen(str(plan.runs["sft"].place.folder / "model"))
        records = prompts_from(config.measuring.prompts, "measuring.prompts")
        self.rows = prompt_rows(records, self.start, config.sft.data, "measuring.prompts", config.max_new_tokens)
        self.rewards = {
            "gold": build_reward(plan.gold, "gold", self.start),
            "learned": build_reward(plan.learned, "learned", self.start),
        }

    def measure(self, model_folder: Path) -> Generated:
        limit, seed = self.config.max_new_tokens, self.config.seed
        return measured(str(model_folder), self.sft, self.rows, self.rewards, limit, seed)

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


def named_scores(generated: Generated) -> dict[str, list[float]]:
    return {name: generated.scores[key] for key, name in NUMBERS.items()}
