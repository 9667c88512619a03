"""Places, leases and turns: each task is answered by exactly as many annotators as it should be, whoever asks when."""

import threading
import time
from collections import Counter

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from posttrain.annotation.store import answers, claims, reading
from posttrain.annotation.store.tables import claims as claim_table
from posttrain.annotation.store.tables import tasks
from tests.annotation.conftest import add_person, annotator, some_items

ANSWER = {"choice": "first", "strength": None, "axes": {}, "reason": ""}


def claim(project, person, now=None):
    with project.store.writing() as connection:
        found = claims.open_claim(connection, project, annotator(person), time.time() if now is None else now)
        return None if found is None else connection.execute(select(claim_table).where(claim_table.c.id == found)).one()


def say(project, person, row, now=None, key=None, answer=ANSWER):
    with project.store.writing() as connection:
        return answers.submit(
            connection, project, annotator(person), row.id, key or row.key, answer, 3.0,
            time.time() if now is None else now, None,
        )  # fmt: skip


def votes_of(project):
    with project.store.reading() as connection:
        return reading.read_votes(connection)


def test_a_page_loaded_again_shows_the_same_task_the_same_way_round(make_project):
    project = make_project(some_items(20))
    ann = add_person(project, "ann")
    first = claim(project, ann)
    assert [claim(project, ann)[:9] for _ in range(5)] == [first[:9]] * 5


def test_no_more_than_the_overlap_may_hold_a_task(make_project):
    project = make_project(some_items(1), overlap=2)
    people = [add_person(project, f"p{n}") for n in range(4)]
    assert [claim(project, person) is not None for person in people] == [True, True, False, False]


def test_nobody_is_asked_twice(make_project):
    project = make_project(some_items(3), overlap=3)
    ann = add_person(project, "ann")
    seen = []
    while (row := claim(project, ann)) is not None:
        seen.append(row.task)
        say(project, ann, row)
    assert sorted(seen) == sorted(set(seen))
    assert len(seen) == 3


def test_the_database_itself_refuses_a_second_holder_of_a_place(make_project, database):
    project = make_project(some_items(1), overlap=2, database=database)
    ann, bob = add_person(project, "ann"), add_person(project, "bob")
    first, second = claim(project, ann), claim(project, bob)
    with pytest.raises(IntegrityError), project.store.writing() as connection:
        connection.execute(update(claim_table).where(claim_table.c.id == second.id).values(slot=first.slot))
    with pytest.raises(IntegrityError), project.store.writing() as connection:
        connection.execute(update(claim_table).where(claim_table.c.id == second.id).values(user=ann.id))


def test_a_lease_that_ran_out_goes_to_the_next(make_project):
    project = make_project(some_items(1), overlap=1, lease_minutes=1)
    ann, bob = add_person(project, "ann"), add_person(project, "bob")
    claim(project, ann, now=1000.0)
    assert claim(project, bob, now=1059.0) is None
    assert claim(project, bob, now=1061.0) is not None


def test_looking_at_a_task_renews_its_lease(make_project):
    project = make_project(some_items(1), overlap=1, lease_minutes=1)
    ann, bob = add_person(project, "ann"), add_person(project, "bob")
    claim(project, ann, now=1000.0)
    claim(project, ann, now=1050.0)
    assert claim(project, bob, now=1100.0) is None


def test_an_answer_after_the_lease_counts_if_nobody_took_the_place(make_project):
    project = make_project(some_items(1), overlap=1, lease_minutes=1)
    ann, bob = add_person(project, "ann"), add_person(project, "bob")
    row = claim(project, ann, now=1000.0)
    assert say(project, ann, row, now=5000.0) == "counted"
    assert claim(project, bob, now=5000.0) is None


def test_an_answer_after_the_place_was_taken_is_kept_and_does_not_count(make_project):
    project = make_project(some_items(1), overlap=1, lease_minutes=1)
    ann, bob = add_person(project, "ann"), add_person(project, "bob")
    late = claim(project, ann, now=1000.0)
    taken = claim(project, bob, now=1100.0)
    assert say(project, ann, late, now=1101.0) == "late"
    assert say(project, bob, taken, now=1102.0) == "counted"
    assert [vote.annotator for vote in votes_of(project)] == ["bob"]


