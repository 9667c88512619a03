import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.evaluation.measures.repetition import repeated_share as repeated_share_of_words
from posttrain.functional.response_statistics import correlation, joint_moments, repeated_share


def test_repeated_share_by_hand():
    ids = torch.tensor(
        [
            [1, 2, 3, 1, 2, 3, 1],  # 123 231 312 123 231: two of five came before
            [7, 7, 7, 7, 7, 9, 9],  # of the first five tokens, 777 three times: two of three
            [4, 5, 6, 8, 9, 4, 5],  # no piece of three twice
            [5, 5, 5, 5, 5, 5, 5],  # of two tokens: no piece
            [5, 5, 5, 5, 5, 5, 5],  # of no token
        ]
    )
    mask = torch.arange(7) < torch.tensor([7, 5, 7, 2, 0]).unsqueeze(1)
    assert repeated_share(ids, mask, 3).tolist() == pytest.approx([2 / 5, 2 / 3, 0, 0, 0])
    assert repeated_share(ids, mask, 1).tolist() == pytest.approx([4 / 7, 4 / 5, 2 / 7, 1 / 2, 0])
    assert repeated_share(ids[:, :2], mask[:, :2], 3).tolist() == [0.0] * 5


@given(st.lists(st.lists(st.integers(0, 3), max_size=12), min_size=1, max_size=4), st.integers(1, 4), st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_repeated_share_is_that_of_the_measure_and_padding_changes_nothing(rows, size, padding):
    longest = max(map(len, rows)) + padding
    mask = torch.arange(longest) < torch.tensor([len(row) for row in rows]).unsqueeze(1)
    for filler in (0, 2):
        ids = torch.tensor([row + [filler] * (longest - len(row)) for row in rows], dtype=torch.long)
        ids = ids.reshape(len(rows), longest)
        expected = [repeated_share_of_words([str(token) for token in row], size) for row in rows]
        assert repeated_share(ids, mask, size).tolist() == pytest.approx(expected)


def test_correlation_by_hand():
    # deviations −1, 0, 1 and −2, 1, 1: covariance 3/3 = 1, variances 2/3 and 6/3
    x, y = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 3.0, 3.0])
    assert joint_moments(x, y).tolist() == pytest.approx([2, 2, 14 / 3, 6, 5])
    assert correlation(joint_moments(x, y)).item() == pytest.approx(1 / (2 / 3 * 2) ** 0.5)
    assert correlation(joint_moments(x, -2 * x)).item() == pytest.approx(-1)


def test_correlation_of_what_does_not_vary_is_zero():
    x = torch.tensor([0.1, 0.1, 0.1])
    assert correlation(joint_moments(x, torch.tensor([1.0, 2.0, 3.0]))) == 0
    assert correlation(joint_moments(torch.tensor([1.0, 2.0, 3.0]), x)) == 0
    assert correlation(joint_moments(torch.tensor([5.0]), torch.tensor([7.0]))) == 0
    assert correlation(joint_moments(torch.zeros(3), torch.zeros(3))) == 0


def test_the_mean_moments_of_two_ranks_give_the_correlation_of_both():
    x, y = torch.tensor([1.0, 2.0, 3.0, 9.0]), torch.tensor([5.0, 1.0, 4.0, 8.0])
    of_ranks = (joint_moments(x[:2], y[:2]) + joint_moments(x[2:], y[2:])) / 2
    assert correlation(of_ranks).item() == pytest.approx(torch.corrcoef(torch.stack([x, y]))[0, 1].item())
