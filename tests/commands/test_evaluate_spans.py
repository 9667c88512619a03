"""`posttrain evaluate` of a span reward model: the numbers of a direct computation, record by record."""

import json
from pathlib import Path

import pytest
import torch

from posttrain import cli
from posttrain.assembly.records import tokenized
from posttrain.config import DataSettings
from posttrain.data.jsonl import write_rows
from posttrain.data.sources import span_jsonl
from posttrain.data.span_labels import SpanClass, SpanSettings, judged_spans, labelled
from posttrain.models.loading import Pretrained, load_span_scorer, load_tokenizer, new_span_scorer
from tests.tiny_models import write_model

ROWS = [
    {"prompt": "ba", "response": "ce di. fo gu. ha.", "errors": [{"start": 0, "end": 6, "kind": "wrong"}]},
    {"prompt": "be", "responses": ["ce. di. fo.", "gu."], "errors": [[], [{"start": 0, "end": 2, "kind": "wrong"}]]},
    {"prompt": "bi", "response": "ha. ba. da.", "errors": []},
]
SPANS = SpanSettings(segments="sentence", classes=(SpanClass(name="bad", kinds=("wrong",)),))
LIMITS = {"max_prompt_tokens": 12, "max_response_tokens": 40}


@pytest.fixture(params=["t5", "llama"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write_model(request.param, tmp_path / "start")
    torch.manual_seed(3)
    scorer = new_span_scorer(str(tmp_path / "start"), 0.0, SPANS)
    scorer.log_weights.copy_(torch.tensor([0.5, 2.0]).log())
    (tmp_path / "model").mkdir()
    scorer.save(tmp_path / "model")
    load_tokenizer(str(tmp_path / "start")).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def evaluate(model: Path, rows: list[dict], source: str = "span_jsonl") -> tuple[int, Path]:
    folder = model.parent
    write_rows(folder / "data.jsonl", rows)
    choice = {"source": source, "path": str(folder / "data.jsonl")}
    sections = {
        "model": {"path": "a/b"},
        "algorithm": {"name": "sft"},
        "data": {"train": choice, "evaluation": choice, **LIMITS},
        "training": {"num_steps": 1, "batch_size": 1, "learning_rate": 0.1},
    }
    (folder / "run.yaml").write_text(json.dumps(sections))
    words = ["evaluate", str(model), "--config", str(folder / "run.yaml"), "--out", str(folder / "out.json")]
    return cli.main(words), folder / "out.json"


def test_numbers_of_spans(model: Path, capsys: pytest.CaptureFixture[str]):
    code, out = evaluate(model, ROWS)
    assert code == 0
    found = json.loads(out.read_text())
    scorer, tokenizer = load_span_scorer(str(model))
    records = span_jsonl.load(span_jsonl.Config(path=model.parent / "data.jsonl"))
    choice = {"source": "span_jsonl", "path": "x"}
    data = DataSettings.model_validate({"train": choice, **LIMITS})
    rows = tokenized(records, Pretrained(scorer.backbone, tokenizer, ()), data, "test")
    right, said, lost, weights = [], [], 0.0, 0.0
    for row in labelled(rows, SPANS):  # one record at a time
        batch = judged_spans([row], [0.5, 2.0])
        is_end = batch.label >= 0
        with torch.no_grad():
            logits = scorer(batch.sequences, batch.first, is_end)
        label = batch.label[is_end]
        right += (logits.argmax(-1) == label).tolist()
        said += logits.argmax(-1).tolist()
        weight = torch.tensor([0.5, 2.0])[label]
        lost -= float((weight * logits.log_softmax(-1)[torch.arange(len(label)), label]).sum())
        weights += float(weight.sum())
    assert len(right) == 10
    assert found["n"] == 3
    assert found["loss"] == pytest.approx(lost / weights, abs=1e-5)
    assert found["overall"]["spans"] == 10
    assert found["overall"]["majority_accuracy"] == pytest.approx(0.8)
    measures = found["measures"]
    assert measures["accuracy"]["mean"] == pytest.approx(sum(right) / 10)
    assert measures["accuracy_over_majority"]["mean"] == pytest.approx(sum(right) / 10 - 0.8)
    assert measures["accuracy"]["low"] <= measures["accuracy"]["mean"] <= measures["accuracy"]["high"]
    assert ("precision/bad" in measures) == (1 in said)
    assert {"macro_f1", "macro_f1_over_majority", "recall/good", "recall/bad", "f1/bad"} <= measures.keys()
    assert "accuracy_over_majority" in capsys.readouterr().out


def test_other_records_are_refused(model: Path, capsys: pytest.CaptureFixture[str]):
    code, out = evaluate(model, [{"prompt": "ba", "response": "ce."}], "demonstration_jsonl")
    assert code == 2
    assert (
        "data.evaluation: a span reward model is measured by responses whose errors are marked"
        in capsys.readouterr().err
    )
    assert not out.exists()
