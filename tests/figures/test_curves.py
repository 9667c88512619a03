"""Drawing: the arithmetic behind the pictures, and pictures with little or nothing in them."""

import math
import warnings

import numpy as np
import pytest

from posttrain.figures.curves import Curve, draw_curves, draw_intervals, draw_trade_off, reliability, smoothed
from posttrain.figures.style import TONES, chart_style, inline_svg, one_chart


def axes():
    with chart_style():
        return one_chart()


def test_smoothing_by_hand():
    assert smoothed([0, 3, 6, 9, 0], 3) == pytest.approx([0, 3, 6, 5, 0])
    assert smoothed([2.0] * 9, 5) == pytest.approx([2.0] * 9)


def test_reliability_by_hand():
    # gaps 0, log 3 and log 3, -log 3: confidences 1/2, 3/4, 3/4, 3/4; a tie is half right
    third = math.log(3)
    assert reliability([1.0], [1.0], num_bins=1) == [(0.5, 0.5, 1)]
    (confidence, right, pairs), = reliability([third, third, 0.0], [0.0, 0.0, third], num_bins=1)  # fmt: skip
    assert (confidence, right, pairs) == (pytest.approx(0.75), pytest.approx(2 / 3), 3)


def test_a_calibrated_model_lies_on_the_diagonal():
    generator = np.random.default_rng(0)
    gaps = np.abs(generator.normal(0, 2, 40_000))
    signs = np.where(generator.random(gaps.size) < 1 / (1 + np.exp(-gaps)), 1, -1)
    bins = reliability((gaps * signs).tolist(), [0.0] * gaps.size)
    assert len(bins) == 8
    assert max(abs(confidence - right) for confidence, right, _ in bins) < 0.02


def test_few_points_have_marks_and_many_are_smoothed():
    _, ax = axes()
    draw_curves(ax, [Curve("few", [(1, 1.0), (2, 2.0)])], "F1")
    assert ax.lines[0].get_marker() == "o"
    _, ax = axes()
    draw_curves(ax, [Curve("many", [(step, 1.0) for step in range(200)])], "F1")
    assert len(ax.lines) == 2
    assert ax.lines[1].get_marker() == "None"


def test_a_single_step_is_labelled_with_whole_numbers():
    _, ax = axes()
    draw_curves(ax, [Curve("loss", [(0, 7.7)])], "nats")
    assert ax.get_xlim() == (-1, 1)
    assert all(tick == round(tick) for tick in ax.get_xticks())


def test_values_that_are_not_finite_are_not_drawn():
    _, ax = axes()
    draw_curves(ax, [Curve("loss", [(1, 1.0), (2, math.nan), (3, math.inf), (4, 2.0)])], "nats")
    assert np.asarray(ax.lines[0].get_ydata()).tolist() == [1.0, 2.0]


def test_a_mark_is_a_thin_line_whose_name_stays_inside():
    figure, ax = axes()
    points = [(step, float(step)) for step in range(1, 11)]
    draw_curves(ax, [Curve("KL", points)], "nats", marks=[(2, "kl per token"), (10, "kl growth")])
    figure.canvas.draw()
    assert [np.asarray(line.get_xdata()).tolist() for line in ax.lines[1:]] == [[2, 2], [10, 10]]
    assert [text.get_text() for text in ax.texts] == ["kl per token", "kl growth"]
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not boxes[0].overlaps(boxes[1])
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)


def test_names_of_near_points_do_not_cover_each_other():
    figure, ax = axes()
    reward = {
        name: {"mean": mean, "low": 0.6, "high": 0.8} for name, mean in (("ppo", 0.7), ("dpo", 0.701), ("sft", 0.5))
    }
    kl = {name: {"mean": mean, "low": 0.0, "high": 6.0} for name, mean in (("ppo", 5.0), ("dpo", 5.0), ("sft", 0.0))}
    draw_trade_off(ax, reward, kl, "gold reward")
    figure.canvas.draw()
    boxes = {text.get_text(): text.get_window_extent() for text in ax.texts}
    assert not boxes["PPO"].overlaps(boxes["DPO"])


@pytest.mark.parametrize("draw", [draw_intervals])
def test_a_single_model_with_no_spread_draws_without_warning(draw):
    with warnings.catch_warnings(), chart_style():
        warnings.simplefilter("error")
        figure, ax = one_chart()
        draw(ax, {"sft": {"mean": 0.5, "low": 0.5, "high": 0.5}}, "gold reward")
        inline_svg(figure, "x", "one model")


def test_text_in_a_picture_is_escaped_and_never_mathematics():
    with chart_style():
        figure, ax = one_chart()
        draw_curves(ax, [Curve("<script>", [(1, 1.0)]), Curve("$x^2$ & --> b", [(1, 2.0)])], "</text>")
        svg = inline_svg(figure, "slug", 'says "quoted" & <b>')
    assert "<script" not in svg
    assert "&lt;script&gt;" in svg
    assert "$x^2$ &amp; --&gt; b" in svg
    assert 'aria-label="says &quot;quoted&quot; &amp; &lt;b&gt;"' in svg
    assert "http" not in svg


def test_every_colour_of_a_picture_has_its_dark_twin():
    with chart_style():
        figure, ax = one_chart()
        draw_curves(ax, [Curve(str(place), [(1, 1.0)]) for place in range(6)], "F1", ("level", 2.0))
        svg = inline_svg(figure, "slug", "all colours")
    assert not any(tone.light in svg for tone in TONES)
    assert "stroke: #" not in svg
    assert "fill: #" not in svg
