"""`posttrain iterate`: sample from the policy, have the samples judged, learn from all judgements, and again.

Rounds as Llama 2 was trained (Touvron et al. 2023, arXiv:2307.09288, section 3.2): each begins with samples of the
newest policy, so that its reward model is of what that policy writes now. Every part is a folder that is found again:
a loop that was stopped, or waits for people, goes on when the same command is given.

    OUT/results.json  evolution.png  win_rates.png  report.html
    OUT/base-MARK  sft-MARK  judge_labels-MARK  judge_model-MARK
    OUT/round1-answers-MARK  round1-people-MARK  round1-labels-MARK  round1-preferences-MARK
    OUT/round1-reward_model-MARK  round1-best-MARK  round1-METHOD-MARK  round1-measured-MARK  round1-judged-MARK
    OUT/accuracy1-0-MARK                  of round 1's reward model on samples of policy 0
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from posttrain import durable_files, run
from posttrain.assembly.parts import load_frozen
from posttrain.config import DataSettings, RunConfig
from posttrain.data.records import Prompt
from posttrain.errors import InputError
from posttrain.figures import rounds as pictures
from posttrain.machine import describe_machine
from posttrain.models.loading import locate
from posttrain.reading.config_reading import Choice
from posttrain.rounds import answers, people
from posttrain.rounds.answers import distinct
from posttrain.rounds.labelling import Labelling
from posttrain.rounds.measuring import Bench, learned_by, read_columns
from posttrain.rounds.results import accuracy, print_table, summarize
from posttrain.rounds.settings import IterateConfig, written
from posttrain.studies.measuring import prompts_from
from posttrain.studies.naming import Names
from posttrain.studies.parts import Place, mark_of
from posttrain.studies.study import Made, Study
from posttrain.training.signals import Interrupted

log = logging.getLogger(__name__)
RESULTS = "results.json"
PARTS = ("base", "sft", "judge_labels", "judge_model", "answers", "preferences", "reward_model", "best", "policy")
"""What runs may name."""
SEEDS_A_ROUND = 1000


def main(config: IterateConfig, out: Path, should_wait: bool = True) -> None:
    """Everything that is missing in `out`; ends with results.json, two pictures, report.html and a table."""
    if config.labels.people is not None:
        people.check(config.labels.people)
    prompts = distinct(prompts_from(config.labels.prompts, "labels.prompts"))
    needed = config.labels.prompts_per_round * len(config.rounds) + config.labels.num_after_last
    if len(prompts) < needed:
        raise InputError(
            f"labels.prompts: the rounds answer {needed} prompts, and source {config.labels.prompts.name} gives "
            f"{len(prompts)} different ones; raise its num, or lower prompts_per_round"
        )
    study = Study(out)
    lock = study.lock(config.model_dump(mode="json"))
    try:
        run.set_threads(config.num_threads)
        Rounds(config, study, prompts, should_wait).run()
    except people.Waiting:
        study.console.print("Waiting for people: give the same command again when they are done.", highlight=False)
    except (Interrupted, KeyboardInterrupt):
        log.info("%s keeps what is done: the same command goes on from there", out)
        raise
    finally:
        lock.release()


@dataclass
class Rounds:
    config: IterateConfig
    study: Study
    prompts: list[Prompt]
    should_wait: bool
    made: dict[str, Place] = field(default_factory=dict)  # what runs may name by now
    policies: list[Made] = field(default_factory=list)  # those that were trained here
    measured: list[Made] = field(default_factory=list)  # every policy, the first one included
    judged: list[Made] = field(default_factory=list)  # one a round
    reward_models: list[Made] = field(default_factory=list)
    labels: list[Made] = field(default_factory=list)  # of the samples of each policy
    accuracies: list[dict[str, Any]] = field(default_factory=list)

    def run(self) -> None:
        self._begin()
        self._measure(0)
        for number in range(1, len(self.config.rounds) + 1):
            self._round(number)
            self._write()
        if self.config.labels.num_after_last:
            self._label(len(self.config.rounds) + 1)
        results = self._write()
        pictures.write_evolution(results, self.study.out / "evolution.png")
        pictures.write_win_rates(results, self.study.out / "win_rates.png")
        page = pictures.write_page(results, self.study.out)
        print_table(results, self.study.console)
        self.study.console.print(
            f"{sum(results['seconds'].values()):.0f} s in all, those of earlier calls included. Report: {page}",
            highlight=False,
        )

    def _begin(self) -> None:
        """The first policy, and the neutral judge."""
        config = self.config
        for name, settings in (("base", config.base), ("sft", config.sft)):
            if settings is not None:
                self._train(name, name, settings, config.seed)
        if "sft" in self.made:
            self.made["policy"] = self.made["sft"]
        else:
            locate(str(config.start))
        own = config.judge_model
        if own is not None:
            settings = [own.model_dump(mode="json", exclude={"run"}), self._mark("gold"), *self._sampling, config.seed]
            policy = self._policy
            self.made["judge_labels"] = self.study.part(
                "judge_labels", settings, self.policies[-1:],
                lambda folder: self.labelling.for_the_judge(folder, policy, own),
            ).place  # fmt: skip
            self._train("judge_model", "judge_model", own.run, config.seed)

    def _round(self, number: int) -> None:
        config, seed = self.config, self.config.seed + SEEDS_A_ROUND * number
        answered = self._label(number)
        folders = [it.folder for it in self.labels]
        preferences = self.study.part(
            f"round{number}-preferences", "", self.labels,
            lambda folder: answers.write_preferences(folder, folders),
        )  # fmt: skip
        self.made |= {"answers": answered.place, "preferences": preferences.place}
        reward_model = self._train(f"round{number}-reward_model", "reward_model", config.reward_model, seed)
        self.reward_models.append(reward_model)
        for samples_of, labels in enumerate(self.labels):
            self._compare(number, samples_of, labels)
        self._choose_best(number, answered, reward_model)
        for place, name in enumerate(config.rounds[number - 1], 1):
            label = f"round{number}-{name}" if place == 1 else f"round{number}-{place}-{name}"
            policy = self._train(label, "policy", config.methods[name], seed)
        self.policies.append(policy)
        self._measure(number)
        measured = [it.folder for it in self.measured]
        self.judged.append(
            self.study.part(f"round{number}-judged", "", [*self.measured, reward_model],
                            lambda _: self.bench.judge_again(learned_by(reward_model.model), measured))
        )  # fmt: skip

    def _label(self, number: int) -> Made:
        """The samples of the newest policy to a round's prompts, once they are judged. After the last it has fewer."""
        config, seed = self.config.labels, self.config.seed + SEEDS_A_ROUND * number
        is_after = number > len(self.config.rounds)
        first = config.prompts_per_round * (number - 1)
        num, num_held_out = (
            (config.num_after_last,) * 2 if is_after else (config.prompts_per_round, config.num_held_out)
        )
        prompts, policy = self.prompts[first : first + num], self._policy

        def sample(folder: Path) -> Mapping[str, Any]:
            k, room = config.samples_per_prompt, self.config.max_new_tokens
            answers.write_answers(folder, answers.sample(policy, prompts, self._limits, k, room, seed))
            return {"num": num}

        which = [written(config.prompts), first, num, config.samples_per_prompt, *self._sampling, seed]
        answered = self.study.part(f"round{number}-answers", which, self.policies[-1:], sample)
        who = [self._mark("gold"), self._mark("labels.judge"), num_held_out, self.config.seed,
               config.model_dump(mode="json", include={"simulated", "judge", "people"})]  # fmt: skip
        project = self._project(number, answered)
        made = self.study.part(
            f"round{number}-labels", who, [answered],
            lambda folder: self.labelling.label(folder, answers.read_answers(answered.folder), num_held_out, project),
        )  # fmt: skip
        self.labels.append(made)
        for of_round in range(1, len(self.reward_models) + 1):
            self._compare(of_round, number - 1, made)
        return answered

    def _project(self, number: int, answered: Made) -> Path:
        """Of people. What they are asked makes it another one, and how their votes are counted does not."""
        own = self.config.labels.people
        asked = None if own is None else own.model_dump(mode="json", exclude={"voices"})
        return self.study.out / f"round{number}-people-{mark_of(answered.place.mark, asked)}"

    def _compare(self, of_round: int, samples_of: int, labels: Made) -> None:
        """How a round's reward model orders held-out samples of a policy; those of the newest one tell the most."""
        model = self.reward_models[of_round - 1]
        held_out = answers.read_labels(labels.folder / "held_out.jsonl")
        found = self.study.part(
            f"accuracy{of_round}-{samples_of}", "", [model, labels],
            lambda _: self.bench.agreement(learned_by(model.model), held_out),
        )  # fmt: skip
        share = accuracy(found.facts["correct"], self.config.seed)
        if share is not None:
            self.accuracies.append({"of_round": of_round, "samples_of": samples_of} | share)

    def _choose_best(self, number: int, answered: Made, reward_model: Made) -> None:
        """Of the answers that a policy may imitate: those to held-out prompts stay out."""
        num_held_out = self.config.labels.num_held_out

        def make(folder: Path) -> Mapping[str, Any]:
            asked = answers.read_answers(answered.folder)[:-num_held_out]
            scores = self.labelling.scores(learned_by(reward_model.model), asked)
            assert scores is not None, "there is a reward"
            return answers.write_best(folder, asked, scores)

        part = self.study.part(f"round{number}-best", num_held_out, [answered, reward_model], make)
        self.made["best"] = part.place

    def _train(self, name: str, part: str, settings: RunConfig, seed: int) -> Made:
        made = self.study.run(self.names.planned(name, settings, seed, self.config.num_threads, self.study.out))
        self.made[part] = made.place
        if part == "sft":
            self.policies.append(made)
        return made

    def _measure(self, number: int) -> None:
        policy = self._policy
        how = [self._mark("gold"), self._mark("judge"), written(self.config.measuring.prompts), *self._sampling,
               self.config.seed]  # fmt: skip
        inputs = [*self.policies[:1], *self.policies[-1:]]
        self.measured.append(
            self.study.part(f"round{number}-measured", how, inputs, lambda folder: self.bench.measure(policy, folder))
        )

    @cached_property
    def names(self) -> Names:
        start = self.config.start
        elsewhere = {} if start is None else {"sft/model": start, "policy/model": start}
        return Names(PARTS, self.made, "loop", elsewhere)

    @cached_property
    def bench(self) -> Bench:
        config = self.config
        judges = {"gold": self._reward("gold"), "judge": self._reward("judge")}
        return Bench(
            str(self.policies[0].model) if config.sft is not None else str(config.start),
            prompts_from(config.measuring.prompts, "measuring.prompts"), self._limits,
            {name: choice for name, choice in judges.items() if choice is not None},
            config.max_new_tokens, config.seed,
        )  # fmt: skip

    @cached_property
    def labelling(self) -> Labelling:
        _, start = load_frozen(self._policy)
        return Labelling(self.config, self._reward, start, self.should_wait, self.study.console)

    def _reward(self, name: str) -> Choice | None:
        return self._named_reward(name)[0]

    def _mark(self, name: str) -> str | None:
        return self._named_reward(name)[1]

    def _named_reward(self, name: str) -> tuple[Choice | None, str | None]:
        """A reward of the file, with its mark: gold, judge, or that of labels.judge."""
        judge = self.config.labels.judge
        given = {"gold": self.config.gold, "judge": self.config.judge, "labels.judge": judge and judge.reward}[name]
        return (None, None) if given is None else self.names.reward(name, given)

    @property
    def _policy(self) -> str:
        """Folder or hub name of the newest policy."""
        return str(self.made["policy"].folder / "model") if "policy" in self.made else str(self.config.start)

    @property
    def _limits(self) -> DataSettings:
        """Of prompts and responses: those of the reward model, which has to read both."""
        return self.config.reward_model.data

    @property
    def _sampling(self) -> list[Any]:
        limits = self._limits.model_dump(mode="json", include={"max_prompt_tokens", "prompt_truncation"})
        return [self.config.max_new_tokens, self.config.start, limits]

    def _write(self) -> dict[str, Any]:
        """results.json with what is known by now."""
        columns = {("first" if place == 0 else f"round {place}"): read_columns(it.folder)
                   for place, it in enumerate(self.measured)}  # fmt: skip
        results = summarize(columns, [it.facts["scores"] for it in self.judged], self.config.seed)
        results |= {
            "is_complete": len(self.judged) == len(self.config.rounds),
            "methods": list(self.config.rounds),
            "num_prompts": self.measured[0].facts["num_prompts"],
            "labels": [dict(it.facts) for it in self.labels],
            "accuracy": self.accuracies,
            "seed": self.config.seed,
            "seconds": dict(self.study.seconds),
            "machine": describe_machine(1),
            "folders": {name: str(it.folder.relative_to(self.study.out))
                        for name, it in zip(columns, self.measured, strict=True)},
        }  # fmt: skip
        path = self.study.out / RESULTS
        with durable_files.faults_named(path, "make room, then run the same command again"):
            durable_files.replace_text(path, json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        return results
