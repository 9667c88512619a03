"""`posttrain score` adds to each row what the reward model itself says of its responses."""

import statistics

import pytest
import torch

from posttrain import cli
from posttrain.commands import score
from posttrain.data.agreement import decided
from posttrain.data.collate import collate_prompts, collate_sequences
from posttrain.data.lines import Where
from posttrain.data.records import Comparison, Pair, Prompt
from posttrain.data.sources import preference_jsonl
from posttrain.models.loading import load_scorer
from tests.commands.conftest import MEAN, STD, rows_of
from tests.tiny_models import END, ONE_PER_FAMILY

TEXTS = [("ba ce", "di fo gu"), ("ba", "ha be ci do fu"), ("ce ci co ca", "ba"), ("do da", "")]


def direct(folder, prompt: str, response: str) -> float:
    """The scorer on one response by itself, its end token included."""
    scorer, tokenizer, _ = load_scorer(str(folder))
    prompt_ids = tokenizer(prompt).input_ids
    response_ids = [*tokenizer(response, add_special_tokens=False).input_ids, END]
    with torch.no_grad():
        return float(scorer(collate_sequences(collate_prompts([prompt_ids], [Prompt(prompt)]), [0], [response_ids])))


def run(folder, data, out, *options) -> int:
    return cli.main(["score", str(folder), "--data", str(data), "--out", str(out), *map(str, options)])


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_scores_are_the_scorers_own(name, reward_folder, write, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(score, "RESPONSES_AT_ONCE", 3)
    data = write("data.jsonl", [{"prompt": p, "response": r, "other": [i]} for i, (p, r) in enumerate(TEXTS)])
    out = tmp_path / "new" / "out.jsonl"
    assert run(reward_folder(name), data, out) == 0
    rows, expected = rows_of(out), [direct(reward_folder(name), *texts) for texts in TEXTS]
    assert [(row["prompt"], row["response"], row["other"]) for row in rows] == [
        (prompt, response, [i]) for i, (prompt, response) in enumerate(TEXTS)
    ]
    assert [row["score"] for row in rows] == pytest.approx(expected, abs=1e-5)
    assert [row["normalized_score"] for row in rows] == pytest.approx([(x - MEAN) / STD for x in expected], abs=1e-5)
    assert max(expected) - min(expected) > 0.1
    shown = capsys.readouterr().out
    assert f"4 responses, mean score {sum(expected) / 4:.3f}, std {statistics.stdev(expected):.3f}" in shown
    assert "accuracy" not in shown


def test_comparisons_have_a_list_of_scores_and_an_accuracy(reward_folder, write, tmp_path, capsys):
    folder = reward_folder("t5")
    responses = ["ba", "ce di", "fo gu ha"]
    scores = [direct(folder, "be", response) for response in responses]
    best, worst = scores.index(max(scores)), scores.index(min(scores))
    pairs = [[best, worst, 1], [worst, best, 2], [best, worst, 2], [0, 1, 0]]
    data = write("data.jsonl", [{"prompt": "be", "responses": responses, "pairs": pairs, "source": "x"}])
    assert run(folder, data, tmp_path / "out.jsonl") == 0
    (row,) = rows_of(tmp_path / "out.jsonl")
    assert row["scores"] == pytest.approx(scores, abs=1e-5)
    assert row["normalized_scores"] == pytest.approx([(x - MEAN) / STD for x in scores], abs=1e-5)
    assert (row["pairs"], row["source"]) == (pairs, "x")
    assert "accuracy 0.667 on 3 decided pairs" in capsys.readouterr().out


def test_chosen_and_rejected(reward_folder, write, tmp_path, capsys):
    folder = reward_folder("llama")
    turn = [{"role": "user", "content": "be"}, {"role": "assistant", "content": "ce di"}]
    rows = [{"prompt": "be", "chosen": "ba", "rejected": "ce di"}, {"chosen": turn, "rejected": [turn[0], turn[1] | {"content": "ba"}]}]  # fmt: skip  # noqa: E501
    assert run(folder, write("data.jsonl", rows), tmp_path / "out.jsonl") == 0
    first, second = rows_of(tmp_path / "out.jsonl")
    ba, ce = (direct(folder, "be", response) for response in ("ba", "ce di"))
    assert [first["chosen_score"], first["rejected_score"]] == pytest.approx([ba, ce], abs=1e-5)
    assert [second["chosen_score"], second["rejected_score"]] == pytest.approx([ce, ba], abs=1e-5)
    assert first["normalized_chosen_score"] == pytest.approx((ba - MEAN) / STD, abs=1e-5)
    assert second["chosen"] == turn
    assert "accuracy 0.500 on 2 decided pairs" in capsys.readouterr().out


def test_samples_without_pairs(reward_folder, write, tmp_path, capsys):
    data = write("data.jsonl", [{"prompt": "be", "responses": ["ba", ""]}, {"prompt": "be", "responses": ["ba"]}])
    assert run(reward_folder("t5"), data, tmp_path / "out.jsonl") == 0
    first, second = rows_of(tmp_path / "out.jsonl")
    assert first["scores"] == pytest.approx([direct(reward_folder("t5"), "be", text) for text in ("ba", "")], abs=1e-5)
    assert second["scores"] == pytest.approx(first["scores"][:1], abs=1e-5)
    assert "accuracy" not in capsys.readouterr().out


def test_a_tie_of_scores_is_half_right():
    pairs = (Pair(0, 1, 1), Pair(0, 2, 2), Pair(1, 2, 0), Pair(2, 0, 2))
    assert decided(pairs, [1.0, 1.0, 0.0]) == [0.5, 0.0, 1.0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prompt": "a", "response": "b"}, {"prompt": "a"}], 'data.jsonl:2: field "response" is missing'),
        ([{"prompt": "a", "response": "b"}, {"prompt": "a", "response": 3}], 'data.jsonl:2: field "response" must be'),
        ([{"prompt": "a", "respose": "b"}], "data.jsonl:1: nothing to score"),
        ([{"prompt": "a", "response": "b", "score": 1}], 'data.jsonl:1: field "score" is there already'),
        ([{"prompt": "a", "responses": []}], 'data.jsonl:1: field "responses" is an empty list'),
        ([{"prompt": "a", "responses": ["b", "c"], "pairs": [[0, 1, 3]]}], "data.jsonl:1: field"),
        ([{"prompt": "a", "chosen": "b"}], 'data.jsonl:1: field "rejected" is missing'),
        ([{"prompt": "a", "response": "ba " * 70}], "data.jsonl: 1 of 1 rows need more than the 64 positions"),
    ],
)
def test_bad_rows_are_named_before_anything_is_written(rows, message, reward_folder, write, tmp_path, capsys):
    assert run(reward_folder("llama"), write("data.jsonl", rows), tmp_path / "out.jsonl") == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out.jsonl").exists()


