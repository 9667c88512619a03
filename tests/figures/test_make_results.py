"""docs/make_results.py writes what the run folders hold, and leaves the other tables alone."""

import importlib.util
import json
from pathlib import Path

import pytest

from tests.figures.quickstart_folder import write_folder

SCRIPT = Path(__file__).parents[2] / "docs" / "make_results.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_results", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(script, *sections: str) -> str:
    return "\n\n".join(["# Results\n\nSome words.", script.MARK.strip(), *sections]) + "\n"


def test_a_table_says_what_the_summary_says(script, tmp_path):
    run = write_folder(tmp_path / "decoder_only-3", seed=3)
    text = script.table(run, "A machine")
    summary = json.loads((run / "summary.json").read_text())
    assert text.startswith("## decoder_only, seed 3\n\n| model | Gold reward |")
    (ppo,) = [line for line in text.splitlines() if line.startswith("| PPO |")]
    gold = summary["models"]["ppo"]["gold_reward"]
    assert ppo.split(" | ")[1] == f"{gold['mean']:.2f} [{gold['low']:.2f}, {gold['high']:.2f}]"
    assert "A machine: 287 s (sft 61, labels 12, reward model 40, ppo 119, dpo 32, evaluation 22)." in text
    assert "orders 0.764 of 600 unseen decided pairs" in text


def test_faults_are_counted_by_model_and_kind(script, tmp_path):
    rows = [
        {"model": "a", "faults": [{"kind": "Unverifiable"}, {"kind": "Redundant"}]},
        {"model": "a", "faults": [{"kind": "Wrong-Grounding"}]},
        {"model": "b", "faults": []},
    ]
    (tmp_path / "evaluation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert script.count_faults(tmp_path / "evaluation.jsonl") == {"a": [2, 0, 1], "b": [0, 0, 0]}


def test_only_the_tables_of_the_given_runs_are_replaced(script):
    tables = [f"## {name}\n\nold {name}" for name in ("encoder_decoder, seed 0", "decoder_only, seed 0")]
    new = {f"## {name}": f"## {name}\n\nnew {name}\n" for name in ("decoder_only, seed 0", "encoder_decoder, seed 1")}
    written = script.replace_tables(page(script, *tables), new)
    expected = [tables[0], "## encoder_decoder, seed 1\n\nnew encoder_decoder, seed 1", "## decoder_only, seed 0\n\nnew decoder_only, seed 0"]  # fmt: skip  # noqa: E501
    assert written == page(script, *expected)
    assert script.replace_tables(written, {}) == written
    assert script.replace_tables(page(script), {}) == page(script)


def test_the_committed_page_is_one_that_can_be_written_to(script):
    text = (SCRIPT.parent / "results.md").read_text()
    assert text.count(script.MARK) == 1
    assert script.replace_tables(text, {}) == text


def test_seeds_are_in_the_order_of_numbers(script):
    tables = [f"## decoder_only, seed {seed}\n\nof {seed}" for seed in (2, 10)]
    assert script.replace_tables(page(script, *reversed(tables)), {}) == page(script, *tables)


@pytest.mark.parametrize("lost", ["# No mark\n", "{mark}\nwords\n\n## encoder_decoder, seed 0\n", "{mark}{mark}"])
def test_a_page_that_would_lose_something_is_left_alone(script, tmp_path, lost):
    run, text = write_folder(tmp_path / "some-0"), lost.format(mark=script.MARK)
    (tmp_path / "results.md").write_text(text)
    with pytest.raises(SystemExit, match="below one line <!-- tables --> there have to be tables only"):
        script.main("A machine", str(run), docs=tmp_path)
    with pytest.raises(SystemExit, match="same name"):
        script.main("A machine", str(run), str(run), docs=tmp_path)
    assert (tmp_path / "results.md").read_text() == text


def test_one_run_is_drawn_and_the_page_written(script, tmp_path, monkeypatch):
    run = write_folder(tmp_path / "some-0")
    (tmp_path / "results.md").write_text(page(script))
    script.main("A machine", str(run), docs=tmp_path)
    assert not (tmp_path / "results.png").exists()
    monkeypatch.setattr(script, "DRAWN", "some-0")
    script.main("A machine", str(run), docs=tmp_path)
    assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "results.md").read_text() == page(script, script.table(run, "A machine").strip())
