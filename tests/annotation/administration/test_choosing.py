"""Which pairs a project asks next: by scores that fit its items, in both arms, while annotators work."""

import dataclasses
import json
import random
from collections import Counter
from itertools import combinations

import pytest
from sqlalchemy import select

from posttrain.annotation.administration.choosing import choose
from posttrain.annotation.exchange import exported
from posttrain.annotation.store import items, reading
from posttrain.annotation.store.tables import events, tasks
from posttrain.annotation.store.tables import items as item_table
from posttrain.annotation.which_next import arms_of
from posttrain.errors import InputError
from tests.annotation.conftest import add_person, some_items
from tests.annotation.store.test_claims import claim, say, votes_of


def score_file(path, project, seed, change=lambda rows: rows):
    """What `posttrain score` makes of the exported items: the same rows with scores, here in another order."""
    draw = random.Random(seed)
    rows = [json.loads(line) for line in exported(project, "responses").text.splitlines()]
    rows = [{**row, "scores": [draw.gauss(0, 1) for _ in row["responses"]]} for row in rows]
    draw.shuffle(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in change(rows)))
    return path


def ensemble(folder, project, num=2):
    return [score_file(folder / f"{seed}.jsonl", project, seed) for seed in range(num)]


def asked_of(project, person, most=1000):
    """(item, first, second, arm) in the order in which somebody who answers everything is asked."""
    found = []
    while len(found) < most and (row := claim(project, person)) is not None:
        with project.store.reading() as connection:
            query = (
                select(item_table.c.name, tasks.c.responses, tasks.c.arm)
                .select_from(tasks.join(item_table, item_table.c.id == tasks.c.item))
                .where(tasks.c.id == row.task)
            )
            task = connection.execute(query).one()
        found.append((task.name, *task.responses, task.arm))
        say(project, person, row)
    return found


def variances(project, paths):
    """By the definition, written apart from the package."""
    scores = [{row["id"]: row["scores"] for row in map(json.loads, path.read_text().splitlines())} for path in paths]
    pairs = [(name, *pair) for name, own in scores[0].items() for pair in combinations(range(len(own)), 2)]
    differences = [{pair: of[pair[0]][pair[1]] - of[pair[0]][pair[2]] for pair in pairs} for of in scores]
    widths = [(sum(d * d for d in of.values()) / len(of)) ** 0.5 for of in differences]
    found = {}
    for pair in pairs:
        scaled = [of[pair] / width for of, width in zip(differences, widths, strict=True)]
        mean = sum(scaled) / len(scaled)
        found[pair] = sum((one - mean) ** 2 for one in scaled) / (len(scaled) - 1)
    return found


def test_only_what_was_chosen_is_asked_by_disagreement_and_by_chance(make_project, tmp_path):
    project = make_project(some_items(20, 3), overlap=1)
    paths = ensemble(tmp_path, project, 3)
    told = choose(project, paths, 25, seed=0)
    assert told == (
        "25 pairs are asked next: 5 of the random arm, 20 of the active one; 35 wait; 0 had been asked and stay"
    )
    with project.store.reading() as connection:
        assert reading.progress(connection, 1).num_places == 25
        assert {item.arm for item in reading.read_items(connection)} == {"random", "active"}
    found = asked_of(project, add_person(project, "ann"))
    assert len(found) == 25
    for num in range(1, 26):
        assert sum(arm == "random" for *_, arm in found[:num]) >= 0.2 * num
    known = variances(project, paths)
    active = [known[name, first, second] for name, first, second, arm in found if arm == "active"]
    assert active == sorted(active, reverse=True)
    prompts = {name for name, *_, arm in found if arm == "active"}
    others = [value for (name, *_), value in known.items() if name in prompts]
    assert min(active) >= sorted(others, reverse=True)[20 - 1]


