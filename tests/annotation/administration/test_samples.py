"""What `posttrain sample` wrote goes into a project as it is, of one model or of several."""

import json
from collections import Counter

import pytest

from posttrain.annotation.administration import imported_votes
from posttrain.annotation.exchange import exported, import_file, import_samples
from posttrain.annotation.records import Response
from posttrain.annotation.statistics.settings import StatisticsSettings
from posttrain.annotation.statistics.summary import summary
from posttrain.annotation.store import reading
from posttrain.errors import InputError
from tests.annotation.votes import vote
from tests.annotation.web.people import Person, app_of

SEVERAL = (
    '{"prompt": "Who made Dalune?", "references": ["Tuton."], "id": "q1", "facts": {"subset": "who"}, '
    '"responses": ["Tuton made it.", ""]}\n'
    '{"prompt": "Why?", "responses": ["Because.", "I do not know."]}\n'
)
ONE_EACH = {
    "sft": [("Who?", "Tuton."), ("Why?", "Because."), ("Why?", "So.")],
    "ppo": [("Why?", "No idea."), ("Who?", "Badle."), ("Why?", "")],
}


def written(folder, samples=ONE_EACH, ending=".jsonl"):
    paths = []
    for name, rows in samples.items():
        paths.append(folder / f"{name}{ending}")
        paths[-1].write_text("".join(json.dumps({"prompt": prompt, "response": text}) + "\n" for prompt, text in rows))
    return paths


def items_of(project):
    with project.store.reading() as connection:
        return reading.read_items(connection)


def test_the_file_of_one_model_as_it_is(make_project, tmp_path):
    (tmp_path / "samples.jsonl").write_text(SEVERAL)
    project = make_project()
    assert import_file(project, tmp_path / "samples.jsonl", "responses").endswith("2 items, 2 tasks")
    first, second = items_of(project)
    assert (first.id, first.prompt.references, first.prompt.facts) == ("q1", ("Tuton.",), {"subset": "who"})
    assert first.responses == (Response("Tuton made it."), Response(""))
    assert (second.id, second.prompt.text) == ("row 2", "Why?")


def test_one_response_each_is_for_spans(make_project, tmp_path):
    (path,) = written(tmp_path, {"sft": ONE_EACH["sft"][:2]})
    project = make_project(mode="spans")
    import_file(project, path, "responses")
    assert [item.responses for item in items_of(project)] == [(Response("Tuton."),), (Response("Because."),)]
    with pytest.raises(InputError, match=r"sft.jsonl:1: 1 responses; annotators are shown 2 to 8"):
        import_file(make_project(), path, "responses")


def test_several_models_are_one_item_of_each_prompt(make_project, tmp_path):
    """A prompt that stands twice in each file is two items, in the order of the rows."""
    project = make_project()
    paths = written(tmp_path)
    told = import_samples(project, paths, ())
    assert told == f"{paths[0]}, {paths[1]}: 3 items, 3 tasks"
    found = [(item.prompt.text, {each.model: each.text for each in item.responses}) for item in items_of(project)]
    assert found == [
        ("Who?", {"sft": "Tuton.", "ppo": "Badle."}),
        ("Why?", {"sft": "Because.", "ppo": "No idea."}),
        ("Why?", {"sft": "So.", "ppo": ""}),
    ]


def test_names_of_models_are_shown_to_nobody_and_rate_them(make_project, tmp_path):
    samples = {name: [(f"prompt {n}", f"text {n} {name}") for n in range(12)] for name in ("base", "better")}
    project = make_project(overlap=1)
    import_samples(project, written(tmp_path, samples), ("SECRETBASE", "SECRETBETTER"))
    ann = Person(app_of(project)).enter(project, "ann")
    assert "SECRET" not in ann.get("/annotate").text
    items = items_of(project)
    said = []
    for number, item in enumerate(items):
        better = [each.model for each in item.responses].index("SECRETBETTER")
        wins = number % 4 != 0
        said.append(vote(item.id, "eve", "FS"[better] if wins else "FS"[1 - better]))
    with project.store.writing() as connection:
        imported_votes.add_votes(connection, project, said)
    with project.store.reading() as connection:
        rated = summary(items, reading.read_votes(connection), StatisticsSettings(num_resamples=50)).ratings
    assert [each.model for each in rated.models] == ["SECRETBETTER", "SECRETBASE"]
    admin = Person(app_of(project)).enter(project, "admin", "admin")
    assert "<td>SECRETBETTER</td>" in admin.get("/dashboard").text


