"""Items become tasks, or are refused by name."""

import dataclasses

import pytest
from sqlalchemy import func, select

from posttrain.annotation.records import Item, Response
from posttrain.annotation.store import items, reading
from posttrain.annotation.store.tables import tasks
from posttrain.data.records import Prompt
from posttrain.errors import InputError
from tests.annotation.conftest import some_items


def add(project, found, mode=None):
    with project.store.writing() as connection:
        return items.add(connection, found, mode or project.settings.mode, project.secret, 0.2)


@pytest.mark.parametrize(("mode", "num"), [("pair", 6), ("rank", 1), ("spans", 4)])
def test_the_tasks_of_an_item_with_four_responses(make_project, mode, num):
    project = make_project(mode=mode)
    assert add(project, some_items(3, 4)) == 3 * num


def test_items_come_back_as_they_were(make_project, database):
    project = make_project(database=database)
    item = Item(
        "ü 1",
        Prompt("what? \u2028 \r\n", "p", ("a",), {"pages": [{"x": [1, 2.5, None]}]}),
        (Response("a\r\nb", "m"), Response("", "n"), Response("😀")),
        "random",
        {(0, 2): "both_bad"},
    )
    add(project, [item])
    with project.store.reading() as connection:
        assert reading.read_items(connection) == [item]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"responses": (Response("a"),)}, "1 responses"),
        ({"responses": tuple(Response(str(n)) for n in range(9))}, "9 responses"),
        ({"id": ""}, "id"),
        ({"prompt": Prompt("a\x00b")}, "NUL"),
        ({"responses": (Response("a"), Response("x" * 200_001))}, "200000"),
        ({"gold": {(1, 0): "first"}}, "first < second"),
        ({"gold": {(0, 2): "first"}}, "first < second"),
    ],
)
def test_items_that_are_refused(make_project, changes, told):
    project = make_project(some_items(1))
    good = dataclasses.replace(some_items(1)[0], id="good")
    with pytest.raises(InputError, match=told):
        add(project, [good, dataclasses.replace(good, **{"id": "bad", **changes})])
    with project.store.reading() as connection:
        assert [item.id for item in reading.read_items(connection)] == ["item-0"], "all or none"


def test_an_id_is_given_once(make_project):
    project = make_project(some_items(2))
    with pytest.raises(InputError, match="item-1"):
        add(project, some_items(2)[1:])


def test_too_few_random_items(make_project):
    project = make_project(some_items(1))
    with pytest.raises(InputError, match="random arm"):
        add(project, [dataclasses.replace(item, arm="active") for item in some_items(6)[1:]])
    add(project, [dataclasses.replace(item, arm="active") for item in some_items(5)[1:]])


def test_the_mode_is_fixed_by_the_first_items(make_project):
    project = make_project(some_items(1))
    with pytest.raises(InputError, match="mode is rank"):
        add(project, some_items(2)[1:], "rank")


@pytest.mark.parametrize("name", ["../x.png", "a/b.png", "x.svg", ".png", "x", "a\\b.png"])
def test_names_of_images(make_project, name):
    project = make_project(mode="image_pair")
    item = Item("i", Prompt("p"), (Response(name), Response("b.png")))
    with pytest.raises(InputError, match="images/"):
        add(project, [item])


def test_the_order_of_tasks_is_a_shuffle_that_the_secret_decides(make_project):
    orders = []
    for _ in range(2):
        project = make_project(some_items(30))
        with project.store.reading() as connection:
            orders.append(list(connection.execute(select(tasks.c.item).order_by(tasks.c.position)).scalars()))
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(1, 31))
    assert orders[0] != orders[1]
    with project.store.reading() as connection:
        assert connection.execute(select(func.count(tasks.c.position.distinct()))).scalar_one() == 30
