"""A judge that cannot judge is refused, with the setting and the remedy."""

from typing import Any

import pytest

from posttrain.assembly.sections import check_sections
from posttrain.config import RunConfig, parse
from posttrain.errors import InputError
from tests.assembly.test_parts import CONSUMED, REWARD, SOURCE


def config(algorithm: str, evaluation: dict[str, Any], has_data: bool = True, judge: str = "rougeL") -> RunConfig:
    values: dict[str, Any] = {
        "model": {"path": "a/b"}, "algorithm": {"name": algorithm},
        "data": {"train": SOURCE, "max_prompt_tokens": 9, "max_response_tokens": 9},
        "training": {"num_steps": 1, "batch_size": 1, "learning_rate": 0.1},
        "evaluation": evaluation, "diagnostics": {"judge": judge},
    }  # fmt: skip
    if has_data:
        values["data"]["evaluation"] = SOURCE
    if CONSUMED[algorithm] == "rollouts":
        values |= {"rollout": {"engine": "in_process"}, "rewards": [REWARD | {"name": "gold"}]}
    return parse(values, "test")


FULL = {"generate": True, "every": 5, "measures": ["rouge"]}


@pytest.mark.parametrize("judge", ["rougeL", "reward/gold"])
def test_measures_and_rewards_of_evaluations_may_judge(judge: str):
    check_sections(config("ppo", FULL, judge=judge), "rollouts")


def test_the_implicit_reward_of_dpo_may_be_judged():
    check_sections(config("dpo", FULL), "referenced_preferences")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (config("ppo", FULL, judge="rouge"), "'rouge' is no metric of this run's evaluations; did you mean rougeL?"),
        (config("ppo", FULL | {"measures": []}, judge="x"), r"\(there: reward/gold\)"),
        (config("dpo", FULL | {"measures": []}, judge="x"), "none, so list one in evaluation.measures"),
        (config("ppo", FULL, has_data=False), "give data.evaluation, evaluation.generate=true and evaluation.every"),
        (config("ppo", FULL | {"generate": False}), "is read at evaluations"),
        (config("ppo", FULL | {"every": None}), "is read at evaluations"),
        (config("sft", FULL), "algorithm sft follows no reward; leave it out"),
    ],
)
def test_a_judge_that_cannot_judge_is_refused(made: RunConfig, message: str):
    with pytest.raises(InputError, match=f"diagnostics.judge: .*{message}"):
        check_sections(made, CONSUMED[made.algorithm.name])


@pytest.mark.parametrize(("evaluation", "has_data"), [({"every": None}, True), ({"every": 5}, False)])
def test_a_best_model_needs_several_evaluations(evaluation: dict[str, Any], has_data: bool):
    made = config("ppo", FULL | evaluation, has_data=has_data)
    diagnostics = made.diagnostics.model_copy(update={"judge": None})
    checkpoint = made.checkpoint.model_copy(update={"best_metric": "eval/rougeL", "best_is": "highest"})
    made = made.model_copy(update={"diagnostics": diagnostics})
    check_sections(made, "rollouts")
    with pytest.raises(InputError, match=r"checkpoint\.best_metric: .*give data\.evaluation and evaluation\.every"):
        check_sections(made.model_copy(update={"checkpoint": checkpoint}), "rollouts")
