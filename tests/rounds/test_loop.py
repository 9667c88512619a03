"""Whole rounds in seconds: what each learns from, what is measured, and that a second call makes what is missing."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from posttrain import cli
from posttrain.assembly.parts import load_frozen
from posttrain.commands import score
from posttrain.data.jsonl import read_rows
from posttrain.data.records import Prompt
from posttrain.rounds import answers, settings
from posttrain.training.run_folder import RunLock
from posttrain.worlds.reviews.lexicon import sentiment
from tests.rounds.tiny_rounds import write_rounds
from tests.tiny_studies import count_runs

POLICIES = ["first", "round 1", "round 2"]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rounds")
    assert cli.main(["iterate", str(write_rounds(folder)), "--out", str(folder / "out")]) == 0
    return folder / "out"


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return count_runs(monkeypatch)


def again(out: Path, *more: str) -> dict[str, Any]:
    assert cli.main(["iterate", str(out.parent / "rounds.yaml"), "--out", str(out), *more]) == 0
    return results(out)


def results(out: Path) -> dict[str, Any]:
    return json.loads((out / "results.json").read_text())


def part(out: Path, name: str) -> Path:
    (found,) = [it for it in out.iterdir() if it.name.rpartition("-")[0] == name]
    return found


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in read_rows(path)]


def test_every_policy_is_measured_by_every_judge(done: Path):
    found = results(done)
    assert found["policies"] == POLICIES
    assert found["is_complete"]
    for name in POLICIES:
        for number in ("gold", "judge", "learned", "kl", "length", "repetition"):
            cell = found["measures"][name][number]
            assert cell["low"] - 1e-9 <= cell["mean"] <= cell["high"] + 1e-9
            assert cell["n"] == 6
    kl = [found["measures"][name]["kl"]["mean"] for name in POLICIES]
    assert kl[0] == 0
    assert min(kl[1:]) > 1e-4


def test_the_gold_reward_is_that_of_the_recorded_responses(done: Path):
    found = results(done)
    for name in POLICIES:
        rows = rows_of(done / found["folders"][name] / "responses.jsonl")
        assert [row["gold"] for row in rows] == pytest.approx([sentiment(row["response"]) for row in rows], abs=1e-6)
        assert found["measures"][name]["gold"]["mean"] == pytest.approx(sum(row["gold"] for row in rows) / 6)


def test_policies_are_measured_by_one_sample_each_with_the_same_random_numbers(done: Path):
    config, found = settings.load(done.parent / "rounds.yaml"), results(done)
    for name, model in zip(POLICIES, ("sft", "round1-2-ppo", "round2-dpo"), strict=True):
        rows = rows_of(done / found["folders"][name] / "responses.jsonl")
        prompts = [Prompt(row["prompt"]) for row in rows]
        drawn = answers.sample(str(part(done, model) / "model"), prompts, config.reward_model.data, 1, 12, 0)
        assert [row["response"] for row in rows] == [text for _, (text,) in drawn]


def test_who_beats_whom_follows_from_the_scores(done: Path):
    """Of each judge; the reward model is that of the last round, for all policies."""
    found = results(done)
    columns = [rows_of(done / found["folders"][name] / "responses.jsonl") for name in POLICIES]
    scores = {judge: [[row[judge] for row in rows] for rows in columns] for judge in ("gold", "judge")}
    scores["learned"] = json.loads((part(done, "round2-judged") / "part.json").read_text())["scores"]
    assert set(found["win_rates"]) == set(scores)
    for judge, own in scores.items():
        for i, row in enumerate(own):
            for j, column in enumerate(own):
                wins = [0.5 if a == b else float(a > b) for a, b in zip(row, column, strict=True)]
                assert found["win_rates"][judge][i][j]["mean"] == pytest.approx(sum(wins) / 6)
        for i in (0, 1):
            rise = sum(b - a for a, b in zip(own[i], own[i + 1], strict=True)) / 6
            assert found["rises"][judge][i]["mean"] == pytest.approx(rise)


def test_the_reward_model_s_scores_are_those_of_posttrain_score(done: Path, tmp_path: Path):
    found = results(done)
    folder = done / found["folders"]["round 1"]
    rows = [{"prompt": row["prompt"], "response": row["response"]} for row in rows_of(folder / "responses.jsonl")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    score.main(str(part(done, "round2-reward_model") / "model"), tmp_path / "rows.jsonl", tmp_path / "scored.jsonl")
    ours = json.loads((part(done, "round2-judged") / "part.json").read_text())["scores"][1]
    assert [row["normalized_score"] for row in rows_of(tmp_path / "scored.jsonl")] == pytest.approx(ours, abs=1e-4)


def test_each_round_s_samples_are_of_the_newest_policy(done: Path):
    config = settings.load(done.parent / "rounds.yaml")
    for number, model in ((1, "sft"), (2, "round1-2-ppo"), (3, "round2-dpo")):
        written = answers.read_answers(part(done, f"round{number}-answers"))
        drawn = answers.sample(
            str(part(done, model) / "model"), [prompt for prompt, _ in written], config.reward_model.data, 3, 12,
            1000 * number,
        )  # fmt: skip
        assert written == drawn
        assert len(written) == (12, 12, 5)[number - 1]


def test_a_reward_model_learns_from_all_rounds_and_no_prompt_serves_twice(done: Path):
    first, second, last = (part(done, f"round{number}-labels") for number in (1, 2, 3))
    seen = [row["prompt"] for it in (first, second, last) for name in ("train", "held_out")
            for row in (rows_of(it / f"{name}.jsonl") if (it / f"{name}.jsonl").stat().st_size else [])]  # fmt: skip
    assert len(seen) == len(set(seen)) == 12 + 12 + 5
    assert not (last / "train.jsonl").stat().st_size
    for name, file in (("train", "train"), ("evaluation", "held_out")):
        both = [row["prompt"] for it in (first, second) for row in rows_of(it / f"{file}.jsonl")]
        assert [row["prompt"] for row in rows_of(part(done, "round2-preferences") / f"{name}.jsonl")] == both
        assert len(rows_of(part(done, "round1-preferences") / f"{name}.jsonl")) == len(both) / 2
    newest = [row["prompt"] for row in rows_of(part(done, "round2-preferences") / "newest.jsonl")]
    assert newest == [row["prompt"] for row in rows_of(second / "train.jsonl")]
    ids = [row["id"] for row in rows_of(part(done, "round2-preferences") / "train.jsonl")]
    assert ids[0].startswith("round1-")
    assert ids[-1].startswith("round2-")


def test_sure_annotators_prefer_by_the_true_reward(done: Path):
    for row in rows_of(part(done, "round1-labels") / "train.jsonl"):
        for first, second, label, _ in row["pairs"]:
            ahead = sentiment(row["responses"][first]) - sentiment(row["responses"][second])
            if abs(ahead) > 0.1:  # at 100 logits per unit: wrong once in e^10
                assert label == (1 if ahead > 0 else 2)


def test_the_best_answers_are_those_that_the_new_reward_model_scores_highest(done: Path, tmp_path: Path):
    asked = rows_of(part(done, "round1-answers") / "answers.jsonl")[:-4]
    rows = [{"prompt": row["prompt"], "responses": row["responses"]} for row in asked]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    score.main(str(part(done, "round1-reward_model") / "model"), tmp_path / "rows.jsonl", tmp_path / "scored.jsonl")
    scored = rows_of(tmp_path / "scored.jsonl")
    best = [row["responses"][row["scores"].index(max(row["scores"]))] for row in scored]
    chosen = {row["prompt"]: row["response"] for row in rows_of(part(done, "round1-best") / "train.jsonl")}
    assert chosen == {row["prompt"]: text for row, text in zip(scored, best, strict=True) if text.strip()}


def test_a_reward_model_s_accuracy_is_that_of_posttrain_score(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Of both reward models on the samples of all three policies, the last one's among them."""
    found = {(it["of_round"], it["samples_of"]): it for it in results(done)["accuracy"]}
    for number in (1, 2):
        for samples_of in (0, 1, 2):
            labels = part(done, f"round{samples_of + 1}-labels") / "held_out.jsonl"
            score.main(str(part(done, f"round{number}-reward_model") / "model"), labels, tmp_path / "scored.jsonl")
            said = re.search(r"accuracy ([\d.]+) on (\d+) decided pairs", capsys.readouterr().out)
            assert said is not None
            cell = found.pop((number, samples_of))
            assert (f"{cell['mean']:.3f}", str(cell["n"])) == said.groups()
    assert found == {}


