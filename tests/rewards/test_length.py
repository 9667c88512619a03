import pytest
import torch

from posttrain.batches import Rollout
from posttrain.rewards import length
from tests.algorithms.given import sequences_of


@pytest.mark.parametrize(("unit", "expected"), [("token", [1.5, 0.5, 1.0]), ("word", [1.0, 0.0, 0.5])])
def test_it_counts_and_pays_at_the_last_token(unit, expected):
    sequences = sequences_of([3, 1, 2])
    rollout = Rollout(sequences, torch.zeros(3, 3), ("two words", "", "one"), torch.zeros(3, dtype=torch.bool))
    reward = length.build(length.Config(unit=unit, per=2.0), "short", None, torch.device("cpu"))  # pyright: ignore[reportArgumentType]
    stream = reward(rollout)
    assert stream.name == "short"
    assert stream.totals().tolist() == expected
    assert stream.mask.tolist() == [[False, False, True], [True, False, False], [False, True, False]]
