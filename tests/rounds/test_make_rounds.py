"""docs/make_rounds.py: tables over seeds, by hand where the numbers are simple."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from posttrain.data.jsonl import write_rows

SCRIPT = Path(__file__).parents[2] / "docs" / "make_rounds.py"
GOLD = {"first": ([0.0, 0.2], [0.2, 0.0]), "round 1": ([0.5, 0.1], [0.3, 0.3])}
"""By seed, of two prompts."""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_rounds", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_run(folder: Path, seed: int) -> Path:
    folders = {}
    for name, of_seeds in GOLD.items():
        folders[name] = name.replace(" ", "")
        (folder / folders[name]).mkdir(parents=True)
        rows = [{"gold": gold, "judge": 1.0, "kl": 0.5, "length": 7.0} for gold in of_seeds[seed]]
        write_rows(folder / folders[name] / "responses.jsonl", rows)
    results = {
        "policies": list(GOLD), "folders": folders, "seed": seed, "seconds": {"sft": 10.0, "round1-ppo": 5.0},
        "labels": [{"ceiling": 0.9}, {"ceiling": 0.8}],
        "accuracy": [
            {"of_round": 1, "samples_of": 0, "mean": 0.5 + 0.5 * seed, "n": 10 + 20 * seed},
            {"of_round": 1, "samples_of": 1, "mean": 0.6, "n": 10},
        ],
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "evolution.png").write_bytes(b"picture")
    return folder


def test_the_tables_are_means_over_seeds_and_prompts(script: ModuleType, tmp_path: Path):
    runs = [write_run(tmp_path / f"run-{seed}", seed) for seed in (0, 1)]
    (tmp_path / "rounds.md").write_text(f"# Rounds\n\n{script.MARK}an old table\n")
    script.main("A machine", runs, tmp_path)
    page = (tmp_path / "rounds.md").read_text()
    assert page.startswith("# Rounds\n")
    assert "old table" not in page
    rows: dict[str, list[str]] = {}
    for line in page.splitlines():
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        rows.setdefault(name, cells)  # the first table's, where another has the name too
    assert rows["first"][0].startswith(f"{np.mean(GOLD['first']):.3f} [")
    assert rows["first"][4:] == ["0.50", "0.50"]
    assert rows["round 1"][0].startswith("0.300 [")
    assert rows["round 1"][4].startswith("0.75 [")  # three of four prompts won
    assert rows["round 1 over first"] == [rows["round 1 over first"][0], "+0.200", "+0.200"]
    assert rows["round 1 over first"][0].startswith("0.200 [")
    assert "| round 1 | 0.875 | 0.600 |" in page  # (0.5 · 10 + 1 · 30) / 40
    assert "| the true reward | 0.900 | 0.800 |" in page
    assert page.endswith("A machine: 15, 15 s.\n")
    assert (tmp_path / "rounds.png").read_bytes() == b"picture"
