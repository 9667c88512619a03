"""What each format can hold comes back equal, for any texts; what it cannot hold is counted."""

from dataclasses import replace
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from posttrain.annotation.formats import (
    arena,
    comparisons,
    qa_feedback,
    responses,
    reward_bench,
    spans,
    tables,
    trl_preferences,
)
from posttrain.annotation.records import PairVote, RankVote, SpanVote
from posttrain.annotation.statistics.answers import answers, pair_votes
from posttrain.annotation.statistics.labels import labels
from posttrain.data.sources import preference_jsonl
from tests.annotation.formats import drawing
from tests.annotation.formats.drawing import QUICK


def _file(tmp_path, exported, name="file.jsonl"):
    exported.write(tmp_path / name)
    return tmp_path / name


@QUICK
@given(drawing.projects(num=(1, 8)))
def test_responses(tmp_path, project):
    items, _ = project
    path = _file(tmp_path, responses.export(items))
    assert responses.read(path, least_responses=1).items == tuple(items)


def _any_vote(item):
    return drawing.pair_votes(item) | drawing.rank_votes(item)


@QUICK
@given(drawing.projects(_any_vote))
def test_table(tmp_path, project):
    items, votes = project
    exported = tables.export(items, votes)
    found = tables.read(_file(tmp_path, exported, "file.csv"))
    assert found.items == tuple(items)
    assert found.votes == tuple(vote for item in items for vote in votes if vote.item == item.id)
    assert exported.left_out == {}


@QUICK
@given(drawing.projects(_any_vote, gold=False, arm=False, models=st.just("")))
def test_comparisons(tmp_path, project):
    items, votes = project
    exported = comparisons.export(items, votes)
    first = {(answer.question, answer.annotator): answer.label for answer in answers(votes)}
    asked = [item for item in items if any(question.item == item.id for question, _ in first)]
    num_repeats = sum(vote.is_repeat for vote in votes)
    assert exported.left_out.get("repeated answers", 0) == num_repeats
    assert exported.left_out.get("items without a vote", 0) == len(items) - len(asked)
    if not asked:
        assert exported.text == ""
        return
    found = comparisons.read(_file(tmp_path, exported))
    assert found.items == tuple(asked)
    assert {(answer.question, answer.annotator): answer.label for answer in answers(found.votes)} == first


@QUICK
@given(drawing.projects(_any_vote), st.sampled_from(["each", "majority"]))
def test_the_trainer_reads_comparisons(tmp_path, project, voices):
    """`source: preference_jsonl` gives exactly the comparisons that were exported."""
    items, votes = project
    exported = comparisons.export(items, votes, voices)
    expected = comparisons.comparisons(items, votes, voices)
    if expected:
        is_said = all(text.strip() for comparison in expected for text in comparison.responses)
        assert (exported.notes == ()) == is_said
        config = preference_jsonl.Config(path=_file(tmp_path, exported), should_allow_empty=not is_said)
        assert preference_jsonl.load(config) == expected


@QUICK
@given(drawing.projects(_any_vote), st.sampled_from(["plain", "conversational"]), st.sampled_from(["each", "majority"]))
def test_trl(tmp_path, project, form, voices):
    """Every label is a row or is counted, and rows say who was better."""
    items, votes = project
    exported = trl_preferences.export(items, votes, voices, form)
    given_labels = labels(votes) if voices == "majority" else answers(votes)
    losses = ("ties", "pairs of equal texts", "pairs with an empty response")
    assert exported.num_rows + sum(exported.left_out.get(reason, 0) for reason in losses) == len(given_labels)
    texts = {item.id: [response.text for response in item.responses] for item in items}
    prompts = {item.id: item.prompt.text for item in items}
    expected = []
    for one in given_labels if voices == "each" else []:
        first, second = (texts[one.question.item][i] for i in (one.question.first, one.question.second))
        if one.label and first.strip() and second.strip() and first != second:
            row = (prompts[one.question.item], first, second)
            expected.append(row if one.label == 1 else (row[0], row[2], row[1]))
    if exported.num_rows:
        found = trl_preferences.read(_file(tmp_path, exported))
        rows = [(item.prompt.text, *(response.text for response in item.responses)) for item in found.items]
        assert {vote.choice for vote in found.votes} == {"first"}
        if voices == "each":
            assert sorted(rows) == sorted(expected)


