"""A diagnostic that a run provokes is told of once, in the log, on the console and in the report, killed or not."""

import json
from pathlib import Path

import pytest

from posttrain.data.jsonl import write_rows
from posttrain.figures.report import write_report
from tests.resume.small_runs import Command, bits, config_of, write_config

TRIPPED_AT = 5  # the first step with a mean over five batches
THRESHOLD = 5.0
WORDS = ("aa", "be", "ci", "do", "eu")
ONE_STEP = "posttrain.training.trainer.Trainer._one_step"


def diagnostics_of(run: Path) -> list[dict]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if "diagnostic" in line]


@pytest.fixture(scope="module")
def displaced(material: Path, tmp_path_factory) -> Path:
    """DPO on pairs that differ in one word, after SFT on the chosen ones, at a learning rate that is far too high.

    Likelihood displacement as Pal et al. 2024 (arXiv:2402.13228, section 3) describe it: each pair is won, and yet the
    chosen response loses its probability.
    """
    folder = tmp_path_factory.mktemp("displaced")
    prompts = [f"{first} {second} {third}" for first in WORDS for second in WORDS for third in WORDS][::5]
    chosen, rejected = "aa be ci do", "aa be ci eu"
    write_rows(folder / "liked.jsonl", [{"prompt": prompt, "response": chosen} for prompt in prompts])
    pairs = [{"prompt": prompt, "chosen": chosen, "rejected": rejected} for prompt in prompts]
    write_rows(folder / "pairs.jsonl", pairs)
    sft, dpo = config_of(material, "sft", 30), config_of(material, "dpo", 9)
    sft["model"]["path"] = str(material / "llama")
    sft["data"]["train"]["path"] = str(folder / "liked.jsonl")
    dpo["model"]["path"] = str(folder / "sft" / "model")
    dpo["data"]["train"]["path"] = str(folder / "pairs.jsonl")
    dpo["data"]["evaluation"]["path"] = str(folder / "pairs.jsonl")
    dpo["training"]["learning_rate"] = 0.05
    dpo["diagnostics"] = {"displacement": THRESHOLD}
    for name, config in (("sft", sft), ("run", dpo)):
        file = write_config(folder / f"{name}.yaml", config)
        code, errors = Command(folder / "errors", "train", file, "--out", folder / name).finish()
        assert code == 0, errors
    return folder


def test_displacement_is_told_of_once(displaced: Path):
    found = {line["diagnostic"]["name"]: line for line in diagnostics_of(displaced / "run")}
    assert len(found) == len(diagnostics_of(displaced / "run"))
    line = found["displacement"]
    logged = [json.loads(text) for text in (displaced / "run" / "metrics.jsonl").read_text().splitlines()]
    trained = [row for row in logged if "train/displacement" in row]
    assert trained[-1]["train/accuracy"] == 1.0, "what is usually looked at is as well as can be"
    values = [row["train/displacement"] for row in trained[:TRIPPED_AT]]
    assert line["step"] == TRIPPED_AT
    assert line["diagnostic"] == {
        "name": "displacement", "metric": "train/displacement", "value": pytest.approx(sum(values) / TRIPPED_AT),
        "threshold": THRESHOLD,
    }  # fmt: skip
    errors = (displaced / "errors").read_text()
    assert errors.count("displacement (nats by which") == 1
    assert f"warning: step {TRIPPED_AT}: displacement (nats by which the chosen responses" in errors


def test_the_report_marks_and_explains_it(displaced: Path):
    html = write_report(displaced / "run").read_text()
    assert "Marked: displacement at step 5." in html
    assert "have become much less likely than they were before training." in html
    assert "they diagnose and do not prophesy" in html


@pytest.mark.parametrize(("dies_before_step", "is_told_again"), [(TRIPPED_AT + 1, True), (8, False)])
def test_killed_and_resumed_tells_the_same(
    displaced: Path, tmp_path: Path, dies_before_step: int, is_told_again: bool
) -> None:
    """Checkpoints are of steps 3 and 6: of what is told of at step 5, the first does not know and the second does."""
    run, errors_file = tmp_path / "run", tmp_path / "errors"
    file, moment = displaced / "run.yaml", (ONE_STEP, dies_before_step)
    assert Command(errors_file, "train", file, "--out", run, die_at=moment).finish()[0] == -9
    assert len(diagnostics_of(run)) >= 1
    code, errors = Command(errors_file, "resume", run).finish()
    assert code == 0, errors
    assert ("displacement (nats by which" in errors) is is_told_again
    assert bits(run) == bits(displaced / "run")