def test_the_neutral_judge_has_labels_of_its_own(done: Path):
    """Of other prompts, answered by the first policy at the judge's temperature."""
    rows = [row for name in ("train", "evaluation") for row in rows_of(part(done, "judge_labels") / f"{name}.jsonl")]
    assert len(rows) == 10
    asked = [row["prompt"] for number in (1, 2, 3)
             for row in rows_of(part(done, f"round{number}-answers") / "prompts.jsonl")]  # fmt: skip
    assert not {row["prompt"] for row in rows} & set(asked)
    config = settings.load(done.parent / "rounds.yaml")
    drawn = {
        temperature: [list(texts) for _, texts in answers.sample(
            str(part(done, "sft") / "model"), [Prompt(row["prompt"]) for row in rows], config.reward_model.data, 2, 12,
            0, temperature)]
        for temperature in (1.0, 1.5)
    }  # fmt: skip
    assert [row["responses"] for row in rows] == drawn[1.5] != drawn[1.0]


def test_the_pictures_and_the_page(done: Path):
    for name in ("evolution.png", "win_rates.png"):
        assert (done / name).read_bytes().startswith(b"\x89PNG")
    page = (done / "report.html").read_text()
    assert page.count("<svg") == 8  # gold, KL, win rates, two judges, accuracy, three matrices
    assert "neutral judge" in page


