"""Settings that do not go with the algorithm are refused, with the setting and the remedy."""

from dataclasses import replace
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


def online(algorithm: dict[str, Any], training: dict[str, Any], samples: int = 4) -> RunConfig:
    values = {
        "model": {"path": "a/b"}, "algorithm": algorithm, "rewards": [REWARD],
        "rollout": {"engine": "in_process", "samples_per_prompt": samples},
        "data": {"train": SOURCE, "max_prompt_tokens": 9, "max_response_tokens": 9},
        "training": {"num_steps": 1, "batch_size": 8, "learning_rate": 0.1, **training},
    }  # fmt: skip
    return parse(values, "test")


ON_POLICY = [{"name": "a2c"}, *({"name": "reinforce", "baseline": kind} for kind in ("leave_one_out", "value"))]
WITH_A_RATIO = [{"name": "ppo"}, {"name": "ppo", "objective": "kl_penalty"}, {"name": "grpo"}]


@pytest.mark.parametrize("algorithm", ON_POLICY)
@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"passes": 2}, r"training\.passes: is 2, .*ppo and grpo have\. Leave passes at 1"),
        ({"minibatch_size": 31}, r"training\.minibatch_size: 31 of the 32 responses .*training\.microbatch_size saves"),
    ],
)
def test_steps_on_responses_of_an_older_policy_are_refused_without_a_ratio(algorithm, training, message):
    with pytest.raises(InputError, match=message):
        check_sections(online(algorithm, training), "rollouts")


@pytest.mark.parametrize("algorithm", ON_POLICY)
@pytest.mark.parametrize("training", [{}, {"minibatch_size": 32}, {"microbatch_size": 2}])
def test_one_step_a_batch_needs_no_ratio(algorithm, training):
    check_sections(online(algorithm, training), "rollouts")


@pytest.mark.parametrize("algorithm", [*ON_POLICY, *WITH_A_RATIO, {"name": "rejection_sampling"}])
def test_greedy_responses_are_no_samples(algorithm):
    made = online(algorithm, {})
    assert made.rollout is not None
    settings = made.rollout.settings.model_copy(update={"is_greedy": True})
    greedy = made.model_copy(update={"rollout": replace(made.rollout, settings=settings)})
    with pytest.raises(InputError, match=f"rollout.is_greedy: algorithm {algorithm['name']} learns from samples"):
        check_sections(greedy, "rollouts")


@pytest.mark.parametrize("algorithm", [*WITH_A_RATIO, {"name": "rejection_sampling"}])
def test_a_ratio_or_a_likelihood_allows_several_steps_a_batch(algorithm):
    check_sections(online(algorithm, {"passes": 3, "minibatch_size": 4}), "rollouts")


@pytest.mark.parametrize(("evaluation", "has_data"), [({"every": None}, True), ({"every": 5}, False)])
def test_a_best_model_needs_several_evaluations(evaluation: dict[str, Any], has_data: bool):
    made = config("ppo", FULL | evaluation, has_data=has_data)
    diagnostics = made.diagnostics.model_copy(update={"judge": None})
    checkpoint = made.checkpoint.model_copy(update={"best_metric": "eval/rougeL", "best_is": "highest"})
    made = made.model_copy(update={"diagnostics": diagnostics})
    check_sections(made, "rollouts")
    with pytest.raises(InputError, match=r"checkpoint\.best_metric: .*give data\.evaluation and evaluation\.every"):
        check_sections(made.model_copy(update={"checkpoint": checkpoint}), "rollouts")
