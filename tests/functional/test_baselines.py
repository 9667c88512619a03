import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posttrain.functional.baselines import batch_mean, best_of, group_moments, leave_one_out


def test_batch_mean_by_hand():
    assert batch_mean(torch.tensor([1.0, 2.0, 6.0])).tolist() == [3.0, 3.0, 3.0]


def test_leave_one_out_by_hand():
    returns, group = torch.tensor([1.0, 10.0, 3.0, 20.0, 8.0]), torch.tensor([0, 1, 0, 1, 0])
    assert leave_one_out(returns, group).tolist() == pytest.approx([5.5, 20.0, 4.5, 10.0, 2.0])


@given(st.lists(st.lists(st.floats(-100, 100), min_size=2, max_size=5), min_size=1, max_size=4), st.integers(0, 10))
def test_a_response_is_not_in_its_own_baseline(groups, change):
    returns = torch.tensor([value for group in groups for value in group])
    index = torch.tensor([number for number, group in enumerate(groups) for _ in group])
    before = leave_one_out(returns, index)
    changed = returns.clone()
    changed[0] += change
    after = leave_one_out(changed, index)
    assert after[0].item() == pytest.approx(before[0].item(), abs=1e-3)
    others = [row for row in range(1, len(returns)) if index[row] == 0]
    for row in others:
        assert (after[row] - before[row]).item() == pytest.approx(change / len(others), abs=1e-3)


def test_group_moments_by_hand():
    returns, group = torch.tensor([1.0, 5.0, 3.0, 7.0]), torch.tensor([0, 1, 0, 1])
    mean, deviation = group_moments(returns, group)
    assert mean.tolist() == [2, 6, 2, 6]
    assert deviation.tolist() == [1, 1, 1, 1]


@given(st.floats(-1e4, 1e4, width=32), st.integers(2, 9))
def test_equal_returns_have_no_deviation_to_the_last_bit(value, size):
    returns = torch.full((size + 2,), value)
    returns[-1] += 1.0
    mean, deviation = group_moments(returns, torch.tensor([0] * size + [1, 1]))
    assert torch.equal(mean[:size], returns[:size])
    assert not deviation[:size].any()
    assert deviation[size:].all()


def test_best_of_each_group_is_the_first_of_equal_ones():
    returns = torch.tensor([1.0, -5.0, 3.0, -2.0, 3.0, -2.0])
    assert best_of(returns, torch.tensor([0, 1, 0, 1, 0, 1])).tolist() == [2, 3]
    assert best_of(torch.tensor([float("-inf"), 0.0]), torch.tensor([0, 1])).tolist() == [0, 1]
