"""Each policy on the same unseen prompts, by every judge; and whether each reward model holds for later policies."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from posttrain.assembly.parts import load_frozen
from posttrain.config import DataSettings
from posttrain.data.agreement import decided
from posttrain.data.jsonl import read_rows, write_rows
from posttrain.data.records import Comparison, Prompt
from posttrain.interfaces import Reward
from posttrain.reading.config_reading import Choice, ChoiceOf
from posttrain.rounds.answers import Answered, scores_of
from posttrain.studies.measuring import build_reward, measured, prompt_rows

RESPONSES = "responses.jsonl"
NUMBERS = {"reward/gold": "gold", "reward/judge": "judge", "kl": "kl", "length": "length", "repetition": "repetition"}
"""What an evaluation calls its numbers → what they are called here, in each row of RESPONSES."""


class Bench:
    """The first policy, the prompts and the judges, loaded once for all rounds."""

    def __init__(
        self, first_policy: str, prompts: Sequence[Prompt], data: DataSettings, judges: Mapping[str, Choice],
        max_new_tokens: int, seed: int,
    ) -> None:  # fmt: skip
        self.first_policy, self.start = load_frozen(first_policy)
        self.prompts, self.max_new_tokens, self.seed = prompts, max_new_tokens, seed
        self.rows = prompt_rows(prompts, self.start, data, "measuring.prompts", max_new_tokens)
        self.judges = {name: build_reward(choice, name, self.start) for name, choice in judges.items()}

    def measure(self, model: str, folder: Path) -> dict[str, Any]:
        """RESPONSES: one response to each prompt, with what every judge says of it."""
        found = measured(model, self.first_policy, self.rows, self.judges, self.max_new_tokens, self.seed)
        columns = {name: found.scores[key] for key, name in NUMBERS.items() if key in found.scores}
        write_rows(
            folder / RESPONSES,
            [
                {"prompt": prompt.text, "response": response} | {name: it[row] for name, it in columns.items()}
                for row, (prompt, response) in enumerate(zip(found.prompts, found.responses, strict=True))
            ],
        )
        return {"num_prompts": len(found.prompts)}

    def judge_again(self, reward: Choice, responses: Sequence[Path]) -> dict[str, Any]:
        """What a reward model says of the responses of each policy, in the order of the folders."""
        built = build_reward(reward, "learned", self.start)
        written = [[row["response"] for _, row in read_rows(folder / RESPONSES)] for folder in responses]
        return {"scores": [self._scores(built, some) for some in written]}

    def _scores(self, reward: Reward, responses: Sequence[str]) -> list[float]:
        answered: list[Answered] = [(prompt, (text,)) for prompt, text in zip(self.prompts, responses, strict=True)]
        return [own for (own,) in scores_of(reward, self.start, answered)]

    def agreement(self, reward: Choice, held_out: Sequence[Comparison]) -> dict[str, Any]:
        """Of each prompt's decided pairs, the share that a reward model orders as they are labelled."""
        built = build_reward(reward, "learned", self.start)
        answered: list[Answered] = [(it.prompt, it.responses) for it in held_out]
        scores = scores_of(built, self.start, answered)
        correct = [decided(it.pairs, own) for it, own in zip(held_out, scores, strict=True)]
        return {"correct": [own for own in correct if own]}


def read_columns(folder: Path) -> dict[str, list[float]]:
    """The numbers of RESPONSES, in the order of the prompts."""
    rows = [row for _, row in read_rows(folder / RESPONSES)]
    return {name: [row[name] for row in rows] for name in rows[0] if name not in ("prompt", "response")}


def learned_by(model: Path) -> Choice:
    """A trained reward model as a reward."""
    return ChoiceOf(("rewards",), key="kind").parse({"kind": "sequence_model", "model": str(model)})
