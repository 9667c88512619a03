"""The whole study in small: every part, its tables, pictures and page, and that nothing is made twice."""

import json
from pathlib import Path

import pytest

from posttrain import cli, quickstart, run
from posttrain.reproduce import fine_grained

SHORT = {
    "num_steps: 30, batch_size: 32, minibatch_size: 64": "num_steps: 6, batch_size: 4, minibatch_size: 16",
    "num: 2000": "num: 24",
    "num: 1000": "num: 16",
    "num: 64": "num: 4",
    "num_epochs: 3": "num_epochs: 1",
    "max_new_tokens: 96": "max_new_tokens: 24",
}


def shortened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (fine_grained, quickstart):
        copies = folder / module.__name__
        for file in sorted(module.CONFIGS.rglob("*.yaml")):
            text = file.read_text()
            for long, short in SHORT.items():
                text = text.replace(long, short)
            copy = copies / file.relative_to(module.CONFIGS)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(text)
        monkeypatch.setattr(module, "CONFIGS", copies)
    for name, value in {"NUM_LABELLED": 24, "NUM_HELD_OUT": 8, "NUM_EVALUATED": 6}.items():
        monkeypatch.setattr(fine_grained, name, value)


@pytest.mark.parametrize("family", ["encoder_decoder", pytest.param("decoder_only", marks=pytest.mark.slow)])
def test_everything_is_made_once(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    shortened(tmp_path / "configs", monkeypatch)
    out = tmp_path / "study"
    command = ["reproduce", "fine_grained", "--out", str(out), "--family", family, "--seeds", "1"]
    assert cli.main(command) == 0
    results = json.loads((out / "results.json").read_text())
    assert list(results["arms"]) == ["sft", "holistic", "fine_grained", "complete", "precise"]
    for arm in results["arms"].values():
        cells = arm["measures"]
        assert all(cell["low"] <= cell["mean"] <= cell["high"] for cell in cells.values())
        parts = sum(cells[name]["mean"] for name in ("completeness", "factuality", "relevance"))
        assert cells["gold"]["mean"] == pytest.approx(parts, abs=1e-9)
    assert results["arms"]["sft"]["measures"]["kl"]["mean"] == pytest.approx(0.0, abs=1e-6)
    assert len(results["curves"]["fine_grained"][0]["gold"]) == 6
    assert set(results["reward_models"]["pair_accuracy"]) == {"overall", "completeness", "factuality", "relevance"}
    for name in ("learning_curves.png", "trade_off.png", "report.html"):
        assert (out / name).stat().st_size > 10_000
    said = capsys.readouterr().out
    assert "Fine-grained minus holistic" in said
    before = {path: path.stat().st_mtime_ns for path in out.rglob("metrics.jsonl")}
    monkeypatch.setattr(run, "train", lambda *_: pytest.fail("a finished part was trained again"))
    assert cli.main(command) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("metrics.jsonl")} == before
    assert json.loads((out / "results.json").read_text())["arms"] == results["arms"]


def test_no_seed_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["reproduce", "fine_grained", "--out", str(tmp_path / "x"), "--seeds", "0"]) == 2
    assert "--seeds" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
