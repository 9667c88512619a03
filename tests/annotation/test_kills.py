"""An acknowledged answer is on the disk: the server is killed under load, and nothing is lost or doubled."""

import pytest

from tests.annotation.conftest import PASSWORD, add_person, some_items
from tests.annotation.killing import Report, kill_under_load


def kills(make_project, num_kills: int, num_answers: int, num_items: int) -> Report:
    project = make_project(some_items(num_items), overlap=2)
    people = [(add_person(project, f"p{n}").name, PASSWORD) for n in range(8)]
    project.store.close()
    report = kill_under_load(project.folder, people, num_kills, num_answers)
    print(
        f"{report.num_kills} kills, {len(report.acknowledged)} acknowledged, {report.num_lost} lost, "
        f"{report.num_doubled} doubled, {report.num_wrong} wrong, integrity {report.integrity}"
    )
    assert report.num_kills >= num_kills
    assert len(report.acknowledged) >= num_answers
    assert (report.num_lost, report.num_doubled, report.num_wrong, report.integrity) == (0, 0, 0, "ok")
    assert max(report.per_task) <= 2
    return report


def test_five_kills(make_project):
    kills(make_project, 5, 100, 1000)


@pytest.mark.slow
def test_two_hundred_kills_and_twenty_thousand_answers(make_project):
    kills(make_project, 200, 20_000, 20_000)
