"""What reward models are said to know of the truth, with scores given by hand."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from posttrain.batches import RewardStream
from posttrain.data.records import Prompt
from posttrain.reproduce import fine_grained_measures
from posttrain.worlds.grounded_qa import Config, load


def streams_of(*values: list[float]) -> Iterator[RewardStream]:
    """One response a list: each value stands on a span; the last column of shorter ones is not judged."""
    width = max(map(len, values))
    rows = torch.tensor([row + [0.0] * (width - len(row)) for row in values])
    mask = torch.tensor([[column < len(row) for column in range(width)] for row in values])
    yield RewardStream("learned", rows, mask)


def test_models_are_asked_how_they_order_pairs_that_the_truth_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    prompt = next(prompt for prompt in load(Config(split="prompts", num=1, seed=5)) if isinstance(prompt, Prompt))
    best = prompt.references[0]
    answers = (best, f"{best} nonsense.", f"{best} nonsense.")  # complete all; the last two are alike
    given = {
        # By the mean over spans the first is best: 1 > (1 + 1 - 1) / 3. By the sum it is not.
        "means": streams_of([0.9], [1.0, 1.0, -1.0], [1.0, 0.9, -1.0]),
        "wrong": streams_of([-1.0], [0.0], [-1.0]),  # before the second, equal to the third
    }
    monkeypatch.setattr(fine_grained_measures, "_streams", lambda path, held_out: given[path.name])
    table = fine_grained_measures.reward_model_table({name: tmp_path / name for name in given}, [(prompt, answers)])
    # Gold and relevance decide the pairs of the first with the two others; completeness and factuality none.
    assert table["num_pairs"] == {"gold": 2, "completeness": 0, "factuality": 0, "relevance": 2}
    assert table["pair_accuracy"]["means"]["relevance"] == 1.0
    assert table["pair_accuracy"]["wrong"]["relevance"] == pytest.approx((0.0 + 0.5) / 2)
    assert table["pair_accuracy"]["means"]["completeness"] is None
