"""The configs for real input, in the order that docs/real_input.md gives, for a step or two on a few rows each."""

import gzip
import json
from itertools import islice
from pathlib import Path

import pytest

from posttrain import cli

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
DATA = ROOT.parent / "shared" / "data"
FEW = ("data.train.num=4", "data.evaluation.num=2", "training.batch_size=2", "num_threads=1")
REVIEWS = "data.evaluation.start=4"
NUM_REVIEWS = 12
BUILTIN = "{}=builtin/encoder_decoder"
SHORT = ("data.max_prompt_tokens=40", "data.max_response_tokens=24")
ONLINE = ("training.num_steps=2", "training.minibatch_size=2", "rollout.max_new_tokens=6")


@pytest.fixture
def needs(tmp_path, monkeypatch):
    """Skips where the named folders of ../shared/data are not; else starts in a folder that has them beside it.

    IMDB is its first rows only: to read 15,000 takes seconds, each time.
    """

    def start(*names: str) -> None:
        missing = [name for name in names if not (DATA / name).is_dir()]
        if missing:
            pytest.skip(f"the real input is not at ../shared/data: {', '.join(missing)}")
        for folder in ("project", "shared/data/imdb"):
            (tmp_path / folder).mkdir(parents=True)
        for name in set(names) - {"imdb"}:
            (tmp_path / "shared/data" / name).symlink_to(DATA / name)
        if "imdb" in names:
            file = "imdb/train_15k.jsonl.gz"
            with gzip.open(DATA / file) as rows, gzip.open(tmp_path / "shared/data" / file, "wb") as first:
                first.writelines(islice(rows, NUM_REVIEWS))
        monkeypatch.chdir(tmp_path / "project")

    return start


def posttrain(*words: str) -> None:
    assert cli.main(list(words)) == 0


def train(name: str, *overrides: str) -> Path:
    """Run a config for a few steps; its trained model."""
    posttrain("train", str(CONFIGS / f"{name}.yaml"), *FEW, *overrides)
    assert json.loads(Path("runs", name, "status.json").read_text())["state"] == "done"
    return Path("runs", name, "model")


def measures(model: Path, name: str, *overrides: str) -> dict:
    posttrain("evaluate", str(model), "--config", str(CONFIGS / f"{name}.yaml"), "--out", "out.json", *overrides)
    return json.loads(Path("out.json").read_text())["measures"]


def test_imdb_sentiment(needs):
    needs("imdb", "stories260k")
    sft = train("imdb_sentiment/sft", REVIEWS, "training.num_epochs=1")
    classifier = train("imdb_sentiment/classifier", REVIEWS, "training.num_epochs=1")
    ppo = train("imdb_sentiment/ppo", REVIEWS, *ONLINE)
    run_file = Path("run.yaml")
    run_file.write_text((CONFIGS / "imdb_sentiment/ppo.yaml").read_text().replace("num: 10000", "num: 4"))
    sampled, pairs = "runs/imdb_sentiment/samples.jsonl", "runs/imdb_sentiment/pairs.jsonl"
    posttrain("sample", str(sft), "--prompts", str(run_file), "--decoding", "sampling", "--num-samples", "4",
              "--max-new-tokens", "6", "--out", sampled)  # fmt: skip
    posttrain("score", str(classifier), "--data", sampled, "--out", "scored.jsonl", "--pairs", pairs)
    posttrain("train", str(CONFIGS / "imdb_sentiment/dpo.yaml"), "training.num_epochs=1", "training.batch_size=2")
    few = (REVIEWS, "data.evaluation.num=3", "rollout.max_new_tokens=6")
    found = [measures(model, "imdb_sentiment/ppo", *few) for model in (sft, ppo, Path("runs/imdb_sentiment/dpo/model"))]
    assert all(0 < one["reward/is_positive"]["mean"] < 1 for one in found)
    assert found[0]["kl"]["mean"] == pytest.approx(0, abs=1e-6)
    assert min(one["kl"]["mean"] for one in found[1:]) > 1e-4


