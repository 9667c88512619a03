"""The dashboard's numbers are not computed more often than annotators can bear."""

from posttrain.annotation.web.live_summary import LiveSummary
from tests.annotation.conftest import add_person, some_items
from tests.annotation.store.test_answers import undo
from tests.annotation.store.test_claims import claim, say


def test_numbers_follow_votes_after_a_rest(make_project):
    project = make_project(some_items(9))
    ann = add_person(project, "ann")
    now = [0.0]
    live = LiveSummary(project, lambda: now[0])
    assert live.numbers().summary.counts.pair_votes == 0
    say(project, ann, claim(project, ann))
    assert live.numbers().summary.counts.pair_votes == 0, "too soon"
    now[0] += 3.1
    assert live.numbers().summary.counts.pair_votes == 1
    before = live.found
    now[0] += 100
    assert live.numbers() is not None
    assert live.found is before, "nothing new was said"
    undo(project, ann)
    now[0] += 1.1
    assert live.numbers().summary.counts.pair_votes == 0
    assert live.progress().num_answered == 0


def test_only_the_random_arm_says_something_about_models(make_project):
    active = [item for item in some_items(12, arm="active") if int(item.id[5:]) >= 4]
    project = make_project([*some_items(4), *active])
    numbers = LiveSummary(project).numbers()
    assert numbers.is_random_arm
    assert numbers.summary.counts.items == 4
