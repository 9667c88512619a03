import random
from statistics import mean, stdev
from typing import get_args

import pytest
from pydantic import ValidationError

from posttrain.data.records import Demonstration, Prompt, Record
from posttrain.worlds.grounded_qa import Config, load
from posttrain.worlds.grounded_qa.demonstrators import Config as DemonstratorConfig
from posttrain.worlds.grounded_qa.demonstrators import demonstrate
from posttrain.worlds.grounded_qa.grammar import Claim, parse
from posttrain.worlds.grounded_qa.names import KINDS, MAKERS, PLACES, PRIZES, TITLES, YEARS
from posttrain.worlds.grounded_qa.passages import Scene, Split, draw_scene, split_of
from posttrain.worlds.grounded_qa.truth import gold, judge

SPLITS: tuple[Split, ...] = get_args(Split)

FIRST_EVALUATION_PROMPT = (
    "question: What prize did Requill win? "
    "context: wikipage: Requill (opera) text: Requill was made by Zadle. Requill won the Coral prize. | "
    "wikipage: Requill (game) text: Requill won the Lantern prize. Requill was first shown in Siwick."
)

FLAWLESS = {"complete": 1.0, "wrong": 0.0, "irrelevant": 0.0, "repeated": 0.0}


def prompt_of(record: Record) -> Prompt:
    return record if isinstance(record, Prompt) else record.prompt


def claims(answer: str) -> list[Claim | None]:
    return [part.claim for whole in parse(answer) for part in whole.sub_sentences]


def demonstrations(num: int, **settings: float) -> list[tuple[Scene, str, frozenset[str]]]:
    drawn = []
    for index in range(num):
        rng = random.Random(f"faults-{index}")
        scene = draw_scene(rng, "demonstrations", 0.4)
        answer = demonstrate(rng, scene, DemonstratorConfig(**settings))
        drawn.append((scene, answer.text, answer.faults))
    return drawn


def test_no_word_has_two_meanings() -> None:
    words = [*KINDS, *TITLES, *YEARS, *MAKERS, *PLACES, *PRIZES]
    assert len(set(words)) == len(words) == 8 + 24 + 16 + 16 + 16 + 12


@pytest.mark.parametrize("split", SPLITS)
def test_the_same_seed_gives_the_same_records(split: Split) -> None:
    records = load(Config(split=split, num=20, seed=3))
    assert records == load(Config(split=split, num=20, seed=3))
    assert records[:5] == load(Config(split=split, num=5, seed=3))
    other = load(Config(split=split, num=20, seed=4))
    assert not {prompt_of(record).text for record in records} & {prompt_of(record).text for record in other}


def test_the_stream_is_the_same_on_every_machine() -> None:
    first = load(Config(split="evaluation", num=1))[0]
    assert prompt_of(first).text == FIRST_EVALUATION_PROMPT


def test_no_two_splits_share_homonyms_whatever_the_seed() -> None:
    owners: dict[tuple[str, tuple[str, ...]], set[str]] = {}
    for split in SPLITS:
        for seed in (0, 1):
            for index in range(300):
                scene = draw_scene(random.Random(f"{split}-{seed}-{index}"), split, 0.4)
                kinds = tuple(sorted(fact.kind for fact in scene.needed))
                owners.setdefault((scene.title, kinds), set()).add(split)
    assert all(len(splits) == 1 for splits in owners.values())
    assert set().union(*owners.values()) == set(SPLITS)


def test_no_two_records_share_a_context() -> None:
    contexts = [
        prompt_of(record).text.partition("context: ")[2] or prompt_of(record).text  # a repetition has no context
        for split in SPLITS
        for seed in (0, 1)
        for record in load(Config(split=split, num=300, seed=seed))
    ]
    assert len(set(contexts)) == len(contexts) == 4 * 2 * 300


def test_a_combination_belongs_to_its_split_in_any_order() -> None:
    assert split_of("Dalune", ["album", "film"]) == split_of("Dalune", ["film", "album"])


def test_every_page_has_the_asked_attribute_and_one_other() -> None:
    for index in range(200):
        scene = draw_scene(random.Random(index), "prompts", 0.4)
        for page in scene.pages:
            attributes = [fact.attribute for fact in page.facts]
            assert len(attributes) == len(set(attributes)) == 2
            assert scene.asked in attributes
            assert {(fact.kind, fact.title) for fact in page.facts} == {(page.facts[0].kind, page.facts[0].title)}
            assert page.wikipage == f"{page.facts[0].title} ({page.facts[0].kind})"
        # Were two values the same, one sentence would complete two homonyms.
        assert len({(fact.attribute, fact.value) for fact in scene.facts}) == len(scene.facts) == 2 * len(scene.pages)


