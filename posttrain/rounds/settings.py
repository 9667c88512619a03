"""The YAML file of `posttrain iterate`: what starts the rounds, who judges, what learns in each, and what is measured.

A run inside the file is a whole run, as `posttrain train` takes it. Where it needs what the rounds have made, it names
it by its part: `policy/model` is the newest policy, `reward_model/model` the newest reward model.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, StringConstraints, model_validator

from posttrain.config import RunConfig
from posttrain.reading.config_reading import merged, validated
from posttrain.reading.config_sections import NonNegativeFloat, PositiveFloat, RewardChoice, Section, SourceChoice
from posttrain.studies.naming import given_of_study
from posttrain.worlds.grounded_qa.annotators import Config as AnnotatorSettings

MethodName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]


class JudgeLabels(Section):
    """Labels by a reward: of two answers the one with the higher reward is better."""

    reward: RewardChoice
    """A reward model, a server (kind: remote), a pattern: any reward."""
    tie_margin: NonNegativeFloat = 0.0
    """Rewards that differ by at most this much are a tie."""


class PeopleLabels(Section):
    """Labels by people, in the browser: each round has an annotation project, and waits until it is done."""

    mode: Literal["pair", "rank"] = "pair"
    """Whether two answers are compared at a time, or all answers to a prompt are ranked."""
    project: Mapping[str, Any] = {}
    """More of the project's settings, as annotation.yaml has them: question, overlap, axes ..."""
    voices: Literal["each", "majority"] = "each"
    """Whether reward models learn from each person's label of a pair, or from the majority's."""


class LabelSettings(Section):
    """Which answers are judged in each round, and by whom: give exactly one of simulated, judge and people."""

    prompts: SourceChoice
    """Each round answers the next `prompts_per_round` of them."""
    prompts_per_round: PositiveInt
    """Prompts of a round."""
    num_held_out: PositiveInt
    """The last so many of them are kept to measure reward models on."""
    num_after_last: NonNegativeInt = 0
    """Prompts whose answers by the last policy are judged as well: does the last reward model still hold for them?"""
    samples_per_prompt: Annotated[int, Field(ge=2)] = 4
    """Answers of the policy to each prompt, all of which are compared."""
    simulated: AnnotatorSettings | None = None
    """Simulated annotators, who compare by the gold reward with noise and ties."""
    judge: JudgeLabels | None = None
    """A reward in place of people."""
    people: PeopleLabels | None = None
    """People, in the browser."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if sum(it is not None for it in (self.simulated, self.judge, self.people)) != 1:
            raise ValueError("give exactly one of simulated, judge and people")
        if self.num_held_out >= self.prompts_per_round:
            raise ValueError(
                f"num_held_out: {self.num_held_out} of {self.prompts_per_round} prompts leave none to learn from"
            )
        return self


class JudgeModelSettings(Section):
    """A reward model that measures only: it learns from labels of its own, and no policy learns from it.

    Its labels are by simulated annotators, of samples of the first policy to prompts of its own.
    """

    prompts: SourceChoice
    """Prompts that no round answers."""
    num_held_out: PositiveInt
    """The last so many of them are kept: judge_labels/evaluation.jsonl; the others are judge_labels/train.jsonl."""
    samples_per_prompt: Annotated[int, Field(ge=2)] = 4
    """Answers to each."""
    temperature: PositiveFloat = 1.0
    """Above 1 the judge also meets answers that the first policy seldom gives."""
    simulated: AnnotatorSettings = AnnotatorSettings()
    """Who compares them."""
    run: RunConfig
    """The reward model."""


class MeasuringSettings(Section):
    """What every policy is measured on."""

    prompts: SourceChoice
    """Prompts that nothing is trained on, the same for every round."""


class IterateConfig(Section):
    """The whole loop."""

    seed: NonNegativeInt = 0
    """Of everything random; round n trains with seed + 1000 n."""
    num_threads: PositiveInt | None = None
    """CPU threads of every run. By default chosen at the start."""
    max_new_tokens: PositiveInt
    """Longest answer that is sampled for labels and measuring, in tokens."""
    gold: RewardChoice | None = None
    """The true reward, where it is known: simulated annotators judge by it, and every policy is measured by it."""
    judge: RewardChoice | None = None
    """A neutral judge: measured beside the reward model that is learnt from. May refer to judge_model/model."""
    judge_model: JudgeModelSettings | None = None
    """A reward model to be that judge: judge_model/model."""
    base: RunConfig | None = None
    """The base model, where the loop trains one: base/model."""
    sft: RunConfig | None = None
    """The first policy, where the loop trains it: sft/model. Give this or start."""
    start: str | None = None
    """Folder or hub name of the first policy, where it is there already; it too is called sft/model in this file."""
    labels: LabelSettings
    """preferences/{train,evaluation}.jsonl, of all rounds so far; preferences/newest.jsonl, of the last."""
    reward_model: RunConfig
    """Learns from them anew in each round: reward_model/model."""
    methods: Annotated[Mapping[MethodName, RunConfig], Field(min_length=1)]
    """Ways from policy/model to a better one. answers/prompts.jsonl has the round's prompts; best/train.jsonl, for
    SFT, each prompt's best answer by the new reward model."""
    rounds: Annotated[tuple[Annotated[tuple[str, ...], Field(min_length=1)], ...], Field(min_length=1)]
    """The methods of each round, one after the other: [[ppo], [best_of, ppo]] are two rounds."""
    measuring: MeasuringSettings
    """How policies are compared."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.sft is None) == (self.start is None):
            raise ValueError("give exactly one of sft and start")
        unknown = sorted({name for names in self.rounds for name in names} - set(self.methods))
        if unknown:
            raise ValueError(f"rounds: there is no method {unknown[0]}; methods has {', '.join(self.methods)}")
        if self.gold is None and (self.labels.simulated is not None or self.judge_model is not None):
            raise ValueError("gold is missing: simulated annotators judge by it")
        for where, run in self.runs():
            if given := given_of_study(run):
                raise ValueError(f"{where}.{given}: belongs to the rounds; set seed and num_threads at the top")
        return self

    def runs(self) -> list[tuple[str, RunConfig]]:
        """Every run of the file with its place in it."""
        own = self.judge_model.run if self.judge_model is not None else None
        shared = {"base": self.base, "sft": self.sft, "judge_model.run": own, "reward_model": self.reward_model}
        named = [(name, run) for name, run in shared.items() if run is not None]
        return [*named, *((f"methods.{name}", run) for name, run in self.methods.items())]


def load(path: Path, overrides: Sequence[str] = ()) -> IterateConfig:
    """InputError: every fault, one per line, before anything is trained."""
    return validated(IterateConfig, *merged(path, overrides))


def written(choice: SourceChoice) -> dict[str, Any]:
    """A source as it stands in the file, with every default."""
    return {"source": choice.name, **choice.settings.model_dump(mode="json")}
