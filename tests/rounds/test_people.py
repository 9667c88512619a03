"""Rounds that wait for people, who here are simulated and work over HTTP."""

import json
import time
from pathlib import Path

import pytest
from rich.console import Console

from posttrain import cli
from posttrain.data.jsonl import read_rows
from posttrain.data.records import Pair, Prompt
from posttrain.rounds import people
from posttrain.rounds.settings import PeopleLabels
from posttrain.worlds.reviews.lexicon import sentiment
from tests.rounds.tiny_rounds import write_rounds

pytest.importorskip("sqlalchemy")

BY_PEOPLE = (
    "  simulated: {scale: 100.0}\nreward",
    "  people: {project: {overlap: 1, must_read_guidelines: false, lease_minutes: 0.03}}\nreward",
)
ONE_ROUND = ("rounds: [[imitate_best, ppo], [dpo]]", "rounds: [[dpo]]")
NONE_AFTER = ("  num_after_last: 5\n", "")


def iterate(folder: Path, *more: str) -> int:
    return cli.main(["iterate", str(folder / "rounds.yaml"), "--out", str(folder / "out"), *more])


def project_of(out: Path) -> Path:
    (found,) = out.glob("round1-people-*")
    return found


def answer_all(project: Path, tmp_path: Path, num_each: int | None = None) -> None:
    """By the true reward, as `posttrain score` would write it."""
    from posttrain.annotation import serving
    from posttrain.annotation.project import open_project
    from posttrain.annotation.store import reading

    opened = open_project(project)
    with opened.store.reading() as connection:
        items = reading.read_items(connection)
    with open(tmp_path / "scores.jsonl", "w", encoding="utf-8") as file:
        for item in items:
            texts = [response.text for response in item.responses]
            row = {"prompt": item.prompt.text, "responses": texts, "scores": [10 * sentiment(text) for text in texts]}
            file.write(json.dumps(row) + "\n")
    serving.simulate(opened, None, (2, num_each, 0), tmp_path / "scores.jsonl")
    opened.store.close()


def test_a_round_waits_for_people_and_goes_on_with_what_they_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_rounds(tmp_path, BY_PEOPLE, ONE_ROUND, NONE_AFTER)
    assert iterate(tmp_path, "--no-wait") == 0
    project = project_of(tmp_path / "out")
    told = capsys.readouterr().out
    assert f"posttrain annotate serve {project}" in told.replace("\n", "")
    assert "Waiting for people" in told
    assert not (tmp_path / "out" / "results.json").exists()
    answer_all(project, tmp_path, num_each=1)
    assert iterate(tmp_path, "--no-wait") == 0
    assert "2 of 36 answers" in capsys.readouterr().out, "and still waits"
    time.sleep(2)  # until what the two were shown last is free again
    assert not (tmp_path / "out" / "results.json").exists()
    answer_all(project, tmp_path)
    assert iterate(tmp_path) == 0
    assert json.loads((tmp_path / "out" / "results.json").read_text())["is_complete"]
    (folder,) = (tmp_path / "out").glob("round1-labels-*")
    labels = [pair for name in ("train", "held_out") for _, row in read_rows(folder / f"{name}.jsonl")
              for pair in row["pairs"]]  # fmt: skip
    assert len(labels) >= 12
    assert {annotator.partition("-")[0] for *_, annotator in labels} == {"simulated"}
    (answered,) = (tmp_path / "out").glob("round1-answers-*")
    asked = {row["prompt"]: row for _, row in read_rows(answered / "answers.jsonl")}
    for name in ("train", "held_out"):
        for _, row in read_rows(folder / f"{name}.jsonl"):
            assert row["responses"] == list(dict.fromkeys(asked[row["prompt"]]["responses"]))
    held_out = [row["prompt"] for _, row in read_rows(folder / "held_out.jsonl")]
    assert set(held_out) <= set(list(asked)[-4:])


def test_settings_that_the_rounds_give_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_rounds(tmp_path, (BY_PEOPLE[0], BY_PEOPLE[1].replace("overlap: 1", "database: x")))
    assert iterate(tmp_path) == 2
    assert "labels.people.project.database: is given by the rounds" in capsys.readouterr().err
    write_rounds(tmp_path, (BY_PEOPLE[0], BY_PEOPLE[1].replace("overlap: 1", "overlapp: 1")))
    assert iterate(tmp_path) == 2
    assert "overlapp" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_project_that_was_not_finished_is_made_again(tmp_path: Path):
    """Killed between making the project and filling it."""
    write_rounds(tmp_path, BY_PEOPLE, ONE_ROUND, NONE_AFTER)
    assert iterate(tmp_path, "--no-wait") == 0
    project = project_of(tmp_path / "out")
    project.rename(project.with_name(f"{project.name}.unfinished"))
    assert iterate(tmp_path, "--no-wait") == 0
    assert project.exists()
    assert not project.with_name(f"{project.name}.unfinished").exists()


def test_counting_votes_otherwise_asks_nobody_again(tmp_path: Path):
    """The majority's labels, where each person's were taken, come from the same project."""
    write_rounds(tmp_path, BY_PEOPLE, ONE_ROUND, NONE_AFTER)
    assert iterate(tmp_path, "--no-wait") == 0
    answer_all(project_of(tmp_path / "out"), tmp_path)
    assert iterate(tmp_path) == 0
    assert iterate(tmp_path, "--no-wait", "labels.people.voices=majority") == 0
    each, majority = (
        {len(pair) for name in ("train", "held_out") for _, row in read_rows(folder / f"{name}.jsonl")
         for pair in row["pairs"]}
        for folder in sorted((tmp_path / "out").glob("round1-labels-*"), key=lambda it: it.stat().st_mtime)
    )  # fmt: skip
    assert each == {4}  # with the annotator's name
    assert majority == {3}


def test_a_final_answer_is_the_majority_s_label(tmp_path: Path):
    """Two said the first, the administrator the second."""
    from posttrain.annotation.administration.imported_votes import add_votes
    from posttrain.annotation.project import open_project
    from posttrain.annotation.records import ADJUDICATION, PairVote

    settings = PeopleLabels(project={"overlap": 2}, voices="majority")
    answered = [(Prompt("Why?"), ("one", "two"))]
    with pytest.raises(people.Waiting):
        people.collect(tmp_path / "p", answered, settings, False, Console(quiet=True))
    project = open_project(tmp_path / "p")
    with project.store.writing() as connection:
        said = [("ann", "first"), ("bob", "first"), (ADJUDICATION, "second")]
        add_votes(connection, project, [PairVote("prompt-1", who, 0, 0, 0, 1, what, True) for who, what in said])
    project.store.close()
    (found,) = people.collect(tmp_path / "p", answered, settings, False, Console(quiet=True))
    assert found.pairs == (Pair(0, 1, 2),)


def test_answers_that_are_the_same_are_asked_once(tmp_path: Path):
    from posttrain.annotation.project import open_project
    from posttrain.annotation.store import reading

    answered = [(Prompt("p"), ("a", "a", "b")), (Prompt("q"), ("c", "c", "c"))]
    with pytest.raises(people.Waiting):
        people.collect(tmp_path / "project", answered, PeopleLabels(), should_wait=False, console=Console())
    with open_project(tmp_path / "project").store.reading() as connection:
        (item,) = reading.read_items(connection)
        assert [response.text for response in item.responses] == ["a", "b"]
        assert reading.progress(connection, 2).num_places == 2