def test_the_next_choice_takes_the_next_pairs_and_arms_stay(make_project, tmp_path):
    project = make_project(some_items(20, 3), overlap=1)
    ann = add_person(project, "ann")
    arms, seen = {}, []
    for seed in range(3):  # other scores each time, as of retrained models
        paths = [score_file(tmp_path / f"{name}.jsonl", project, name + 10 * seed) for name in (0, 1)]
        choose(project, paths, 10, seed)
        found = asked_of(project, ann)
        assert len(found) == 10
        seen += [pair for *pair, _ in found]
        for name, _, _, arm in found:
            assert arms.setdefault(name, arm) == arm
    assert max(Counter(map(tuple, seen)).values()) == 1
    assert sum(arms[name] == "random" for name, *_ in seen) >= 6
    told = choose(project, [], None, 0)
    assert told.startswith("30 pairs are asked next: ")
    assert told.endswith("; 30 had been asked and stay")
    assert len(asked_of(project, ann)) == 30, "without --num nothing waits"


def test_what_was_begun_is_finished_first_and_keeps_its_answers(make_project, tmp_path):
    project = make_project(some_items(12, 2), overlap=2)
    ann, bob = add_person(project, "ann"), add_person(project, "bob")
    begun = {pair[0] for pair in asked_of(project, ann, 3)}
    told = choose(project, ensemble(tmp_path, project), 4, seed=0)
    assert told.endswith("; 5 wait; 3 had been asked and stay")
    asked = asked_of(project, bob)
    assert len(asked) == 7
    for arm in ("random", "active"):
        names = [name for name, *_, of in asked if of == arm]
        assert set(names[: len(begun & set(names))]) == begun & set(names)
    assert len(votes_of(project)) == 10


def test_new_items_are_asked_until_the_next_choice_which_draws_their_arms(make_project, tmp_path):
    project = make_project(some_items(10, 2), overlap=1)
    choose(project, ensemble(tmp_path, project), 2, seed=0)
    before = {item.id: item.arm for item in read_items(project)}
    more = [item for item in some_items(40, 2) if item.id not in before]
    with project.store.writing() as connection:
        items.add(connection, more, "pair", project.secret, 0.2)
        assert reading.progress(connection, 1).num_tasks == 32
    choose(project, ensemble(tmp_path, project), 5, seed=1)
    after = read_items(project)
    assert {item.id: item.arm for item in after if item.id in before} == before
    assert sum(item.arm == "random" for item in after if item.id not in before) == 6
    with project.store.reading() as connection:
        assert reading.progress(connection, 1).num_tasks == 5


def test_an_import_after_a_choice_is_measured_by_what_is_asked(make_project, tmp_path):
    """One pair of each random prompt and six of each active one: of all pairs 4 % are random, of those asked 20 %."""
    seed = 3
    arms = arms_of(some_items(10), seed)
    found = [some_items(10, 2 if arms[f"item-{n}"] == "random" else 4)[n] for n in range(10)]
    project = make_project(found, overlap=1)
    choose(project, ensemble(tmp_path, project), 5, seed)
    more = [dataclasses.replace(item, id=f"more {item.id}") for item in some_items(7)]
    with project.store.writing() as connection:
        new = [*more[:2], *(dataclasses.replace(item, arm="active") for item in more[2:6])]
        assert items.add(connection, new, "pair", project.secret, 0.2) == 6
    with pytest.raises(InputError, match="3 of 16 tasks would be of the random arm"), project.store.writing() as found:
        items.add(found, replace_arms(more[6], 5), "pair", project.secret, 0.2)


def replace_arms(item, num):
    return [dataclasses.replace(item, id=f"{item.id} {n}", arm="active") for n in range(num)]


def test_new_items_of_the_random_arm_are_never_too_few(make_project, tmp_path):
    """Where a choice by chance happened to take active prompts only, an import of random ones still helps."""
    project = make_project(some_items(10), overlap=1)
    choose(project, ensemble(tmp_path, project), 5, seed=0)
    for seed in range(100):
        told = choose(project, [], 6, seed)
        if "0 of the random arm" in told:
            break
    else:
        raise AssertionError("no seed took active prompts only")
    with project.store.writing() as connection:
        assert items.add(connection, some_items(11)[10:], "pair", project.secret, 0.2) == 1