def test_a_language_model_is_no_reward_model(model_folder, write, tmp_path, capsys):
    data = write("data.jsonl", [{"prompt": "a", "response": "b"}])
    assert run(model_folder("t5"), data, tmp_path / "out.jsonl") == 2
    assert "is not a reward model" in capsys.readouterr().err


def test_scores_become_comparisons_that_preference_jsonl_reads(reward_folder, write, tmp_path, capsys):
    folder, texts = reward_folder("llama"), ["ba", "ce di", "ba", ""]
    detailed = {"prompt": "be", "id": "n1", "references": ["fo"], "facts": {"label": 1}, "responses": texts}
    data = write("data.jsonl", [detailed, {"prompt": "da", "responses": ["ha", "hu"]}])
    assert run(folder, data, tmp_path / "out.jsonl", "--pairs", tmp_path / "new" / "pairs.jsonl") == 0
    scores = [direct(folder, "be", text) for text in texts]
    two = [direct(folder, "da", text) for text in ("ha", "hu")]
    config = preference_jsonl.Config(path=tmp_path / "new" / "pairs.jsonl", should_allow_empty=True)
    first, second = preference_jsonl.load(config)

    def label(i: int, j: int) -> int:
        return 0 if texts[i] == texts[j] else 1 if scores[i] > scores[j] else 2

    order = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    prompt = Prompt("be", "n1", ("fo",), {"label": 1})
    assert first == Comparison(prompt, tuple(texts), tuple(Pair(i, j, label(i, j)) for i, j in order))
    assert second == Comparison(Prompt("da"), ("ha", "hu"), (Pair(0, 1, 1 if two[0] > two[1] else 2),))
    assert {label(i, j) for i, j in order} == {0, 1, 2}
    assert rows_of(tmp_path / "out.jsonl")[0]["scores"] == pytest.approx(scores, abs=1e-5)
    assert "pairs.jsonl: 7 pairs of 2 prompts, 1 of them ties" in capsys.readouterr().out


def test_recorded_comparisons_get_the_reward_models_labels(reward_folder, write, tmp_path):
    folder = reward_folder("t5")
    ba, ce = (direct(folder, "be", response) for response in ("ba", "ce di"))
    turns = [[{"role": "user", "content": "be"}, {"role": "assistant", "content": text}] for text in ("ba", "ce di")]
    data = write("data.jsonl", [{"chosen": turns[0], "rejected": turns[1]}])
    assert run(folder, data, tmp_path / "out.jsonl", "--pairs", tmp_path / "pairs.jsonl") == 0
    assert rows_of(tmp_path / "pairs.jsonl") == [
        {"prompt": "be", "responses": ["ba", "ce di"], "pairs": [[0, 1, 1 if ba > ce else 2]]}
    ]


def test_equal_scores_are_a_tie(tmp_path):
    row = score.RowResponses({}, Where(tmp_path, 1), "be", ("a", "b", "c"))
    labels = [pair.label for pair in score.compare(Prompt("be"), row, [1.0, 1.0, 2.0]).pairs]
    assert labels == [0, 2, 2]


@pytest.mark.parametrize(
    ("rows", "pairs", "message"),
    [
        ([{"prompt": "a", "response": "b"}], "pairs.jsonl", "--pairs: 1 of 1 rows of"),
        ([{"prompt": "a", "responses": ["b", "c"]}, {"prompt": "a", "responses": ["b"]}], "pairs.jsonl", "line 2"),
        ([{"prompt": " ", "responses": ["b", "c"]}], "pairs.jsonl", 'data.jsonl:1: field "prompt" is empty'),
        ([{"prompt": "a", "responses": ["b", "c"], "id": 3}], "pairs.jsonl", 'data.jsonl:1: field "id" must be text'),
        ([{"prompt": "a", "responses": ["b", "c"], "id": "1"}] * 2, "pairs.jsonl", 'data.jsonl:2: id "1" was used'),
        ([], "pairs.json", "--pairs {folder}/pairs.json: give a name that ends in .jsonl"),
        ([], "data.jsonl", "--pairs {folder}/data.jsonl: would replace the input"),
        ([], "out.jsonl", "--pairs {folder}/out.jsonl: is where --out goes"),
    ],
)  # fmt: skip
def test_pairs_that_cannot_be_made(rows, pairs, message, reward_folder, write, tmp_path, capsys):
    data = write("data.jsonl", rows)
    before = sorted(tmp_path.iterdir())
    assert run(reward_folder("llama"), data, tmp_path / "out.jsonl", "--pairs", tmp_path / pairs) == 2
    error = capsys.readouterr().err
    assert message.format(folder=tmp_path) in error
    assert len(error.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before
