"""Strips of rewards: what is coloured how, and a page that shows them soundly whatever the text is."""

import json
import re
from pathlib import Path

import pytest

from posttrain import figures
from posttrain.errors import InputError
from posttrain.evaluation.reward_spans import RewardedAnswer, spans_file, write_reward_spans
from posttrain.figures.page import TONES
from posttrain.figures.report import write_run
from posttrain.figures.strips import Scale, Stretch, number, scales_of, strips_of
from posttrain.figures.style import INK
from tests.figures.quickstart_folder import NASTY
from tests.figures.test_report import Outline

CSS = (Path(figures.__file__ or "").parent / "templates" / "strips.css").read_text()


def strip(text: str, *spans: tuple[int, int, float], limit: float = 1.0, is_of_answers: bool = False):
    scale = Scale("truth", limit, len(spans), is_of_answers)
    (found,) = strips_of(RewardedAnswer("p", text, {"truth": spans}), [scale])
    return found


def page(folder: Path, *answers: RewardedAnswer) -> str:
    """The report of a run whose newest evaluation wrote these answers."""
    (folder / "generations").mkdir(parents=True)
    (folder / "metrics.jsonl").write_text('{"step": 8, "train/loss": 1.5}\n')
    rows = [json.dumps({"prompt": it.prompt, "output": it.output, "reward/truth": 0.5}) + "\n" for it in answers]
    (folder / "generations" / "step_8.jsonl").write_text("".join(rows))
    write_reward_spans(spans_file(folder, 8), answers)
    return write_run(folder).read_text(encoding="utf-8")


def marks(html: str) -> list[str]:
    return re.findall(r"<mark.*?</mark>", html[html.index("<body>") :], flags=re.DOTALL)


def test_text_between_spans_stays_and_has_no_colour():
    found = strip("ab cd ef gh", (0, 2, 1.0), (3, 5, -0.2))
    assert [lane.stretches for lane in found.lanes] == [
        (Stretch("ab", "p4", "+1.00"), Stretch(" "), Stretch("cd", "n1", "−0.20"), Stretch(" ef gh")),
    ]
    assert (found.num_spans, found.total) == (2, "+0.80")


def test_overlapping_spans_have_lanes_of_their_own():
    found = strip("ab cd", (0, 5, 0.5), (0, 2, 1.0), (1, 4, 0.0), (3, 5, -1.0))
    assert [[(one.text, one.tone) for one in lane.stretches] for lane in found.lanes] == [
        [("ab", "p4"), (" ", ""), ("cd", "n4")],
        [("ab cd", "p2")],
        [("a", ""), ("b c", "zero"), ("d", "")],
    ]
    assert [lane.is_bar for lane in found.lanes] == [False, True, False], "the text was read in the first"


def test_spans_without_characters_and_an_empty_answer():
    (lane,) = strip("abc", (0, 0, 1.0), (0, 2, 0.5), (2, 2, -1.0), (3, 3, 0.0)).lanes
    assert [(one.text, one.value) for one in lane.stretches] == [
        ("", "+1.00"), ("ab", "+0.50"), ("", "−1.00"), ("c", ""), ("", "0"),
    ]  # fmt: skip
    (lane,) = strip("", (0, 0, 0.5)).lanes
    assert [(one.text, one.tone) for one in lane.stretches] == [("", "p2")]
    assert strip("").lanes == ()
    assert strip("abc").lanes == (), "nothing was judged"


def test_a_reward_of_whole_answers_is_a_bar():
    assert strip("ab cd", (0, 5, 0.5), is_of_answers=True).lanes[0].is_bar
    assert not strip("ab cd", (0, 5, 0.5)).lanes[0].is_bar, "an answer that is one span of several"


def test_scales():
    answers = [
        RewardedAnswer("p", "ab cd", {"spans": [(0, 5, -0.5)], "whole": [(0, 5, 3.0)], "silent": []}),
        RewardedAnswer("p", "", {"spans": [], "whole": [(0, 0, -4.0)], "silent": []}),
        RewardedAnswer("p", "ab", {"spans": [(0, 1, 0.25), (1, 2, 0.25)], "late": [(0, 2, 0.0)]}),
    ]
    assert scales_of(answers) == [
        Scale("spans", 0.5, 3, False), Scale("whole", 4.0, 2, True), Scale("silent", 0.0, 0, True),
        Scale("late", 0.0, 1, True),
    ]  # fmt: skip
    assert scales_of([]) == []