def test_a_second_call_trains_nothing_and_a_changed_round_makes_only_what_follows(done: Path, trained: list[str]):
    before = results(done)
    assert again(done) == before
    assert trained == []
    changed = again(done, 'rounds=[["imitate_best","ppo"],["ppo"]]')
    assert trained == ["train round2-ppo"]
    assert changed["folders"]["round 1"] == before["folders"]["round 1"]
    assert changed["folders"]["round 2"] != before["folders"]["round 2"], "another policy is measured anew"
    assert changed["measures"]["round 2"]["kl"] != before["measures"]["round 2"]["kl"]
    trained.clear()
    assert again(done) == before
    assert trained == []


def without_seconds(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key != "seconds"}


def test_a_stopped_loop_goes_on_to_the_same_numbers(
    done: Path, tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
):
    """Stopped between the two steps of the first round's PPO: what is done stays, PPO goes on, the rest is made."""
    write_rounds(tmp_path)
    from posttrain.training.trainer import Trainer

    one_step, steps = Trainer._one_step, []

    def dying(self: Trainer) -> str | None:
        if "ppo" in trained[-1] and len(steps) == 1:
            raise KeyboardInterrupt
        steps.extend([1] if "ppo" in trained[-1] else [])
        return one_step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_one_step", dying)
        assert cli.main(["iterate", str(tmp_path / "rounds.yaml"), "--out", str(tmp_path / "out")]) == 130
    assert trained[-1] == "train round1-2-ppo"
    trained.clear()
    found = again(tmp_path / "out")
    assert trained == ["resume round1-2-ppo", "train round2-reward_model", "train round2-dpo"]
    assert without_seconds(found) == without_seconds(results(done))


def test_a_model_that_is_there_can_be_the_first_policy(done: Path, tmp_path: Path):
    """And then it is called sft/model as well; the rounds are those of the model that was trained."""
    model = part(done, "sft") / "model"
    text = write_rounds(tmp_path).read_text()
    trained = text[text.index("base:\n") : text.index("labels:\n")]
    judge = text[text.index("judge: {") : text.index("base:\n")]
    text = text.replace(trained, "").replace(judge, f"start: {model}\n")
    (tmp_path / "rounds.yaml").write_text(text)
    found = again(tmp_path / "out")
    assert found["policies"] == POLICIES
    assert "judge" not in found["win_rates"]
    assert found["measures"]["first"]["gold"] == results(done)["measures"]["first"]["gold"]
    for name in POLICIES:
        ours, theirs = (out / it["folders"][name] / "responses.jsonl"
                        for out, it in ((tmp_path / "out", found), (done, results(done))))  # fmt: skip
        assert [row["response"] for row in rows_of(ours)] == [row["response"] for row in rows_of(theirs)]


def test_labels_by_a_reward(tmp_path: Path):
    """Of two answers the one with the higher reward, a tie within the margin; without any gold reward."""
    text = write_rounds(
        tmp_path, ("simulated: {scale: 100.0}\nreward", "judge: {reward: {kind: length}, tie_margin: 1.0}\nreward")
    )
    whole = text.read_text()
    judge = whole[whole.index("judge: {kind") : whole.index("base:\n")]
    text.write_text(whole.replace(judge, "").replace("gold: {kind: reviews_sentiment}\n", ""))
    found = again(tmp_path / "out")
    assert list(found["win_rates"]) == ["learned"]
    _, start = load_frozen(str(part(tmp_path / "out", "sft") / "model"))
    labels = []
    for row in rows_of(part(tmp_path / "out", "round1-labels") / "train.jsonl"):
        lengths = [len(start.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in row["responses"]]
        for first, second, label, annotator in row["pairs"]:
            ahead = lengths[first] - lengths[second]
            labels.append(label)
            assert annotator == "judge"
            if abs(ahead) > 2:  # the end token counts, and a sampled text may be read in fewer tokens
                assert label == (1 if ahead > 0 else 2)
    assert 0 in labels


def test_two_at_once_and_a_foreign_folder_are_refused(done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = str(done.parent / "rounds.yaml")
    lock = RunLock.acquire(done)
    assert cli.main(["iterate", path, "--out", str(done)]) == 2
    lock.release()
    assert "wait for its end" in capsys.readouterr().err
    (tmp_path / "notes.txt").write_text("mine")
    assert cli.main(["iterate", path, "--out", str(tmp_path)]) == 2
    assert "is not empty and holds no study" in capsys.readouterr().err
