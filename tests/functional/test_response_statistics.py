import pytest
import torch

from posttrain.functional.response_statistics import correlation, joint_moments, repeated_share


@pytest.mark.parametrize(
    ("tokens", "of_three", "of_one"),
    [
        ([1, 2, 3, 1, 2, 3, 1], 2 / 5, 4 / 7),  # 123 231 312 123 231: two of five came before
        ([7, 7, 7, 7, 7], 2 / 3, 4 / 5),
        ([4, 5, 6, 8, 9, 4, 5], 0, 2 / 7),
        ([5, 5], 0, 1 / 2),
        ([], 0, 0),
    ],
)
def test_repeated_share_by_hand(tokens, of_three, of_one):
    assert repeated_share(tokens, 3) == pytest.approx(of_three)
    assert repeated_share([str(token) for token in tokens], 1) == pytest.approx(of_one)


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
