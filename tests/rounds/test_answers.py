"""Labels and choices of a round, by hand."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from posttrain.data.records import Prompt
from posttrain.data.sources import demonstration_jsonl
from posttrain.errors import InputError
from posttrain.rounds import settings
from posttrain.rounds.answers import judged_labels, write_best, write_labels
from posttrain.rounds.labelling import Labelling
from posttrain.rounds.results import accuracy
from posttrain.rounds.settings import JudgeLabels
from tests.rounds.tiny_rounds import write_rounds

ANSWERED = [(Prompt("p"), ("a", "b", "c"))]


@pytest.mark.parametrize(
    ("margin", "labels"),
    [(0.0, {(0, 1): 2, (0, 2): 2, (1, 2): 2}), (1.0, {(0, 1): 0, (0, 2): 2, (1, 2): 2}),
     (1.5, {(0, 1): 0, (0, 2): 2, (1, 2): 0}), (2.5, {(0, 1): 0, (0, 2): 0, (1, 2): 0})],
)  # fmt: skip
def test_a_difference_of_the_margin_is_a_tie(margin: float, labels: dict[tuple[int, int], int]):
    reward = {"kind": "length"}
    own = JudgeLabels.model_validate({"reward": reward, "tie_margin": margin})
    (found,) = judged_labels(ANSWERED, [[0.0, 1.0, 2.5]], own)
    assert {(pair.first, pair.second): pair.label for pair in found.pairs} == labels


def test_equal_rewards_are_a_tie_without_a_margin():
    (found,) = judged_labels(ANSWERED, [[1.0, 1.0, 0.0]], JudgeLabels.model_validate({"reward": {"kind": "length"}}))
    assert {(pair.first, pair.second): pair.label for pair in found.pairs} == {(0, 1): 0, (0, 2): 1, (1, 2): 1}


def test_the_best_is_imitated_unless_it_is_empty(tmp_path: Path):
    answered = [(Prompt("p"), ("a", "b")), (Prompt("q"), ("", "c")), (Prompt("r"), ("d", "e"))]
    facts = write_best(tmp_path, answered, [[0.0, 2.0], [3.0, 1.0], [5.0, 5.0]])
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert [(row["prompt"], row["response"]) for row in rows] == [("p", "b"), ("r", "d")]
    assert facts == pytest.approx({"num": 2, "mean_score": 8 / 3, "mean_best_score": 10 / 3})
    assert len(demonstration_jsonl.load(demonstration_jsonl.Config(path=tmp_path / "train.jsonl"))) == 2


def test_a_prompt_counts_by_its_pairs_in_the_accuracy_and_its_interval():
    """Nine pairs of one prompt, all right, and a wrong one of another: 0.9; 0 to 1 where one of them is drawn twice."""
    found = accuracy([[1.0] * 9, [0.0]], 0)
    assert found is not None
    assert found["n"] == 10
    assert [found[key] for key in ("mean", "low", "high")] == pytest.approx([0.9, 0.0, 1.0])
    assert accuracy([], 0) is None


def test_labels_that_nobody_gave_are_a_fault_of_the_user(tmp_path: Path):
    with pytest.raises(InputError, match="nobody has compared any answers"):
        write_labels(tmp_path, [], [Prompt("p")], {})


def test_another_seed_has_other_annotators(tmp_path: Path):
    """Those of the file, moved by the seed of the loop."""
    path = write_rounds(tmp_path)
    seeds = []
    for seed in (0, 5):
        config = settings.load(path, [f"seed={seed}"])
        labelling = Labelling(config, lambda _name: None, None, should_wait=False, console=Console())  # type: ignore[arg-type]
        assert config.judge_model is not None
        seeds.append(labelling._seeded(config.judge_model.simulated).seed)
    assert seeds == [3, 8]
