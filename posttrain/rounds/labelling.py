"""Who compares a round's answers: simulated annotators, a reward, or people; and the labels of the neutral judge."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from posttrain.data.records import Comparison
from posttrain.errors import InputError
from posttrain.models.loading import Pretrained
from posttrain.reading.config_reading import Choice
from posttrain.rounds import answers, people
from posttrain.rounds.answers import Answered, distinct
from posttrain.rounds.settings import IterateConfig, JudgeModelSettings
from posttrain.studies.measuring import build_reward, prompts_from
from posttrain.worlds.grounded_qa.annotators import Config as AnnotatorSettings


@dataclass
class Labelling:
    """`reward` gives a reward of the file with the folders of parts in place of their names: gold, or labels.judge."""

    config: IterateConfig
    reward: Callable[[str], Choice | None]
    start: Pretrained  # whose tokens rewards read
    should_wait: bool
    console: Console

    def label(self, folder: Path, answered: Sequence[Answered], num_held_out: int, project: Path) -> Mapping[str, Any]:
        """train.jsonl and held_out.jsonl in `folder`, and what is known of them. `project` is where people work."""
        gold = self.scores(self.reward("gold"), answered)
        compared = self._compared(project, answered, gold)
        held_out = [prompt for prompt, _ in answered[-num_held_out:]]
        known = None if gold is None else _by_prompt(compared, answered, gold)
        return answers.write_labels(folder, compared, held_out, known)

    def _compared(
        self, project: Path, answered: Sequence[Answered], gold: list[list[float]] | None
    ) -> list[Comparison]:
        labels = self.config.labels
        if labels.people is not None:
            return people.collect(project, answered, labels.people, self.should_wait, self.console)
        if labels.judge is not None:
            scores = self.scores(self.reward("labels.judge"), answered)
            assert scores is not None, "its reward is there where its settings are"
            return answers.judged_labels(answered, scores, labels.judge)
        assert gold is not None, "the settings have been checked"
        assert labels.simulated is not None, "the settings have been checked"
        return answers.simulated_labels(answered, gold, self._seeded(labels.simulated))

    def for_the_judge(self, folder: Path, policy: str, own: JudgeModelSettings) -> Mapping[str, Any]:
        """train.jsonl and evaluation.jsonl of the neutral judge."""
        prompts = distinct(prompts_from(own.prompts, "judge_model.prompts"))
        if own.num_held_out >= len(prompts):
            raise InputError(f"judge_model.num_held_out: {own.num_held_out} of {len(prompts)} leave none to learn from")
        room, seed = self.config.max_new_tokens, self.config.seed
        answered = answers.sample(policy, prompts, own.run.data, own.samples_per_prompt, room, seed, own.temperature)
        gold = self.scores(self.reward("gold"), answered)
        assert gold is not None, "the settings have been checked"
        compared = answers.simulated_labels(answered, gold, self._seeded(own.simulated))
        facts = answers.write_labels(
            folder, compared, prompts[-own.num_held_out :], _by_prompt(compared, answered, gold)
        )
        (folder / "held_out.jsonl").rename(folder / "evaluation.jsonl")
        return facts

    def scores(self, reward: Choice | None, answered: Sequence[Answered]) -> list[list[float]] | None:
        """Of each prompt's answers; None without a reward."""
        if reward is None:
            return None
        return answers.scores_of(build_reward(reward, "labels", self.start), self.start, answered)

    def _seeded(self, settings: AnnotatorSettings) -> AnnotatorSettings:
        return settings.model_copy(update={"seed": settings.seed + self.config.seed})


def _by_prompt(
    compared: Sequence[Comparison], answered: Sequence[Answered], scores: Sequence[Sequence[float]]
) -> dict[str, list[float]]:
    """The scores of each comparison's responses, of which people see equal ones once."""
    known = {prompt.text: dict(zip(responses, own, strict=True))
             for (prompt, responses), own in zip(answered, scores, strict=True)}  # fmt: skip
    return {it.prompt.text: [known[it.prompt.text][text] for text in it.responses] for it in compared}