def test_without_scores_the_order_is_by_chance_and_of_the_seed(make_project):
    orders = []
    for seed in (0, 0, 1):
        project = make_project(some_items(15, 2), overlap=1)
        choose(project, [], 6, seed)
        orders.append(asked_of(project, add_person(project, "ann")))
    assert orders[0] == orders[1] != orders[2]
    assert {len(order) for order in orders} == {6}
    assert {arm for order in orders for *_, arm in order} == {"random"}


def test_known_answers_are_asked_as_before_and_need_no_scores(make_project, tmp_path):
    gold = [item for item in some_items(12, gold={(0, 1): "first"}) if int(item.id[5:]) >= 10]
    project = make_project([*some_items(10), *gold], overlap=1, gold_share=0.8)
    choose(project, ensemble(tmp_path, project), 4, seed=0)
    found = [name for name, *_ in asked_of(project, add_person(project, "ann"))]
    assert {"item-10", "item-11"} <= set(found)
    assert len(found) == 6


def test_a_choice_is_in_the_log(make_project, tmp_path):
    project = make_project(some_items(10))
    choose(project, ensemble(tmp_path, project), 5, seed=7)
    with project.store.reading() as connection:
        detail = connection.execute(select(events.c.detail).where(events.c.kind == "choose")).scalar_one()
    assert detail == {"seed": 7, "models": 2, "random": 1, "active": 4, "waiting": 5, "asked": 0}


def read_items(project):
    with project.store.reading() as connection:
        return reading.read_items(connection)


def replaced(row, **changes):
    return {**row, **changes}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows[1:], r"bad.jsonl: has no row of item \"item-\d\" \(1 of 3 are missing\); score what"),
        (lambda rows: [*rows, replaced(rows[0], prompt="other")], r"bad.jsonl:4: no row of this project: no item has"),
        (
            lambda rows: [replaced(rows[0], responses=rows[0]["responses"][::-1]), *rows[1:]],
            r"bad.jsonl:1: no row of this project: item \"item-\d\" has other responses; score what",
        ),
        (lambda rows: [*rows, replaced(rows[2], scores=[5, 6])], r"bad.jsonl:4: .* other scores at line 3; keep one"),
        (lambda rows: [replaced(rows[0], scores=[1.0]), *rows[1:]], r"bad.jsonl:1: .* holds 1 scores of 2 responses"),
        (lambda rows: [replaced(rows[0], scores=[1.0, "x"]), *rows[1:]], r"bad.jsonl:1: field \"scores\" holds \"x\""),
        (lambda rows: [replaced(rows[0], scores=[1.0, True]), *rows[1:]], r"bad.jsonl:1: field \"scores\" holds True"),
        (lambda rows: [{"prompt": "p", "response": "r", "score": 1.0}], r"bad.jsonl:1: field \"responses\" is missing"),
    ],
)
def test_scores_that_do_not_fit_change_nothing(make_project, tmp_path, change, told):
    project = make_project(some_items(3))
    paths = [*ensemble(tmp_path, project), score_file(tmp_path / "bad.jsonl", project, 9, change)]
    with pytest.raises(InputError, match=told):
        choose(project, paths, 2, 0)
    with project.store.reading() as connection:
        assert reading.progress(connection, 1).num_tasks == 3


def test_what_cannot_be_chosen(make_project, tmp_path):
    project = make_project(some_items(3))
    with pytest.raises(InputError, match="one reward model cannot disagree"):
        choose(project, ensemble(tmp_path, project, 1), 2, 0)
    with pytest.raises(InputError, match="--num 0"):
        choose(project, [], 0, 0)
    with pytest.raises(InputError, match="mode rank, which asks for whole items"):
        choose(make_project(some_items(3), mode="rank"), [], None, 0)


def test_extra_rows_of_the_same_scores_do_no_harm(make_project, tmp_path):
    project = make_project(some_items(3))
    paths = ensemble(tmp_path, project)
    again = score_file(tmp_path / "again.jsonl", project, 9, lambda rows: [*rows, rows[0]])
    assert choose(project, [*paths, again], 2, 0).startswith("2 pairs")
