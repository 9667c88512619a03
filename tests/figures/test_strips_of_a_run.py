"""A tiny PPO run with a reward of spans and one of whole answers, from its YAML file to the strips of its report."""

import json
from pathlib import Path

import pytest
import torch

from posttrain import config, run
from posttrain.data.span_labels import SpanSettings
from posttrain.evaluation.reward_spans import read_reward_spans
from posttrain.figures.report import write_run
from posttrain.models.loading import load_tokenizer, new_span_scorer
from posttrain.models.spans.report import Moments, SpanReport, write_span_report
from tests.figures.test_report import Outline
from tests.tiny_models import WORDS

LENGTH = 9


def write_span_model(folder: Path, language_model: Path) -> Path:
    """It judges each word that begins with a consonant early in the alphabet."""
    torch.manual_seed(4)
    classes = [{"kinds": ["wrong"]}]
    spans = SpanSettings.model_validate({"pattern": r"[bcd]\w", "classes": classes})
    new_span_scorer(str(language_model), 0.0, spans).save(folder)
    load_tokenizer(str(language_model)).save_pretrained(folder)
    moments = Moments(mean=0.0, std=1.0)
    report = SpanReport(
        num_responses=1, num_spans=1, accuracy=1, majority_accuracy=1, macro_f1=1, majority_macro_f1=1,
        calibration_error=0, classes={}, expected=moments, likeliest=moments,
    )  # fmt: skip
    write_span_report(folder, report)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model_folder) -> Path:
    path = tmp_path_factory.mktemp("run")
    prompts = path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"{one} {other}"}) + "\n" for one in WORDS[:4] for other in WORDS))
    data = {"source": "prompt_jsonl", "path": str(prompts)}
    settings = {
        "model": {"path": str(model_folder("t5"))},
        "algorithm": {"name": "ppo"},
        "data": {"train": data, "evaluation": data, "max_prompt_tokens": 12, "max_response_tokens": LENGTH},
        "rollout": {"engine": "in_process", "max_new_tokens": LENGTH},
        "rewards": [
            {"kind": "span_model", "name": "early", "model": str(write_span_model(path / "spans", model_folder("t5")))},
            {"kind": "length", "name": "length", "weight": -0.1},
        ],
        "training": {"num_steps": 2, "batch_size": 4, "learning_rate": 0.01},
        "evaluation": {"every": 2, "generate": True, "decoding": "sampling", "num_examples": 30},
        "num_threads": 1,
    }
    (path / "run.yaml").write_text(json.dumps(settings))  # JSON is YAML
    return run.train(config.load(path / "run.yaml", out=str(path / "ppo")), path / "ppo")


def test_every_evaluation_keeps_the_spans_of_its_generations(folder):
    tables = sorted(file.name for file in (folder / "generations").iterdir())
    assert tables == sorted(file.name for file in (folder / "reward_spans").iterdir())
    assert "step_2.jsonl" in tables
    for name in tables:
        rows = [json.loads(line) for line in (folder / "generations" / name).read_text().splitlines()]
        answers = read_reward_spans(folder / "reward_spans" / name)
        assert [(row["prompt"], row["output"]) for row in rows] == [(it.prompt, it.output) for it in answers]
        for row, answer in zip(rows, answers, strict=True):
            for reward in ("early", "length"):
                total = sum(value for _, _, value in answer.rewards[reward])
                assert total == pytest.approx(row[f"reward/{reward}"], abs=1e-5)
            assert answer.rewards["length"] == [(0, len(answer.output), row["length"])]
            ends = [start + 2 for start in range(0, len(answer.output), 3) if answer.output[start] in "bcd"]
            assert [end for _, end, _ in answer.rewards["early"]] == ends
    assert {0, 1} < {len(answer.rewards["early"]) for answer in answers}
    assert {0.0, 1.0} == {row["cut_share"] for row in rows}, "some were cut, others ended"


def test_metrics_count_the_spans(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    of_rollouts = [line for line in lines if "rollout/reward" in line]
    assert len(of_rollouts) == 2
    for line in of_rollouts:
        assert line["rollout/judged_spans/length"] == 1
        assert line["rollout/reward_per_span/length"] == pytest.approx(line["rollout/length"])
        spans, mean = line["rollout/judged_spans/early"], line["rollout/reward_per_span/early"]
        assert 0 < spans < LENGTH
        assert spans * mean == pytest.approx(line["rollout/reward/early"])


def test_the_report_has_a_strip_for_each_reward_of_each_shown_answer(folder):
    outline = Outline(write_run(folder).read_text())
    answers = read_reward_spans(folder / "reward_spans" / "step_2.jsonl")[:8]
    labels = [attrs["aria-label"] for attrs in outline.all("section") if "aria-label" in attrs]
    assert labels == ["early", "length"] * 8
    judged = [it.output[start:end] for it in answers for start, end, _ in it.rewards["early"]]
    words = outline.words("mark")
    assert [word for word in words if word != "whole answer"] == judged
    assert words.count("whole answer") == 8
    assert len(judged) > 3