@QUICK
@given(drawing.projects(drawing.pair_votes, num=(2, 2), empty=False, gold=False, arm=False))
def test_reward_bench(tmp_path, project):
    items, votes = project
    exported = reward_bench.export(items, votes, "mine")
    decided = {pair.question.item: pair.label for pair in labels(votes)}
    if exported.num_rows:
        found = reward_bench.read(_file(tmp_path, exported))
        by_id = {item.id: item for item in items}
        for item in found.items:
            before = by_id[item.id]
            chosen = 0 if decided[item.id] == 1 else 1
            assert decided[item.id] != 0
            assert item.responses == (before.responses[chosen], before.responses[1 - chosen])
            assert item.prompt.text == before.prompt.text
        assert {vote.choice for vote in found.votes} == {"first"}


@QUICK
@given(drawing.projects(_any_vote, gold=False, arm=False, models=drawing.said))
def test_arena(tmp_path, project):
    """Who beat whom, with which texts, on which side and when."""
    items, votes = project
    exported = arena.export(items, votes)

    def battles(items, votes):
        known = {item.id: item for item in items}
        rows = []
        for vote in pair_votes(vote for vote in votes if not vote.is_repeat):
            both = known[vote.item].responses[vote.first], known[vote.item].responses[vote.second]
            left, right = both if vote.first_was_left else both[::-1]
            mirrored = {"first": "second", "second": "first"}
            choice = vote.choice if vote.first_was_left else mirrored.get(vote.choice, vote.choice)
            rows.append((known[vote.item].prompt.text, left, right, choice, vote.annotator, vote.at))
        return rows

    if exported.num_rows:
        found = arena.read(_file(tmp_path, exported))
        assert battles(found.items, found.votes) == battles(items, votes)
    assert exported.num_rows == len(battles(items, votes))


@QUICK
@given(drawing.projects(drawing.span_votes, num=(1, 3), gold=False, arm=False, prompt_id=False))
def test_spans(tmp_path, project):
    """Votes come back on the responses that were judged, which are the item's."""
    items, votes = project
    exported = spans.export(items, votes)
    assert exported.num_rows == len(votes)
    if votes:
        found = spans.read(_file(tmp_path, exported))
        before, after = ({item.id: item for item in these} for these in (items, found.items))
        assert {name: item.prompt for name, item in after.items()} == {
            vote.item: before[vote.item].prompt for vote in votes
        }
        assert len(found.votes) == len(votes)
        for old, new in zip(votes, found.votes, strict=True):
            assert replace(new, response=old.response) == old
            assert after[new.item].responses[new.response] == before[old.item].responses[old.response]


@st.composite
def _feedback(draw):
    question = draw(drawing.said)
    passages = draw(st.lists(st.lists(drawing.texts, min_size=1, max_size=4), max_size=2))
    item = draw(drawing.items("i", num=(4, 4), empty=False, gold=False, arm=False))
    prompt = replace(item.prompt, references=(draw(drawing.said),), facts={"question": question, "passages": passages})
    item = replace(item, prompt=prompt)
    votes = [
        PairVote("i", "ann", 3.0, 1.0, first, second, draw(drawing.choices), True)
        for first, second in combinations(range(4), 2)
    ]
    ranked = draw(drawing.rank_votes(item))
    mark = draw(drawing.span_votes(item, position=0, evidence=False))
    return item, [replace(ranked, is_repeat=False)] if draw(st.booleans()) else votes, replace(mark, is_repeat=False)


@QUICK
@given(_feedback())
def test_qa_feedback(tmp_path, drawn):
    item, votes, mark = drawn
    exported = qa_feedback.export([item], [*votes, mark])
    assert (exported.num_rows, exported.left_out, exported.notes) == (1, {}, ())
    found = qa_feedback.read(_file(tmp_path, exported))
    (back,) = found.items
    assert [response.text for response in back.responses] == [response.text for response in item.responses]
    assert (back.prompt.references, back.prompt.facts) == (item.prompt.references, item.prompt.facts)
    assert [one.label for one in labels(found.votes)] == [one.label for one in labels(votes)]
    (marked,) = [vote for vote in found.votes if isinstance(vote, SpanVote)]
    assert (marked.errors, marked.missing, marked.corrected) == (mark.errors, mark.missing, mark.corrected)
    assert not any(isinstance(vote, RankVote) for vote in found.votes)
