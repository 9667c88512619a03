"""The Kullback-Leibler divergence: its properties, its three estimates, and the gradients of those."""

import math

import pytest
import torch

from posttrain.functional.kl import exact_kl, k1, k2, k3
from posttrain.functional.logprobs import sequence_logprobs
from tests.theory.tabular import TablePolicy, random_problem


def distributions(count: int, vocabulary: int, seed: int, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(count, vocabulary, generator=generator)).log_softmax(-1)


def moments(p: torch.Tensor, q: torch.Tensor, estimator) -> tuple[float, float]:
    """Exact mean and variance of an estimate from one token sampled by p."""
    of_tokens = estimator(p - q)
    mean = (p.exp() * of_tokens).sum()
    return mean.item(), (p.exp() * (of_tokens - mean) ** 2).sum().item()


def test_it_is_never_negative_and_0_only_for_equals():
    """Pinsker: KL ≥ 2 TV². So where KL is 0 nothing differs; and one where a term is negative."""
    p, q = distributions(5000, 5, 0), distributions(5000, 5, 1, scale=3.0)
    distance = 0.5 * (p.exp() - q.exp()).abs().sum(-1)
    assert (exact_kl(p, q) >= 2 * distance**2).all()
    assert (exact_kl(p, p) == 0).all()
    terms = p.exp() * (p - q)
    assert (terms < 0).any(-1).all()  # a sum of 0 does not follow from terms of 0, nor they from it


def test_it_is_quadratic_near_equality():
    """KL(p ‖ p + d) → ½ Σ d²/p, in both directions: there, and only there, it is symmetric."""
    p = distributions(1, 5, 0)[0]
    step = torch.tensor([1.0, -2.0, 0.5, 1.5, -1.0])
    for size in (1e-3, 1e-4):
        q = (p.exp() + size * step).log()
        expected = 0.5 * (size * step).square().div(p.exp()).sum().item()
        for found in (exact_kl(p, q), exact_kl(q, p)):
            assert abs(found.item() / expected - 1) < 50 * size


def test_it_is_not_symmetric():
    p, q = (torch.tensor(each).log() for each in ([0.9, 0.1], [0.5, 0.5]))
    forth, back = exact_kl(p, q).item(), exact_kl(q, p).item()
    assert forth == pytest.approx(0.9 * math.log(1.8) + 0.1 * math.log(0.2))
    assert back == pytest.approx(0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(5))
    assert back > forth + 0.1


def even_and_odd(theta: torch.Tensor, alpha: float, beta: float) -> tuple[torch.Tensor, float, float]:
    """q of the exercise, the formula for KL(q ‖ p) of docs/theory.md, and the last line of the course's answer."""
    num = len(theta)
    is_even = torch.arange(1, num + 1) % 2 == 0
    q = torch.where(is_even, alpha, beta)
    of_q = 0.5 * num * (alpha * math.log(alpha) + beta * math.log(beta))
    derived = of_q - alpha * theta[is_even].log().sum() - beta * theta[~is_even].log().sum()
    answer = 0.5 * num * (alpha + beta) * (math.log(0.5 * num * alpha * beta) - theta.log().sum())
    return q, derived.item(), answer.item()


