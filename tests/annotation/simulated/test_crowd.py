"""Simulated annotators work over HTTP, as people do: a load test, and a check of what they are told to be like."""

import random
from collections import Counter
from itertools import pairwise

import pytest

from posttrain.annotation import demo
from posttrain.annotation.serving import served
from posttrain.annotation.simulated import crowd, truth
from posttrain.annotation.simulated.behaviour import Behaviour
from posttrain.annotation.simulated.client import Client
from posttrain.annotation.simulated.crowd import Member
from posttrain.annotation.store import reading
from posttrain.errors import EnvironmentFault, InputError
from posttrain.worlds.grounded_qa.truth import gold, judge
from tests.annotation.conftest import PASSWORD, add_person, some_items

SURE = Behaviour(scale=1000.0, tie_theta=1.0, overlooked=0.0)


def votes_of(project):
    with project.store.reading() as connection:
        return reading.read_votes(connection)


def members(project, num, behaviour=SURE):
    return [Member(add_person(project, f"p{n}").name, PASSWORD, behaviour) for n in range(num)]


def test_eight_at_once_give_each_task_exactly_its_answers(make_project, database):
    found = demo.items(5, seed=1, num_gold=0)
    project = make_project(found, overlap=2, database=database)
    people = members(project, 8)
    with served(project) as url:
        worked = crowd.work(url, people, truth.of_items(found))
    assert sum(worked.answers.values()) == 60
    asked = Counter((vote.item, vote.first, vote.second) for vote in votes_of(project))
    assert set(asked.values()) == {2}
    assert len(asked) == 30


def test_a_sure_annotator_tells_the_true_order(make_project):
    found = demo.items(3, seed=2, num_gold=0)
    for mode in ("pair", "rank", "spans"):
        project = make_project(found, mode=mode, overlap=1)
        with served(project) as url:
            crowd.work(url, members(project, 1), truth.of_items(found))
        known = {item.id: item for item in found}
        for vote in votes_of(project):
            item = known[vote.item]
            rewards = [gold(item.prompt, response.text) for response in item.responses]
            if mode == "pair" and rewards[vote.first] != rewards[vote.second]:
                assert vote.choice == ("first" if rewards[vote.first] > rewards[vote.second] else "second")
            if mode == "rank":
                order = sorted(range(4), key=lambda k, vote=vote: vote.ranks[k])
                seen = [rewards[k] for k in order]
                assert all(a >= b - 0.02 for a, b in pairwise(seen))
            if mode == "spans":
                told = judge(item.prompt, item.responses[vote.response].text)
                wrong = [span for span in (*told.factuality, *told.relevance) if span.error]
                assert len(vote.errors) == len(wrong)
                assert len(vote.missing) == len(told.missing)


def test_behaviours_are_what_they_are_named_after():
    rng = random.Random(0)
    assert Counter(SURE.compare(1.0, 0.0, rng) for _ in range(50)) == {"left": 50}
    leftish = Counter(Behaviour(side_bias=3.0).compare(0.5, 0.5, rng) for _ in range(500))
    assert leftish["left"] > 5 * leftish["right"]
    lazy = Counter(Behaviour(scale=1000.0, laziness=1.0).compare(1.0, 0.0, rng) for _ in range(600))
    assert all(130 < lazy[side] < 270 for side in ("left", "right", "tie"))
    bad = Counter(Behaviour(tie_theta=1e9).compare(-1.0, -1.0, rng) for _ in range(20))
    assert bad == {"both_bad": 20}
    assert Counter(Behaviour(laziness=1.0).rank([1.0, 0.0, -1.0], rng)[0] for _ in range(300)).keys() == {1, 2, 3}


def test_scores_of_a_reward_model_are_a_truth_too(make_project, tmp_path):
    project = make_project(some_items(4), overlap=1)
    rows = "".join(
        f'{{"prompt": "prompt {n}", "responses": ["response {n}.0", "response {n}.1"], "scores": [0.0, 1.0]}}\n'
        for n in range(4)
    )
    (tmp_path / "scores.jsonl").write_text(rows)
    with served(project) as url:
        crowd.work(url, members(project, 1), truth.of_scores(tmp_path / "scores.jsonl"))
    assert [vote.choice for vote in votes_of(project)] == ["second"] * 4
    (tmp_path / "bad.jsonl").write_text('{"prompt": "p", "responses": ["a", "b"], "scores": [1.0]}\n')
    with pytest.raises(InputError, match=r"bad\.jsonl:1"):
        truth.of_scores(tmp_path / "bad.jsonl")


def test_what_keeps_a_client_out_is_told(make_project):
    project = make_project(some_items(1))
    add_person(project, "ann")
    with served(project) as url:
        client = Client(url)
        with pytest.raises(InputError, match="did not let 'ann' log in"):
            client.login("ann", "wrong")
    with pytest.raises(EnvironmentFault, match="is the server running"):
        client.login("ann", PASSWORD)
    client.close()


def test_a_client_waits_when_it_is_told_to(make_project):
    project = make_project(some_items(8), overlap=1)
    with served(project, requests_per_second=4) as url:
        worked = crowd.work(url, members(project, 1), truth.Truth({}, {}), num_each=0)
        assert worked.answers == {"p0": 0}
        client = Client(url)
        client.login("p0", PASSWORD)
        asked = client.next()
        for _ in range(8):
            asked = client.answer(asked, {"choice": "left"})
        assert asked is None
        client.close()
