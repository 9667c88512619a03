"""What may change nothing changes no loss, no metric and no gradient, in any variant of any method and either family.

Padding: more columns of it, and anything in it, NaN included. Without more columns nothing changes by a bit; with them
sums of another width may round differently. Order: of prompts, of responses, of pairs, and of the two in a tie. Both
are tested of losses and, for methods that learn from their own samples, of the experience that they make of a rollout.
Microbatches are in tests/training/test_loop.py, for the same variants.
"""

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from posttrain import plugins
from posttrain.interfaces import Algorithm, LossReport, OnlineAlgorithm
from posttrain.models.families import encoder_decoder
from tests.algorithms.changes import Padded, Reordered
from tests.algorithms.variants import ONLINE, VARIANTS, Acted, acted, batch_for, cached, missing
from tests.tiny_models import ONE_PER_FAMILY

TOLERANCE = 1e-5
SEEDS = st.integers(0, 2**16)
COLUMNS = st.tuples(st.integers(0, 4), st.integers(0, 4))  # of prompts and of responses; none in the first example
# Not shrunk: a smaller seed is no simpler batch.
PLAIN = settings(deadline=None, derandomize=True, database=None, phases=[Phase.generate])
FEW, MANY = settings(PLAIN, max_examples=2), settings(PLAIN, max_examples=60)
of_every_variant = pytest.mark.parametrize("variant", VARIANTS)
of_online_variants = pytest.mark.parametrize("variant", ONLINE)
of_either_family = pytest.mark.parametrize("name", ONE_PER_FAMILY)


@pytest.fixture(scope="module", autouse=True)
def _prompts_pad_each_other():
    """An encoder reads prompts in groups of like lengths, which four prompts would not fill."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder_decoder, "MOST_GROUPS", 2)
        yield


@dataclass
class Outcome:
    report: LossReport
    gradient: Tensor
    made: dict[str, Tensor]  # metrics of experience
    state: dict[str, Any]  # what the method remembers after it


def outcome(algorithm: Algorithm, batch: Any) -> Outcome:
    """Of a batch, or of the experience that the method makes of what was acted, from the same memory each time."""
    made, state = {}, {}
    if isinstance(batch, Acted):
        assert isinstance(algorithm, OnlineAlgorithm)
        before = copy.deepcopy(algorithm.state_dict())
        algorithm.load_state_dict(before | ({"running_mean": 0.3} if "running_mean" in before else {}))
        batch, made = batch.experience(algorithm)
        state = algorithm.state_dict()
        report = algorithm.loss(batch)
        algorithm.load_state_dict(before)
    else:
        report = algorithm.loss(batch)
    parameters = list(algorithm.module.parameters())
    pulls = torch.autograd.grad(report.loss_sum, parameters, allow_unused=True)
    pairs = zip(pulls, parameters, strict=True)
    gradient = torch.cat([(torch.zeros_like(p) if pull is None else pull).flatten() for pull, p in pairs])
    assert gradient.isfinite().all()
    assert gradient.any()
    return Outcome(report, gradient, made, state)


def check_same(one: Outcome, other: Outcome) -> None:
    distance = (one.gradient - other.gradient).norm()
    assert distance <= TOLERANCE * one.gradient.norm(), distance / one.gradient.norm()
    assert numbers(other) == {name: pytest.approx(x, rel=TOLERANCE, abs=TOLERANCE) for name, x in numbers(one).items()}


def check_same_bits(one: Outcome, other: Outcome) -> None:
    assert torch.equal(one.gradient, other.gradient)
    assert numbers(one) == numbers(other)


def numbers(it: Outcome) -> dict[str, float]:
    """Means, as they are logged, what they are means over, and what the method remembers."""
    report = it.report
    sums = {"loss": report.loss_sum.detach(), **report.metric_sums}
    counts = {name: float(report.metric_counts.get(name, report.count)) for name in sums}
    found = {name: float(total) / max(counts[name], 1.0) for name, total in sums.items()}
    found |= {f"count of {name}": count for name, count in counts.items()}
    found |= {f"made {name}": float(value) for name, value in it.made.items()}
    remembered = it.state | it.state.get("penalty", {})
    return found | {name: value for name, value in remembered.items() if isinstance(value, float)}


def check(algorithm: Algorithm, batch: Any, seed: int, columns: tuple[int, int]) -> None:
    one = outcome(algorithm, batch)
    padded = outcome(algorithm, Padded(*columns, seed)(batch))
    (check_same if any(columns) else check_same_bits)(one, padded)
    check_same(one, outcome(algorithm, Reordered(seed)(batch)))


def check_loss(variant: str, folder: str, seed: int, columns: tuple[int, int]) -> None:
    algorithm = cached(variant, folder)
    check(algorithm, batch_for(variant, algorithm, seed), seed, columns)


def check_experience(variant: str, folder: str, seed: int, columns: tuple[int, int]) -> None:
    algorithm = cached(variant, folder)
    assert isinstance(algorithm, OnlineAlgorithm)
    check(algorithm, acted(algorithm, seed), seed, columns)


@of_either_family
@of_every_variant
@FEW
@given(seed=SEEDS, columns=COLUMNS)
def test_neither_padding_nor_order_changes_a_loss(variant, name, model_folder, seed, columns):
    check_loss(variant, str(model_folder(name)), seed, columns)


@of_either_family
@of_online_variants
@FEW
@given(seed=SEEDS, columns=COLUMNS)
def test_neither_padding_nor_order_changes_experience(variant, name, model_folder, seed, columns):
    check_experience(variant, str(model_folder(name)), seed, columns)


@pytest.mark.slow
@of_either_family
@of_every_variant
@MANY
@given(seed=SEEDS, columns=COLUMNS)
def test_in_many_more_batches(variant, name, model_folder, seed, columns):
    check_loss(variant, str(model_folder(name)), seed, columns)
    if variant in ONLINE:
        check_experience(variant, str(model_folder(name)), seed, columns)


def test_every_option_of_every_method_is_in_some_variant():
    """A new method, a new setting of one, or a new option of a setting has to be among the variants."""
    variants = list(VARIANTS.values())
    assert [said for name in plugins.names("algorithms") for said in missing(name, variants)] == []
    assert {variant.algorithm for variant in variants} == set(plugins.names("algorithms")) <= set(VARIANTS)


@pytest.mark.parametrize(
    ("algorithm", "left_out", "said"),
    [
        ("sft", ["sft"], ["sft"]),
        ("ppo", ["ppo, kl", "ppo, kl, sequence"],
         ["ppo.objective=kl_penalty", "ppo.update_kl_weight", "ppo.update_kl_target"]),
        ("grpo", ["grpo, not scaled, without kl"], ["grpo.should_scale=False"]),
    ],
)  # fmt: skip
def test_what_no_variant_has_is_missed(algorithm, left_out, said):
    assert list(missing(algorithm, [v for name, v in VARIANTS.items() if name not in left_out])) == said