def test_the_frontier_of_imdb(needs):
    needs("imdb", "stories260k")
    records, online = (
        ("data.train.num=6", "training.batch_size=2"),
        ("training.num_steps=1", "rollout.max_new_tokens=6"),
    )
    held_out = ("data.evaluation.start=6", "data.evaluation.num=3")
    few = {
        "sft": (*records, *held_out, "training.num_epochs=1"),
        "judge": (*records, *held_out, "training.num_epochs=1"),
        "reward_model": ("training.num_epochs=1", "training.batch_size=2"),
        "methods.ppo.run": (*records, *held_out, *online, "training.minibatch_size=2", "evaluation.every=1"),
        "methods.ppo_true.run": (*records, *online, "training.minibatch_size=2"),
        "methods.dpo.run": ("training.num_epochs=1", "evaluation.num_examples=2"),
    }
    shared = (
        "num_threads=1", "max_new_tokens=6", "labels.prompts.num=6", "labels.num_held_out=2", "measuring.num_samples=2",
        "measuring.prompts.start=6", "measuring.prompts.num=4", "methods.best_of_n.best_of=[2]",
    )  # fmt: skip
    settings = [f"{part}.{each}" for part, some in few.items() for each in some]
    posttrain("frontier", str(CONFIGS / "frontier/imdb.yaml"), "--quick", "--out", "out", *settings, *shared)
    points = json.loads(Path("out/results.json").read_text())["points"]
    assert [point["method"] for point in points] == [
        "sft", "best_of_n", "ppo", "ppo_true", "dpo", "dpop", "preferred_sft"
    ]  # fmt: skip
    assert min(point["measures"]["kl"]["mean"] for point in points[1:]) > 1e-5
    assert Path("out/frontier.png").exists()


def test_qa_feedback(needs):
    needs("qa_feedback")
    train("qa_feedback/base", *SHORT, "training.num_epochs=1", "model.tokenizer.vocab_size=400")
    sft = train("qa_feedback/sft", *SHORT, "training.num_epochs=1", "evaluation.every=1")
    best = json.loads(Path("runs/qa_feedback/sft/best/best.json").read_text())
    assert best["metric"] == "eval/rougeL"
    lines = [json.loads(line) for line in Path("runs/qa_feedback/sft/metrics.jsonl").read_text().splitlines()]
    assert {"eval/loss", "eval/rougeL", "eval/rougeLsum"} <= lines[0].keys()
    for name, num in (("relevance_rm", 4), ("factuality_rm", 20)):  # there is no factual error in the first 4 rows
        model = train(f"qa_feedback/{name}", SHORT[0], "training.num_epochs=1", f"data.train.num={num}")
        found = measures(model, f"qa_feedback/{name}", "data.evaluation.num=6", SHORT[0])
        assert {"accuracy", "accuracy_over_majority", "macro_f1_over_majority"} <= found.keys()
    for name in ("completeness_rm", "preference_rm"):
        train(f"qa_feedback/{name}", *SHORT, "training.num_epochs=1")
    few = ("data.evaluation.num=2", "rollout.max_new_tokens=6", *SHORT)
    rewards = {"ppo_fine_grained": {"relevance", "factuality", "completeness"}, "ppo_holistic": {"preference"}}
    for name, names in rewards.items():
        ppo = train(f"qa_feedback/{name}", *SHORT, *ONLINE, "training.learning_rate=0.001")
        before, after = (measures(model, f"qa_feedback/{name}", *few) for model in (sft, ppo))
        assert set(before) >= {"rougeL", "rougeLsum", "length", "cut_share", "kl", *(f"reward/{it}" for it in names)}
        assert before["kl"]["mean"] == pytest.approx(0, abs=1e-6)
        assert after["kl"]["mean"] > 1e-5
    posttrain("sample", str(ppo), "--prompts", str(CONFIGS / "qa_feedback/sft.yaml"), "data.train.num=3",
              "--max-new-tokens", "6", "--out", "test/predictions.jsonl")  # fmt: skip
    assert len(Path("test/generated_predictions.txt").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("imdb_sentiment/ppo", [REVIEWS], "model.path, reference: model runs/imdb_sentiment/sft/model: no such folder"),
        ("imdb_sentiment/sft", ["data.evaluation.start=14000"], "start 14000 and num 2 ask for rows up to 14002"),
        ("imdb_sentiment/sft", ["data.train.path=no.jsonl.gz"], "no.jsonl.gz: "),
        ("qa_feedback/base", ["data.train.records=comparisons"], 'dev.jsonl.gz:1: '),
        ("qa_feedback/completeness_rm", [BUILTIN.format("model.path"), "data.train.records=demonstrations"],
         "dev_feedback.jsonl.gz:1: "),
        ("qa_feedback/ppo_holistic", [BUILTIN.format(name) for name in ("model.path", "value_model.path", "reference")],
         "rewards.0.model: model runs/qa_feedback/preference_rm/model: no such folder; train that model first"),
    ],
)  # fmt: skip
def test_a_wrong_path_split_or_order_is_one_line_and_writes_nothing(name, overrides, message, needs, capsys):
    needs("imdb", "stories260k", "qa_feedback")
    assert cli.main(["train", str(CONFIGS / f"{name}.yaml"), *FEW, *overrides]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("warning: ")]
    assert line.startswith("posttrain: ")
    assert message in line
    assert not Path("runs").exists()