def test_no_model_is_always_first(make_project, tmp_path):
    samples = {name: [(f"prompt {n}", "text") for n in range(60)] for name in ("a", "b", "c")}
    project = make_project()
    import_samples(project, written(tmp_path, samples), ())
    orders = Counter(tuple(each.model for each in item.responses) for item in items_of(project))
    assert len(orders) == 6
    again = make_project()
    import_samples(again, written(tmp_path, samples), ())
    assert items_of(again) == items_of(project), "the same files give the same items"


def test_several_samples_of_each_and_models_that_rows_name(make_project, tmp_path):
    rows = {
        "x.jsonl": {"prompt": "p", "responses": ["1", "2"], "id": "q", "references": ["r"]},
        "y.jsonl": {"prompt": "p", "responses": ["3", "4"], "models": ["own", ""]},
    }
    for name, row in rows.items():
        (tmp_path / name).write_text(json.dumps(row) + "\n")
    project = make_project(mode="rank")
    import_samples(project, [tmp_path / name for name in rows], ())
    (item,) = items_of(project)
    assert {(each.text, each.model) for each in item.responses} == {("1", "x"), ("2", "x"), ("3", "own"), ("4", "y")}
    assert (item.id, item.prompt.references) == ("q", ("r",))


@pytest.mark.parametrize(
    ("rows", "models", "told"),
    [
        ({"a": ["p", "q"], "b": ["p"]}, (), r"a.jsonl:2: 1 responses; annotators are shown 2 to 8"),
        ({"a": ["p"], "b": ["p"]}, ("m",), r"--model-name: names 1 models of 2 files; name one for each"),
        (
            {"a": ["p"], "b": [{"gold": [[0, 1, "tie"]], "responses": ["a", "b"]}]},
            (),
            r"b.jsonl:1: field \"gold\" is of",
        ),
        (
            {"a": ["p"], "b": [{"arm": "random", "responses": ["a", "b"]}]},
            (),
            r"b.jsonl:1: field \"arm\" is of a whole",
        ),
        ({"a": ["p"], "b": [{"response": 1}]}, (), r"b.jsonl:1: field \"response\" must be text"),
        ({"a": ["p"], "b": [{"response": "x", "responses": ["x"]}]}, (), r"b.jsonl:1: unknown field \"response\""),
        ({"a": [{"id": "i"}], "b": ["p", {"id": "i", "prompt": "q"}]}, (), r"b.jsonl:2: id \"i\" was used before"),
    ],
)
def test_files_that_do_not_go_together(make_project, tmp_path, rows, models, told):
    paths = []
    for name, prompts in rows.items():
        paths.append(tmp_path / f"{name}.jsonl")
        found = [{"prompt": one} if isinstance(one, str) else {"prompt": "p", **one} for one in prompts]
        found = [row if "responses" in row else {"response": "text", **row} for row in found]
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in found))
    project = make_project()
    with pytest.raises(InputError, match=told):
        import_samples(project, paths, models)
    assert items_of(project) == []


def test_files_of_one_name_need_names_of_models(make_project, tmp_path):
    paths = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        paths += written(tmp_path / name, {"samples": [("p", name)]})
    project = make_project()
    with pytest.raises(InputError, match="two files are called samples: name the models with --model-name"):
        import_samples(project, paths, ())
    import_samples(project, paths, ("a", "a"))  # two runs of one model
    assert {each.model for each in items_of(project)[0].responses} == {"a"}


def test_rows_without_an_id_come_again_from_another_file(make_project, tmp_path):
    """As after each round of training; the same file twice is a mistake."""
    project = make_project()
    path = tmp_path / "samples.jsonl"
    for turn in range(3):
        path.write_text(f'{{"prompt": "p", "responses": ["a", "{turn}"]}}\n')
        import_file(project, path, "responses")
    assert [item.id for item in items_of(project)] == ["row 1", "samples row 1", "samples row 1 (2)"]
    for turn in range(3):
        path.write_text(f'{{"prompt": "p", "responses": ["a", "{turn}"]}}\n')
        with pytest.raises(InputError, match="is in the project already"):
            import_file(project, path, "responses")


def test_votes_follow_rows_that_get_another_id(make_project, tmp_path):
    """Rows of TRL have no id, and two files of them may have votes on the same number."""
    project = make_project()
    for name in ("one", "two"):
        path = tmp_path / f"{name}.jsonl"
        path.write_text(json.dumps({"prompt": name, "chosen": "good", "rejected": "bad"}) + "\n")
        import_file(project, path, "trl", should_keep_votes=True)
        assert "0 votes" in import_file(project, path, "trl", should_keep_votes=True)
    assert [item.id for item in items_of(project)] == ["row 1", "two row 1"]
    rows = [json.loads(line) for line in exported(project, "trl").text.splitlines()]
    assert rows == [{"prompt": name, "chosen": "good", "rejected": "bad"} for name in ("one", "two")]
