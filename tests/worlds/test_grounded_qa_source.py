import random
from statistics import mean, stdev
from typing import get_args

import pytest
from pydantic import ValidationError

from posttrain.data.records import Demonstration, Prompt, Record
from posttrain.worlds.grounded_qa import Config, load
from posttrain.worlds.grounded_qa.demonstrators import Config as DemonstratorConfig
from posttrain.worlds.grounded_qa.demonstrators import demonstrate
from posttrain.worlds.grounded_qa.grammar import parse
from posttrain.worlds.grounded_qa.names import KINDS, MAKERS, PLACES, PRIZES, TITLES, YEARS
from posttrain.worlds.grounded_qa.passages import Scene, Split, draw_scene, split_of
from posttrain.worlds.grounded_qa.pretraining import Config as PretrainingConfig
from posttrain.worlds.grounded_qa.truth import gold, judge

SPLITS: tuple[Split, ...] = get_args(Split)

FIRST_EVALUATION_PROMPT = (
    "question: In what city was Thilune first shown? "
    "context: wikipage: Thilune (song) text: Terado made the song Thilune. In 1966 the song Thilune came out. "
    "In Triport the song Thilune was first shown. | "
    "wikipage: Thilune (game) text: In Keholm the game Thilune was first shown. Drumik made the game Thilune."
)


def prompt_of(record: Record) -> Prompt:
    return record if isinstance(record, Prompt) else record.prompt


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
    assert len(set(words)) == len(words) == 8 + 60 + 60 + 40 + 40 + 20


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
    texts: dict[str, set[str]] = {split: set() for split in SPLITS}
    for split in SPLITS:
        for seed in (0, 1):
            for index in range(300):
                scene = draw_scene(random.Random(f"{split}-{seed}-{index}"), split, 0.4)
                kinds = tuple(sorted(fact.kind for fact in scene.needed))
                owners.setdefault((scene.title, kinds), set()).add(split)
            records = load(Config(split=split, num=300, seed=seed))
            texts[split] |= {prompt_of(record).text.partition("context: ")[2] for record in records}
    assert all(len(splits) == 1 for splits in owners.values())
    assert len(set().union(*texts.values())) == sum(len(contexts) for contexts in texts.values()) == 4 * 2 * 300


def test_a_combination_belongs_to_its_split_in_any_order() -> None:
    assert split_of("Dalune", ["album", "film"]) == split_of("Dalune", ["film", "album"])


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


def test_the_records_of_each_split() -> None:
    for split in ("prompts", "evaluation"):
        for record in load(Config(split=split, num=50)):
            assert isinstance(record, Prompt)
            assert gold(record, record.references[0]) == 1
            assert 2 <= len(record.facts["needed"]) <= 4
            assert record.text.startswith("question: ")
            assert len(record.text.split()) <= 140
    for record in load(Config(split="pretraining", num=300)):
        assert isinstance(record, Demonstration)
        assert "question:" not in record.prompt.text
        assert not record.prompt.facts
        # Ordinary text says only what its own context says.
        pages = record.prompt.text.partition("context: ")[2]
        for claim in (part.claim for whole in parse(record.response) for part in whole.sub_sentences):
            assert claim is not None
            assert claim in {part.claim for whole in parse(_sentences(pages)) for part in whole.sub_sentences}


def test_should_answer_gives_the_references_as_responses() -> None:
    asked = load(Config(split="evaluation", num=5))
    answered = load(Config(split="evaluation", num=5, should_answer=True))
    for record, prompt in zip(answered, asked, strict=True):
        assert isinstance(record, Demonstration)
        assert record.prompt == prompt
        assert record.response == record.prompt.references[0]


def _sentences(pages: str) -> str:
    return " ".join(page.partition("text: ")[2] for page in pages.split(" | "))


def test_pretraining_shares() -> None:
    def heads(ask_share: float, restore_share: float, copy_share: float = 0.0) -> set[str]:
        shares = PretrainingConfig(ask_share=ask_share, restore_share=restore_share, copy_share=copy_share)
        config = Config(split="pretraining", num=60, pretraining=shares)
        return {prompt_of(record).text.split()[0] for record in load(config)}

    assert heads(ask_share=0.0, restore_share=0.0) == {"context:"}
    assert heads(ask_share=1.0, restore_share=0.0) == {"ask:"}
    assert heads(ask_share=0.0, restore_share=1.0) == {"restore:"}
    assert heads(ask_share=0.0, restore_share=0.0, copy_share=1.0) == {"copy:"}


def test_each_fault_costs_reward() -> None:
    flawless = {"complete": 1.0, "swapped": 0.0, "irrelevant": 0.0, "repeated": 0.0}
    for scene, text, faults in demonstrations(50, **flawless):
        assert not faults
        assert gold(scene.prompt(""), text) == 1
    for settings, fault in (
        ({"complete": 0.0}, "incomplete"),
        ({"swapped": 1.0}, "swapped"),
        ({"irrelevant": 1.0}, "irrelevant"),
        ({"repeated": 1.0}, "repeated"),
    ):
        for scene, text, faults in demonstrations(50, **(flawless | settings)):
            truth = judge(scene.prompt(""), text)
            assert faults == {fault}
            assert truth.reward < 1
            assert (truth.completeness < 1) == (fault in ("incomplete", "swapped"))
            assert any(span.error for span in truth.factuality) == (fault == "swapped")
            errors = {span.error for span in truth.relevance} - {None}
            assert errors == {"irrelevant": {"Irrelevant"}, "repeated": {"Redundant"}}.get(fault, set())


def test_demonstrations_leave_room_for_preferences() -> None:
    golds = [gold(scene.prompt(""), text) for scene, text, _ in demonstrations(1000)]
    assert 0.4 < mean(golds) < 0.5
    assert stdev(golds) > 0.3


def test_load_uses_the_demonstrators_settings() -> None:
    never = DemonstratorConfig(complete=1, swapped=0, irrelevant=0, repeated=0)
    for record in load(Config(split="demonstrations", num=20, demonstrators=never)):
        assert isinstance(record, Demonstration)
        assert record.response == record.prompt.references[0]


@pytest.mark.parametrize("bad", [{"split": "test"}, {"split": "prompts", "num": 0}, {"split": "prompts", "nun": 1}])
def test_bad_settings_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate(bad)
