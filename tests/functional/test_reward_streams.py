import pytest
import torch

from posttrain.functional.reward_streams import kl_penalized, last_true, place_at_last

NAN = float("nan")
MASK = torch.tensor([[True, True, False, False], [True, False, True, False], [False] * 4, [True] * 4])


def test_last_true():
    assert last_true(MASK).tolist() == [1, 2, 0, 3]


def test_a_score_lands_on_the_last_token():
    values, where = place_at_last(torch.tensor([5.0, 6.0, 7.0, 8.0]), MASK)
    assert values.tolist() == [[0, 5, 0, 0], [0, 0, 6, 0], [0, 0, 0, 0], [0, 0, 0, 8]]
    assert where.tolist() == [
        [False, True, False, False],
        [False, False, True, False],
        [False] * 4,  # a response without a token is not judged
        [False, False, False, True],
    ]


def test_rewards_and_kl_by_hand():
    streams = torch.tensor([[[1.0, 0.0, NAN]], [[0.0, 4.0, NAN]]])
    log_ratio = torch.tensor([[0.5, -1.0, NAN]])
    mask = torch.tensor([[True, True, False]])
    # 2·1 + 0.5·0 − 0.1·0.5; 2·0 + 0.5·4 + 0.1·1
    rewards = kl_penalized(streams, torch.tensor([2.0, 0.5]), log_ratio, 0.1, mask)
    assert rewards[0].tolist() == pytest.approx([1.95, 2.1, 0.0])
