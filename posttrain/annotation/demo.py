"""A ready project on the grounded-QA world: scenes with the answers of four people of varying care, without a model."""

import random

from posttrain.annotation.project import ProjectSettings
from posttrain.annotation.records import Item, Mode, Response
from posttrain.worlds.grounded_qa.demonstrators import Config as DemonstratorConfig
from posttrain.worlds.grounded_qa.demonstrators import demonstrate
from posttrain.worlds.grounded_qa.passages import draw_scene
from posttrain.worlds.grounded_qa.truth import gold

WRITERS = {
    "careful": DemonstratorConfig(complete=0.9, wrong=0.02, irrelevant=0.05, repeated=0.02),
    "usual": DemonstratorConfig(complete=0.5),
    "wordy": DemonstratorConfig(complete=0.6, irrelevant=0.8, repeated=0.4),
    "hasty": DemonstratorConfig(complete=0.1, wrong=0.45),
}
"""Names that take the place of models: nobody who annotates sees them."""

GOLD_MARGIN = 1.0
"""A pair with this much between its true rewards has an answer that a careful reader cannot miss."""

GUIDELINES = """\
Read the question and the passages; then say which response is better.

The question names a title that several works share. A good response
1. tells what was asked of every work of that title,
2. says nothing that the passages do not say,
3. says nothing that was not asked, and nothing twice.

Say "Tie" if you see no difference, "Both bad" if neither answers the question. Skip what you cannot judge.
"""

QUESTIONS: dict[Mode, str] = {
    "pair": "Which response is better?",
    "rank": "Rank the responses.",
    "spans": "What is wrong with the response, and what is missing?",
}


def settings(mode: Mode) -> ProjectSettings:
    """Of the demonstration. Modes other than those of text have no demonstration."""
    return ProjectSettings(name="Grounded QA", mode=mode, question=QUESTIONS[mode], overlap=2, repeat_gap=5)


def items(num: int, seed: int, num_gold: int = 3) -> list[Item]:
    """The same for the same seed. The last `num_gold` items check annotators and have two responses."""
    found = []
    for index in range(num):
        rng = random.Random(f"annotation demo {seed} {index}")
        scene = draw_scene(rng, "prompts", 0.4)
        responses = [Response(demonstrate(rng, scene, config).text, name) for name, config in WRITERS.items()]
        rng.shuffle(responses)
        found.append(Item(f"scene-{index}", scene.prompt(f"scene-{index}"), tuple(responses)))
    return found + [_gold_item(seed, index) for index in range(num_gold)]


def _gold_item(seed: int, index: int) -> Item:
    rng = random.Random(f"annotation demo gold {seed} {index}")
    while True:
        scene = draw_scene(rng, "prompts", 0.4)
        prompt = scene.prompt(f"gold-{index}")
        best, worse = prompt.references[0], demonstrate(rng, scene, WRITERS["hasty"]).text
        if gold(prompt, best) - gold(prompt, worse) >= GOLD_MARGIN:
            break
    is_first = rng.random() < 0.5
    texts = (best, worse) if is_first else (worse, best)
    return Item(prompt.id, prompt, tuple(map(Response, texts)), gold={(0, 1): "first" if is_first else "second"})
