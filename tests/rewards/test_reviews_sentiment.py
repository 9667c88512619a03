import pytest
import torch

from posttrain.batches import Rollout
from posttrain.data.records import Prompt
from posttrain.evaluation.measures import reviews_sentiment as measure
from posttrain.rewards import reviews_sentiment
from tests.algorithms.given import sequences_of

TEXTS = ("The cast is superb.", "", "The cast is never dull.")
SENTIMENTS = [1 / 2, 0.0, 1 / 6]


def test_the_reward_is_the_sentiment_of_the_text_and_stands_at_the_last_token():
    rollout = Rollout(sequences_of([3, 1, 2]), torch.zeros(3, 3), TEXTS, torch.zeros(3, dtype=torch.bool))
    config = reviews_sentiment.Config(scale=3.0)
    stream = reviews_sentiment.build(config, "gold", None, torch.device("cpu"))(rollout)  # pyright: ignore[reportArgumentType]
    assert stream.name == "gold"
    assert stream.totals().tolist() == pytest.approx([3 * it for it in SENTIMENTS], abs=1e-6)
    assert stream.mask.tolist() == [[False, False, True], [True, False, False], [False, True, False]]


def test_the_measure_is_the_same_number():
    assert measure.measure(TEXTS, [Prompt("x")] * 3, measure.Config()) == pytest.approx(SENTIMENTS)