def test_the_page_about_another_title_may_stand_anywhere() -> None:
    places = set()
    for index in range(100):
        scene = draw_scene(random.Random(index), "prompts", 1.0)
        strangers = [place for place, page in enumerate(scene.pages) if page.facts[0].title != scene.title]
        assert len(strangers) == 1
        assert len(scene.pages) == len(scene.needed) + 1
        places.add(strangers[0])
    assert places == {0, 1, 2, 3, 4}
    without = [draw_scene(random.Random(index), "prompts", 0.0) for index in range(50)]
    assert all(len(scene.pages) == len(scene.needed) for scene in without)


@pytest.mark.parametrize("split", ["prompts", "evaluation"])
def test_the_prompts_of_a_split(split: Split) -> None:
    numbers_needed = set()
    for record in load(Config(split=split, num=100)):
        assert isinstance(record, Prompt)
        assert gold(record, record.references[0]) == 1
        assert record.text.startswith("question: ")
        # Five pages of at most 4 + 5 + 6 words, four bars between them, two headings and a question of 7.
        assert len(record.text.split()) <= 5 * 15 + 4 + 2 + 7
        numbers_needed.add(len(record.facts["needed"]))
    assert numbers_needed == {2, 3, 4}


def test_should_answer_gives_the_references_as_responses() -> None:
    asked = load(Config(split="evaluation", num=5))
    answered = load(Config(split="evaluation", num=5, should_answer=True))
    for record, prompt in zip(answered, asked, strict=True):
        assert isinstance(record, Demonstration)
        assert record.prompt == prompt
        assert record.response == record.prompt.references[0]


def test_flawless_demonstrations_have_the_whole_reward() -> None:
    for scene, text, faults in demonstrations(100, **FLAWLESS):
        assert not faults
        assert text == scene.prompt("").references[0]
        assert gold(scene.prompt(""), text) == 1


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"complete": 0.0}, "incomplete"),
        ({"wrong": 1.0}, "wrong"),
        ({"irrelevant": 1.0}, "irrelevant"),
        ({"repeated": 1.0}, "repeated"),
    ],
)
def test_each_fault_costs_reward(settings: dict[str, float], fault: str) -> None:
    for scene, text, faults in demonstrations(100, **(FLAWLESS | settings)):
        truth = judge(scene.prompt(""), text)
        assert faults == {fault}
        assert truth.reward < 1
        assert (truth.completeness < 1) == (fault in ("incomplete", "wrong"))
        assert sum(span.error is not None for span in truth.factuality) == (fault == "wrong")
        errors = [span.error for span in truth.relevance if span.error is not None]
        assert errors == {"irrelevant": ["Irrelevant"], "repeated": ["Redundant"]}.get(fault, [])


def test_a_wrong_value_is_on_no_page() -> None:
    for scene, text, _ in demonstrations(300, **(FLAWLESS | {"wrong": 1.0})):
        given = {fact.value for fact in scene.facts}
        invented = [claim for claim in claims(text) if claim is not None and claim.value not in given]
        assert [claim[:2] for claim in invented] == [(scene.title, scene.asked)]
        assert None not in claims(text)


def test_what_was_not_asked_comes_in_both_forms() -> None:
    joined = [", and it " in text for _, text, _ in demonstrations(300, **(FLAWLESS | {"irrelevant": 1.0}))]
    assert 0.4 < mean(joined) < 0.6


def test_faults_are_made_as_often_as_set() -> None:
    shares = {"wrong": 0.1, "irrelevant": 0.3, "repeated": 0.5}
    drawn = demonstrations(2000, complete=0.2, **shares)
    for fault, share in {**shares, "incomplete": 0.8}.items():
        # One standard deviation is at most 0.011.
        assert mean(fault in faults for *_, faults in drawn) == pytest.approx(share, abs=0.04)


def test_demonstrations_leave_room_for_preferences() -> None:
    golds = [gold(scene.prompt(""), text) for scene, text, _ in demonstrations(1000)]
    assert 0.3 < mean(golds) < 0.4
    assert stdev(golds) > 0.3


def test_load_uses_the_demonstrators_settings() -> None:
    never = DemonstratorConfig(complete=1, wrong=0, irrelevant=0, repeated=0)
    for record in load(Config(split="demonstrations", num=20, demonstrators=never)):
        assert isinstance(record, Demonstration)
        assert record.response == record.prompt.references[0]


@pytest.mark.parametrize("bad", [{"split": "test"}, {"split": "prompts", "num": 0}, {"split": "prompts", "nun": 1}])
def test_bad_settings_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate(bad)