def test_tones_follow_sign_and_amount():
    scale = Scale("truth", 2.0, 9, False)
    values = (-2, -1.51, -1.5, -0.01, -0.0, 0, 1e-300, 0.5, 0.51, 2)
    assert [scale.tone(value) for value in values] == [
        "n4", "n4", "n3", "n1", "zero", "zero", "p1", "p1", "p2", "p4",
    ]  # fmt: skip
    assert Scale("truth", 0.0, 9, False).tone(0.0) == "zero"
    assert Scale("truth", 5e-324, 9, False).tone(5e-324) == "p4"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-0.0, "0"), (0.5, "+0.50"), (-1 / 3, "−0.33"), (1e-9, "+1.0e-09"), (-12.34, "−12.3"),
     (96, "+96"), (1234.5, "+1234"), (1e7, "+1.0e+07")],
)  # fmt: skip
def test_numbers_are_short_and_signed(value, text):
    assert number(value) == text


def test_short_spans_are_told_in_a_list(tmp_path):
    words = [(start, start + 2, 0.1 * (1 - start)) for start in range(0, 12, 3)]
    html = page(tmp_path, RewardedAnswer("p", "ab cd ef gh", {"truth": words}))
    assert not any("<sub>" in mark for mark in marks(html))
    listed = re.findall(r"<li><span class=\"text\">(\w\w)</span> <b>(.*?)</b></li>", html)
    assert listed == [("ab", "+0.10"), ("cd", "−0.20"), ("ef", "−0.50"), ("gh", "−0.80")]
    long = page(tmp_path / "long", RewardedAnswer("p", "ab cd ef gh", {"truth": [(0, 5, 0.1), (6, 11, 0.2)]}))
    assert "Values of its spans" not in long
    assert marks(long)[1] == '<mark class="p4" title="+0.20">ef gh<sub>+0.20</sub></mark>'


def test_a_page_shows_hostile_text_and_names_as_text(tmp_path):
    rewards = {NASTY: [(0, 10, 0.5), (12, len(NASTY), -0.5)], '"><img src=x onerror=alert(1)>': [(0, len(NASTY), 1)]}
    html = page(tmp_path, RewardedAnswer(NASTY, NASTY, rewards))
    outline = Outline(html)
    assert not {tag for tag, _ in outline.elements} & {"script", "img", "iframe", "object"}
    assert not any(name.startswith("on") for _, attrs in outline.elements for name in attrs)
    assert not {"\u202e", "\x1b"} & set(html)
    shown = '<script>alert("x")</script> & 1 < 2 ⟨U+202E⟩⟨U+001B⟩[31m $x^2$'
    assert outline.words("b").count(shown) == 2, "the reward's name, in the legend and at its strip"
    assert {attrs["aria-label"] for attrs in outline.all("section") if "aria-label" in attrs} == {
        shown, '"><img src=x onerror=alert(1)>',
    }  # fmt: skip
    assert "".join(outline.words("mark")) == shown[:10] + shown[12:] + "whole answer"


def test_a_page_of_many_rewards(tmp_path):
    text = "It is so. No, it is not."
    rewards = {f"reward {place}": [(0, 9, place - 10.0), (10, 24, 0.0)] for place in range(20)}
    outline = Outline(page(tmp_path, RewardedAnswer("p", text, rewards), RewardedAnswer("q", "", {"truth": []})))
    labels = [attrs["aria-label"] for attrs in outline.all("section") if "aria-label" in attrs]
    assert labels == [*rewards, "truth"]
    assert len(outline.all("li")) == 20, "a scale for each that spoke"
    assert len(outline.all("mark")) == 40
    assert "(empty)" in outline.words("span")
    assert "no span judged" in outline.words("span")


def test_a_page_without_spans_has_no_strips(tmp_path):
    page(tmp_path, RewardedAnswer("p", "ab", {"truth": [(0, 2, 1.0)]}))
    spans_file(tmp_path, 8).unlink()
    html = write_run(tmp_path).read_text()
    assert "<mark" not in html
    assert ".strip" not in html


def test_damaged_spans_are_named(tmp_path):
    page(tmp_path, RewardedAnswer("p", "ab", {"truth": [(0, 2, 1.0)]}))
    spans = spans_file(tmp_path, 8)
    spans.write_text(spans.read_text().replace("[0, 2, 1.0]", "[0, 3, 1.0]"))
    with pytest.raises(InputError, match=r"reward_spans/step_8\.jsonl:1: "):
        write_run(tmp_path)


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("is_dark", [False, True])
def test_text_and_lines_are_readable_on_every_tone(is_dark):
    light, dark = CSS.split("@media (prefers-color-scheme: dark)")
    colours = dict(re.findall(r"--(\w+): (#\w{6})", dark if is_dark else light))
    ink = INK.dark if is_dark else INK.light
    assert {*TONES} < {*colours}
    for tone in TONES:
        assert contrast(colours[tone], ink) >= 4.5, tone
        line = {"n": "below", "p": "above", "z": "none"}[tone[0]]
        assert contrast(colours[tone], colours[line]) >= 3, f"the line under {tone}"
        assert f".{tone}" in CSS
    for side in "np":  # the greater the amount, the further from the paper
        depths = [luminance(colours[f"{side}{level}"]) for level in range(1, 5)]
        assert depths == sorted(depths, reverse=not is_dark)