def test_the_even_and_odd_formula():
    theta = torch.tensor([0.1, 0.2, 0.3, 0.1, 0.1, 0.2])
    q, derived, answer = even_and_odd(theta, alpha=0.25, beta=1 / 3 - 0.25)
    exact = exact_kl(q.log(), theta.log()).item()
    assert q.sum().item() == pytest.approx(1)
    assert derived == pytest.approx(exact, abs=1e-12)
    assert exact == pytest.approx(0.203513, abs=1e-6)
    assert answer == pytest.approx(8.558015, abs=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_the_even_and_odd_formula_at_random(seed):
    generator = torch.Generator().manual_seed(seed)
    num = 2 * (1 + seed % 5)
    theta = torch.rand(num, generator=generator).add(0.1)
    theta /= theta.sum()
    alpha = 2 / num * (0.05 + 0.9 * torch.rand((), generator=generator).item())
    q, derived, answer = even_and_odd(theta, alpha, 2 / num - alpha)
    assert derived == pytest.approx(exact_kl(q.log(), theta.log()).item(), abs=1e-12)
    assert abs(answer - derived) > 1e-3


def test_the_course_s_last_line_is_not_0_for_equals():
    theta = torch.tensor([0.1, 0.4, 0.1, 0.4])
    q, derived, answer = even_and_odd(theta, alpha=0.4, beta=0.1)
    assert torch.equal(q, theta)
    assert derived == pytest.approx(0, abs=1e-12)
    assert answer == pytest.approx(math.log(2 * 0.04 / 0.0016))


def test_sampling_is_the_weighting():
    """Σ_y π(y) Σ_t log ratio = Σ_y π(y) Σ_t KL(·|s_t) = KL of whole responses: a sample carries no weight more."""
    problem = random_problem(0)
    policy, reference = random_problem(1).reference, problem.reference
    assert isinstance(policy, TablePolicy)
    assert isinstance(reference, TablePolicy)
    sequences = problem.shape.everything
    mask = sequences.response_mask
    ours, theirs = problem.distribution(policy), problem.distribution(reference)
    whole = exact_kl(ours, theirs)
    shares = ours.exp().flatten()
    sampled = sequence_logprobs(k1(policy(sequences) - reference(sequences)), mask)
    by_state = sequence_logprobs(exact_kl(policy.of_all(sequences), reference.of_all(sequences)), mask)
    for estimate in (sampled, by_state):
        assert torch.allclose((shares * estimate).view_as(ours).sum(-1), whole, atol=1e-12)
    unweighted = (ours - theirs).sum(-1)  # a sum over the list, each response once, is another number
    assert (unweighted - whole).abs().min() > 0.3


SCALES = (0.1, 0.5, 1.0, 2.0)
"""How far apart two random distributions over five tokens are."""


def estimates(scale: float) -> dict[str, tuple[float, float]]:
    """Bias and standard deviation of each estimate as shares of the exact KL, the medians of 200 random pairs."""
    base, noise = distributions(200, 5, 0), distributions(200, 5, 1)
    found: dict[str, list[tuple[float, float]]] = {"k1": [], "k2": [], "k3": []}
    for p, d in zip(base, noise, strict=True):
        q = (p + scale * d).log_softmax(-1)
        exact = exact_kl(p, q).item()
        for name, estimator in (("k1", k1), ("k2", k2), ("k3", k3)):
            mean, variance = moments(p, q, estimator)
            found[name].append(((mean - exact) / exact, math.sqrt(variance) / exact))
    return {
        name: (torch.tensor([a for a, _ in some]).median().item(), torch.tensor([b for _, b in some]).median().item())
        for name, some in found.items()
    }


@pytest.mark.parametrize("scale", SCALES)
def test_k1_and_k3_have_no_bias_and_k2_has(scale):
    found = estimates(scale)
    assert abs(found["k1"][0]) < 1e-9
    assert abs(found["k3"][0]) < 1e-9
    assert abs(found["k2"][0]) > 1e-3


def test_the_bias_of_k2_goes_with_the_divergence():
    """E[½ρ²] − KL is of the third order in a KL of the second: its share goes with the size of ρ."""
    p, d = distributions(2, 5, 0)
    shares = []
    for scale in (0.1, 0.01):
        q = (p + scale * d).log_softmax(-1)
        shares.append((moments(p, q, k2)[0] - exact_kl(p, q).item()) / exact_kl(p, q).item())
    assert 9 < shares[0] / shares[1] < 11


@pytest.mark.parametrize("scale", [0.1, 0.5])
def test_k2_and_k3_are_steadier_than_k1_for_near_policies(scale):
    found = estimates(scale)
    assert found["k2"][1] < 0.7 * found["k1"][1]
    assert found["k3"][1] < 0.7 * found["k1"][1]


def test_k3_is_the_noisiest_where_the_policy_has_left_what_the_reference_likes():
    """e^(−ρ) is the reference's share over the policy's: a token seldom sampled weighs much."""
    p, q = (torch.tensor(each).log() for each in ([0.999, 0.001], [0.5, 0.5]))
    of_k1, of_k3 = moments(p, q, k1), moments(p, q, k3)
    assert of_k1[0] == pytest.approx(of_k3[0], abs=1e-12)
    assert math.sqrt(of_k3[1]) > 50 * math.sqrt(of_k1[1])


def test_gradients_of_the_estimates_are_of_other_divergences():
    """As a loss term on the policy's own samples: k1 gives 0, k2 KL(π ‖ π_ref), k3 KL(π_ref ‖ π)."""
    theirs = distributions(2, 5, 0)[1]

    def gradient(value_of) -> torch.Tensor:
        logits = distributions(2, 5, 0)[0].clone().requires_grad_()
        (found,) = torch.autograd.grad(value_of(logits.log_softmax(-1)), [logits])
        return found

    def as_loss(estimator):
        return gradient(lambda p: (p.detach().exp() * estimator(p - theirs)).sum())

    forth, back = gradient(lambda p: exact_kl(p, theirs)), gradient(lambda p: exact_kl(theirs, p))
    assert (forth - back).norm() > 0.1
    assert as_loss(k1).norm() < 1e-12
    assert torch.allclose(as_loss(k2), forth, atol=1e-12)
    assert torch.allclose(as_loss(k3), back, atol=1e-12)