def test_ann_comes_back_after_her_place_was_taken_and_is_given_another_task(make_project):
    project = make_project(some_items(2), overlap=1, lease_minutes=1)
    ann, bob = add_person(project, "ann"), add_person(project, "bob")
    first = claim(project, ann, now=1000.0)
    assert claim(project, bob, now=1100.0).task == first.task
    assert claim(project, ann, now=1101.0).task != first.task


@pytest.mark.parametrize("num_people", [8])
def test_the_overlap_is_exact_with_eight_annotators_at_once(make_project, database, num_people):
    project = make_project(some_items(40), overlap=2, database=database)
    people = [add_person(project, f"p{n}") for n in range(num_people)]
    faults = []

    def work(person):
        try:
            while (row := claim(project, person)) is not None:
                say(project, person, row)
        except Exception as error:  # noqa: BLE001, raised by the assertion below
            faults.append(error)

    threads = [threading.Thread(target=work, args=(person,)) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert set(Counter(vote.item for vote in votes_of(project)).values()) == {2}
    assert len(votes_of(project)) == 80


def test_the_random_arm_never_falls_below_its_share(make_project):
    found = [*some_items(10), *(item for item in some_items(50, arm="active") if int(item.id[5:]) >= 10)]
    project = make_project(found, overlap=1, random_share=0.2)
    ann = add_person(project, "ann")
    arms = []
    for _ in range(50):
        row = claim(project, ann)
        with project.store.reading() as connection:
            arms.append(connection.execute(select(tasks.c.arm).where(tasks.c.id == row.task)).scalar_one())
        say(project, ann, row)
        assert arms.count("random") >= 0.2 * len(arms)
    assert arms.count("random") == 10
    assert arms.index("active") == 1, "the active arm does not wait for the random one to end"


def test_active_tasks_come_by_priority(make_project):
    from posttrain.annotation.store import items

    project = make_project(some_items(10), overlap=1)
    active = [item for item in some_items(30, arm="active") if int(item.id[5:]) >= 10]
    with project.store.writing() as connection:
        items.add(
            connection, active, "pair", project.secret, 0.2, priorities={item.id: float(item.id[5:]) for item in active}
        )
    ann = add_person(project, "ann")
    order = []
    while (row := claim(project, ann)) is not None:
        say(project, ann, row)
        order.append(votes_of(project)[-1].item)
    numbers = [int(item[5:]) for item in order if int(item[5:]) >= 10]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == 20


def test_a_task_set_aside_is_offered_to_nobody(make_project):
    project = make_project(some_items(2))
    with project.store.writing() as connection:
        connection.execute(update(tasks).where(tasks.c.id == 1).values(is_set_aside=True))
    ann = add_person(project, "ann")
    row = claim(project, ann)
    assert row.task == 2
    say(project, ann, row)
    assert claim(project, ann) is None


def test_gold_goes_to_everybody_and_takes_no_place(make_project):
    found = some_items(40)
    gold = [
        type(item)(f"gold-{n}", item.prompt, item.responses, gold={(0, 1): "first"}) for n, item in enumerate(found[:2])
    ]
    project = make_project([*found, *gold], overlap=1, gold_share=0.8)
    names = ["ann", "bob", "eve"]
    for name in names:
        person = add_person(project, name)
        for _ in range(12):
            if (row := claim(project, person)) is not None:
                say(project, person, row)
    asked = Counter(vote.item for vote in votes_of(project) if vote.item.startswith("gold"))
    assert asked == {"gold-0": 3, "gold-1": 3}
    with project.store.reading() as connection:
        assert reading.progress(connection, 1).num_tasks == 40


def test_a_repeat_is_an_own_answer_of_some_time_ago_shown_the_other_way_round(make_project):
    project = make_project(some_items(60), overlap=1, repeat_share=0.3, repeat_gap=4)
    ann = add_person(project, "ann")
    while (row := claim(project, ann)) is not None:
        say(project, ann, row)
    found = votes_of(project)
    repeats = [number for number, vote in enumerate(found) if vote.is_repeat]
    assert 5 <= len(repeats) <= 45
    for number in repeats:
        before = [at for at, vote in enumerate(found[:number]) if vote.item == found[number].item]
        assert len(before) == 1, "repeated once only"
        assert found[before[0]].first_was_left != found[number].first_was_left
        assert sum(not vote.is_repeat for vote in found[before[0] + 1 : number]) >= 4
    assert Counter(vote.item for vote in found if not vote.is_repeat) == {f"item-{n}": 1 for n in range(60)}
