"""Every method that learns from its own samples learns to say good words, for either family and density of rewards."""

import copy
from typing import Any

import pytest
import torch

from posttrain.algorithms import a2c, grpo, ppo, reinforce, rejection_sampling
from posttrain.batches import RewardStream, Rollout
from posttrain.data import collate
from posttrain.interfaces import OnlineAlgorithm
from posttrain.models.actor_critic import SeparateActorCritic, SharedActorCritic
from posttrain.models.language_model import LanguageModel
from posttrain.models.loading import Pretrained, freeze, load_backbone, load_language_model
from posttrain.online.settings import OnlineSettings
from posttrain.rollouts import in_process
from posttrain.training.experience import Act, WeightedReward
from posttrain.training.loop import Passes, train_on_batch
from tests.learning import toys

METHODS: dict[str, tuple[Any, dict[str, Any]]] = {
    "reinforce, running mean": (reinforce, {"baseline": "running_mean"}),
    "reinforce, batch mean": (reinforce, {"baseline": "batch_mean"}),
    "reinforce, leave one out": (reinforce, {"baseline": "leave_one_out"}),
    "reinforce, greedy": (reinforce, {"baseline": "greedy"}),
    "reinforce, value": (reinforce, {"baseline": "value"}),
    "reinforce, tokens": (reinforce, {"baseline": "leave_one_out", "view": "token"}),
    "a2c": (a2c, {}),
    "a2c, sequence": (a2c, {"view": "sequence"}),
    "ppo": (ppo, {}),
    "ppo, sequence": (ppo, {"view": "sequence"}),
    "ppo, kl": (ppo, {"objective": "kl_penalty", "update_kl_target": 0.05}),
    "grpo": (grpo, {}),
    "rejection sampling": (rejection_sampling, {}),
}
HAS_PASSES = (ppo, grpo)
# Each method with one pair of these in the default run, and with the other pairs in the slow one.
PAIRS = (("t5", "token"), ("llama", "sequence"), ("t5", "sequence"), ("llama", "token"))
CASES = [
    pytest.param(method, *pair, marks=[] if number % 2 == place and place < 2 else pytest.mark.slow)
    for number, method in enumerate(METHODS)
    for place, pair in enumerate(PAIRS)
]


def good_and_bad_words(rollout: Rollout) -> RewardStream:
    """A word is judged where it stands; over the response as much as the share of good ones, but for an end token."""
    mask, ids = rollout.sequences.response_mask, rollout.sequences.response_ids
    is_good = mask & (ids >= 4) & (ids % 2 == 0)
    return RewardStream("good", is_good / mask.sum(-1, keepdim=True), mask)


def made(method: str, start: Pretrained, folder: str, is_shared: bool = False) -> OnlineAlgorithm:
    kind, settings = METHODS[method]
    config: OnlineSettings = kind.Config(kl_weight=0.01, **settings)
    policy = LanguageModel(start.model)
    reference = freeze(copy.deepcopy(policy))

    class Parts:
        def policy(self):
            return policy

        def reference(self):
            return reference

        def actor_critic(self):
            own = load_backbone(folder, 0.0)
            return SharedActorCritic(policy) if is_shared else SeparateActorCritic(policy, own)

        def sum_over_ranks(self, values):
            return values

    return kind.build(config, Parts())


def history_of(method: str, name: str, density: str, tmp_path, is_shared: bool = False) -> list[dict[str, float]]:
    """The metrics of each batch: 16 prompts, four responses each."""
    folder = toys.save(toys.start(name), tmp_path / "start")
    start = load_language_model(folder, 0.0)
    algorithm = made(method, start, folder, is_shared)
    policy = algorithm.module if isinstance(algorithm.module, LanguageModel) else algorithm.module.policy
    assert isinstance(policy, LanguageModel)
    engine = in_process.build(in_process.Config(max_new_tokens=4, samples_per_prompt=4), policy, start)
    judge = toys.share_of_good_words if density == "sequence" else good_and_bad_words
    act = Act(engine, [WeightedReward("good", 1.0, judge)], toys.ONE)
    prompts = collate.prompts(toys.rows_of(toys.prompts(16, seed=0), start))
    optimizer = toys.optimizer_of(algorithm.module, learning_rate=0.005)
    has_passes = METHODS[method][0] in HAS_PASSES
    passes = Passes(2, 32, None, 1.0) if has_passes else Passes(1, None, None, 1.0)
    history = []
    for step in range(20 if has_passes else 40):
        experience, metrics, _, _ = act.experience(algorithm, prompts, step)
        history.append(metrics)
        train_on_batch(algorithm, experience, optimizer, passes, torch.Generator().manual_seed(step), toys.ONE)
    return history


@pytest.mark.parametrize(("method", "name", "density"), CASES)
def test_it_learns_to_say_good_words(method, name, density, tmp_path):
    history = history_of(method, name, density, tmp_path)
    assert history[0]["reward"] < 0.6
    assert history[-1]["reward"] > 0.85
    assert history[0]["kl"] == pytest.approx(0, abs=1e-4)
    assert history[-1]["kl"] > 0.5  # reward is bought with distance


@pytest.mark.parametrize("name", ["t5", "llama"])
def test_a_shared_trunk_learns_too(name, tmp_path):
    history = history_of("ppo", name, "sequence", tmp_path, is_shared=True)
    assert history[0]["reward"] < 0.6
    assert history[-1]["reward"] > 0.85
