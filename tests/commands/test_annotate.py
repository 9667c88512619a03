"""`posttrain annotate`: its actions from the command line."""

import json
import re
import subprocess
import sys

import pytest

pytest.importorskip("fastapi", reason="annotation needs the extra: pip install 'posttrain[annotate]'")

from posttrain import cli
from posttrain.annotation.formats.catalogue import FORMATS
from posttrain.commands import annotate


def test_from_items_to_a_file_to_train_on(tmp_path, capsys):
    folder, rows = str(tmp_path / "p"), tmp_path / "items.jsonl"
    questions = [f"question: Who made {n}? context: wikipage: {n} text: {n} was made by Badle." for n in range(3)]
    rows.write_text("".join(f'{{"prompt": "{text}", "responses": ["a", "b", "c"]}}\n' for text in questions))
    scores = tmp_path / "scores.jsonl"
    scores.write_text(
        "".join(f'{{"prompt": "{text}", "responses": ["a", "b", "c"], "scores": [0, 2, 1]}}\n' for text in questions)
    )
    assert cli.main(["annotate", "init", folder, "--overlap", "1"]) == 0
    assert re.fullmatch(r"http://127\.0\.0\.1:8000/join#[\w-]{24}\n", capsys.readouterr().out)
    assert cli.main(["annotate", "import", folder, str(rows)]) == 0
    assert "3 items, 9 tasks" in capsys.readouterr().out
    assert cli.main(["annotate", "simulate", folder, "--annotators", "2", "--scores", str(scores)]) == 0
    assert "within" in capsys.readouterr().out
    out = tmp_path / "out.jsonl"
    assert cli.main(["annotate", "export", folder, "--out", str(out)]) == 0
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert sum(len(row["pairs"]) for row in found) == 9
    again = str(tmp_path / "from_elsewhere")
    for arguments in (
        ["init", again],
        ["import", again, str(out), "--format", "comparisons", "--votes"],
        ["export", again, "--out", str(tmp_path / "again.jsonl")],
    ):
        assert cli.main(["annotate", *arguments]) == 0
    assert (tmp_path / "again.jsonl").read_bytes() == out.read_bytes()
    capsys.readouterr()
    assert cli.main(["annotate", "backup", folder, "--out", str(tmp_path / "b.zip")]) == 0
    assert cli.main(["annotate", "restore", str(tmp_path / "b.zip"), str(tmp_path / "again")]) == 0
    assert capsys.readouterr().out.count("3 items, 9 votes, 2 people") == 2


def test_samples_of_several_models_become_items(tmp_path, capsys):
    """Rows are written by the function that `posttrain sample` writes them with."""
    from posttrain.commands import sample
    from posttrain.data.records import Prompt

    folder, paths = str(tmp_path / "p"), [tmp_path / f"{name}.jsonl" for name in ("sft", "ppo")]
    prompts = [Prompt(f"p{n}", f"i{n}", ("ref",), {"fact": [n]}) for n in range(3)]
    for path, texts in zip(paths, (["a"], ["b", "c"]), strict=True):
        path.write_text("".join(json.dumps(sample._row(prompt, texts)) + "\n" for prompt in prompts))
    assert cli.main(["annotate", "init", folder, "--mode", "rank"]) == 0
    assert cli.main(["annotate", "import", folder, *map(str, paths)]) == 0
    assert "ppo.jsonl: 3 items, 3 tasks" in capsys.readouterr().out
    out = tmp_path / "out.jsonl"
    assert cli.main(["annotate", "export", folder, "--format", "responses", "--out", str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["id"], row["references"], row["facts"]) for row in rows] == [
        (f"i{n}", ["ref"], {"fact": [n]}) for n in range(3)
    ]
    assert [sorted(zip(row["models"], row["responses"], strict=True)) for row in rows] == [
        [("ppo", "b"), ("ppo", "c"), ("sft", "a")]
    ] * 3
    assert cli.main(["annotate", "import", folder, *map(str, paths), "--format", "trl"]) == 2
    assert "one by one" in capsys.readouterr().err


def test_items_are_scored_and_the_next_pairs_are_chosen(tmp_path, capsys):
    """What `export --format responses` writes of items without votes is what `posttrain score` reads."""
    from posttrain.commands import score

    folder, rows, out = str(tmp_path / "p"), tmp_path / "items.jsonl", tmp_path / "out.jsonl"
    rows.write_text(
        "".join(f'{{"prompt": "p{n}", "responses": ["a", ""], "models": ["m", "n"], "id": "i{n}"}}\n' for n in range(6))
    )
    for arguments in (["init", folder], ["import", folder, str(rows)]):
        assert cli.main(["annotate", *arguments]) == 0
    assert cli.main(["annotate", "export", folder, "--format", "responses", "--out", str(out)]) == 0
    scored = score.read(out)
    assert [(row.prompt, row.responses) for row in scored] == [(f"p{n}", ("a", "")) for n in range(6)]
    paths = []
    for seed in (1, 2):
        paths.append(tmp_path / f"scores{seed}.jsonl")
        statistics = score.ScoreStatistics(mean=0.0, std=1.0, num_responses=2)
        values = [[float(seed * n % 5), 0.0] for n in range(6)]
        found = [score.with_scores(row, some, statistics) for row, some in zip(scored, values, strict=True)]
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in found))
    scores = [word for path in paths for word in ("--scores", str(path))]
    capsys.readouterr()
    assert cli.main(["annotate", "choose", folder, *scores, "--num", "5", "--seed", "3"]) == 0
    assert "5 pairs are asked next: 1 of the random arm, 4 of the active one; 1 wait" in capsys.readouterr().out
    assert cli.main(["annotate", "choose", folder]) == 0
    assert "6 pairs are asked next" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["choose", "{}/nothing"], "annotate init"),
        (["serve", "{}/nothing"], "annotate init"),
        (["import", "{}/nothing", "x.jsonl"], "annotate init"),
        (["init", "{}", "--overlap", "0"], "overlap"),
        (["restore", "{}/x.zip", "{}/y"], "no backup"),
    ],
)
def test_what_a_user_can_mend_is_one_line(tmp_path, capsys, arguments, told):
    (tmp_path / "file").touch()
    assert cli.main(["annotate", *(word.format(tmp_path) for word in arguments)]) == 2
    assert told in capsys.readouterr().err


def test_another_address_is_refused_without_a_proxy(tmp_path, capsys):
    cli.main(["annotate", "init", str(tmp_path / "p")])
    assert cli.main(["annotate", "serve", str(tmp_path / "p"), "--host", "0.0.0.0"]) == 2
    assert "--public-url" in capsys.readouterr().err


def test_the_formats_are_those_of_the_catalogue():
    assert tuple(FORMATS) == annotate.FORMATS


def test_the_server_runs_without_torch():
    code = (
        "import sys, posttrain.annotation.web.server, posttrain.annotation.serving, "
        "posttrain.annotation.statistics.summary; print([n for n in ('torch', 'transformers') if n in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
