import math

import pytest
import torch

from posttrain.functional.preference import bradley_terry_loss, dpo_loss

DECIDED, TIED = torch.tensor([False]), torch.tensor([True])


def test_bradley_terry_by_hand():
    difference = torch.tensor([math.log(3.0)])  # σ = 3/4
    assert bradley_terry_loss(difference, DECIDED).item() == pytest.approx(-math.log(3 / 4))
    assert bradley_terry_loss(difference, TIED).item() == pytest.approx(-0.5 * math.log(3 / 4) - 0.5 * math.log(1 / 4))


def test_a_tie_pulls_scores_together_and_does_not_care_who_is_named_first():
    difference = torch.tensor([0.7], requires_grad=True)
    loss = bradley_terry_loss(difference, TIED)
    assert loss.item() == pytest.approx(bradley_terry_loss(-difference, TIED).item())
    loss.sum().backward()
    assert difference.grad is not None
    assert difference.grad.item() == pytest.approx(torch.tensor(0.7).sigmoid().item() - 0.5)


def test_large_differences_stay_finite():
    difference = torch.tensor([-1000.0, 1000.0], requires_grad=True)
    loss = bradley_terry_loss(difference, torch.tensor([False, False]))
    assert loss.tolist() == [1000, 0]
    loss.sum().backward()
    assert difference.grad is not None
    assert difference.grad.tolist() == [-1, 0]


def test_dpo_at_the_reference_is_log_2():
    same = torch.tensor([-3.0, -3.0])
    is_tie = torch.tensor([False, True])
    assert dpo_loss(same, same, is_tie, beta=0.3).tolist() == pytest.approx([math.log(2)] * 2)


def test_dpo_by_hand():
    loss = dpo_loss(torch.tensor([1.0]), torch.tensor([-2.0]), DECIDED, beta=0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-0.5 * 3)))
    tie = dpo_loss(torch.tensor([1.0]), torch.tensor([-2.0]), TIED, beta=0.5)
    assert tie.item() == pytest.approx(0.5 * math.log(1 + math.exp(-1.5)) + 0.5 * math.log(1 + math.exp(1.5)))
