"""The report as a reader meets it: one sound, self-contained HTML file that shows what the run left."""

import json
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from posttrain.errors import InputError
from posttrain.figures.report import findings, write_png, write_quickstart, write_report, write_run
from tests.figures.quickstart_folder import NASTY, write_folder

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Outline(HTMLParser):
    """Refuses a tag that is closed out of order; collects elements, ids and text by the innermost element."""

    def __init__(self, html):
        super().__init__()
        self.open, self.elements, self.ids, self.text = [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append((self.open[-1] if self.open else "", data))

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    def words(self, tag):
        return [data for inside, data in self.text if inside == tag]


@pytest.fixture(scope="session")
def html(quickstart):
    return write_quickstart(quickstart).read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def outline(html):
    return Outline(html)


def copy(quickstart, tmp_path):
    return shutil.copytree(quickstart, tmp_path / "copy")


def test_page_is_well_formed_and_fetches_nothing(outline):
    for tag, attrs in outline.elements:
        assert tag not in ("script", "iframe", "object", "img", "base")
        for name, value in attrs.items():
            assert not name.startswith("on"), f"{tag} has a handler {name}"
            if name in ("href", "src", "action", "xlink:href"):
                assert value.startswith(("#", "data:")), f"{tag} refers to {value}"
            assert "://" not in (value or "")
    assert "@import" not in "".join(outline.words("style"))
    assert "url(" not in "".join(outline.words("style"))


def test_ids_are_unique_and_every_reference_has_its_target(outline, html):
    assert len(outline.ids) == len(set(outline.ids))
    links = [attrs["href"] for _, attrs in outline.elements if "href" in attrs]
    targets = {link[1:] for link in links if link.startswith("#")}
    clips = {part.split(")")[0] for part in html.split("url(#")[1:]}
    assert targets
    assert clips
    assert targets | clips <= set(outline.ids)


def test_every_picture_is_there_and_described(outline):
    titles = outline.words("h3")
    for title in (
        "Evaluation ROUGE-L",
        "Accuracy on held-out pairs",
        "Scores of held-out answers",
        "KL to SFT",
        "Value loss",
        "Clip fraction",
        "Responses cut by the length limit",
        "Log-ratio to the reference",
        "Gold reward by model",
        "Gold reward against KL",
    ):
        assert title in titles
    pictures = outline.all("svg")
    assert len(pictures) == len(outline.all("figure")) == 19
    assert all(picture["role"] == "img" and len(picture["aria-label"]) > 40 for picture in pictures)
    assert any("evaluation: from" in picture["aria-label"] for picture in pictures)
    assert not any("Not drawn" in text for text in outline.words("p"))


def test_models_table_holds_the_summary(outline, quickstart):
    summary = json.loads((quickstart / "summary.json").read_text())
    words = outline.words("b")
    for cells in summary["models"].values():
        assert f"{cells['gold_reward']['mean']:.3f}" in words
        assert f"{cells['kl_to_sft']['mean']:.2f}" in words
    gold = summary["models"]["ppo"]["gold_reward"]
    assert f"[{gold['low']:.3f}, {gold['high']:.3f}]" in outline.words("span")


def test_text_of_models_is_escaped_and_made_visible(outline, html):
    assert NASTY.startswith("<script>")
    assert "<script" not in html
    assert '<script>alert("x")</script> & 1 < 2 ⟨U+202E⟩⟨U+001B⟩[31m $x^2$' in outline.words("p")
    assert "\u202e" not in html
    assert "\x1b" not in html


def test_faults_are_marked_by_letter_and_underline_too(outline, html):
    assert "The bridge of Kest was opened in 1931." in outline.words("mark")
    assert {"R", "W"} == set(outline.words("sup"))
    assert {"repetition", "wrong fact"} <= set(outline.words("mark"))
    assert {"fault-0", "fault-1"} == {mark["class"] for mark in outline.all("mark")}
    assert "text-decoration-style: dashed" in html


def test_report_is_reproducible_to_the_byte(quickstart, tmp_path, html):
    assert write_quickstart(copy(quickstart, tmp_path)).read_text(encoding="utf-8") == html


def test_light_and_dark_share_their_pictures(html):
    assert "@media (prefers-color-scheme: dark)" in html
    body = html[html.index("<body>") :]
    assert "#0072b2" not in body
    assert "var(--series-blue)" in body


def test_what_was_not_logged_is_named(quickstart, tmp_path):
    folder = copy(quickstart, tmp_path)
    (folder / "dpo" / "metrics.jsonl").unlink()
    log = folder / "sft" / "metrics.jsonl"
    log.write_text("".join(line + "\n" for line in log.read_text().splitlines() if "rougeL" not in line))
    (folder / "reward_model" / "pair_scores.jsonl").unlink()
    text = " ".join(Outline(write_quickstart(folder).read_text()).words("p"))
    assert "the run did not log it: eval/rougeL, eval/loss." in text
    assert "eval/accuracy, train/accuracy, train/margin, train/chosen_log_ratio, train/rejected_log_ratio." in text


def test_without_a_gold_reward_the_learned_one_is_shown(tmp_path):
    outline = Outline(write_quickstart(write_folder(tmp_path, has_gold=False)).read_text())
    assert "Learned reward by model" in outline.words("h3")
    assert "Learned reward against KL" in outline.words("h3")
    assert outline.words("span").count("unknown") == 4


def test_findings_follow_the_intervals():
    def cell(mean, low, high):
        return {"gold_reward": {"mean": mean, "low": low, "high": high}}

    models = {"sft": cell(0.5, 0.4, 0.6), "a": cell(0.7, 0.61, 0.8)}
    models |= {"b": cell(0.65, 0.55, 0.7), "c": cell(0.2, 0.1, 0.3)}
    better, unclear, worse = findings({"seconds": {}, "reward_model": {}, "models": models})
    assert better.startswith("a: gold reward 0.700 [0.610, 0.800] against 0.500 [0.400, 0.600], better than SFT")
    assert "not told apart" in unclear
    assert "worse than SFT" in worse


def test_a_missing_file_is_named(quickstart, tmp_path):
    folder = copy(quickstart, tmp_path)
    (folder / "evaluation.jsonl").unlink()
    with pytest.raises(InputError, match=r"evaluation\.jsonl"):
        write_quickstart(folder)


def test_run_report_shows_metrics_generations_and_config(quickstart, tmp_path):
    folder = shutil.copytree(quickstart / "ppo", tmp_path / "my-run")
    with (folder / "metrics.jsonl").open("a") as log:
        log.write('{"step": 81, "train/<b>odd</b>": 1, "train/value_loss": null, "nonfinite": ["train/value_loss"]}\n')
        log.write('{"step": 82, "train/value_l')
    (folder / "config.yaml").write_text("seed: 0  # <script>\n")
    (folder / "generations").mkdir()
    for step in (9, 10):
        row = {"prompt": "who?", "output": f"<i>answer at {step}</i>", "reward": 0.25}
        (folder / "generations" / f"step_{step}.jsonl").write_text(json.dumps(row) + "\n")
    html = write_run(folder).read_text()
    outline = Outline(html)
    assert outline.words("h1") == ["Training run my-run"]
    assert {"value_loss", "kl", "<b>odd</b>"} <= set(outline.words("h3"))
    assert "<i>answer at 10</i>" in outline.words("p")
    assert "answer at 9" not in html
    assert outline.words("pre") == ["seed: 0  # <script>\n"]
    assert any("Left out: 1 values that are not finite" in caption for caption in outline.words("figcaption"))


def write_trip(metrics, step, name, metric):
    found = {"name": name, "metric": metric, "value": 0.5, "threshold": 0.25}
    with metrics.open("a") as log:
        log.write(json.dumps({"step": step, "diagnostic": found}) + "\n")


def test_diagnostics_are_explained_and_marked_on_the_curve_that_they_read(quickstart, tmp_path):
    folder = copy(quickstart, tmp_path)
    write_trip(folder / "ppo" / "metrics.jsonl", 40, "clip_fraction", "train/clip_fraction")
    write_trip(folder / "dpo" / "metrics.jsonl", 30, "saturated", "train/saturated")
    for path, stages in ((folder, ("PPO: ", "DPO: ")), (folder / "ppo", ("",))):
        outline = Outline(write_report(path).read_text())
        assert "Diagnostics" in outline.words("h2")
        assert any("they diagnose and do not prophesy" in text for text in outline.words("p"))
        names = (f"{stage}{name}" for stage, name in zip(stages, ("clip fraction", "saturated"), strict=False))
        assert {*names} <= set(outline.words("b"))
        told = next(text for text in outline.words("li") if "at step 40" in text)
        assert "(train/clip_fraction). Share of actions beyond the clip, mean of the last 5 batches: 0.5, above" in told
        assert "gives no gradient, because earlier steps" in told
        assert "To try: Lower training.learning_rate" in told
        captions = [text for text in outline.words("figcaption") if "Marked" in text]
        assert len(captions) == 1, "the saturated share of these pairs was not logged"
        assert "Marked: clip fraction at step 40." in captions[0]
        assert any("Marked: clip fraction at step 40." in svg["aria-label"] for svg in outline.all("svg"))


def test_a_page_without_diagnostics_says_nothing_of_them(outline):
    assert "Diagnostics" not in outline.words("h2")
    assert not any("Marked" in text for text in outline.words("figcaption"))


def test_the_kind_of_folder_decides_the_report(quickstart, tmp_path):
    folder = copy(quickstart, tmp_path)
    assert "The models compared" in write_report(folder).read_text()
    assert "Training run ppo" in write_report(folder / "ppo").read_text()
    with pytest.raises(InputError, match=r"neither summary\.json nor metrics\.jsonl"):
        write_report(tmp_path)


def test_machine_is_read_from_the_first_stage_where_the_folder_has_none(quickstart, tmp_path):
    folder = copy(quickstart, tmp_path)
    (folder / "versions.json").rename(folder / "sft" / "versions.json")
    assert "cpu Example CPU · threads 2 · python 3.11.9 · torch 2.13.0" in Outline(
        write_quickstart(folder).read_text()
    ).words("p")


def test_png_is_drawn(quickstart, tmp_path):
    for name in ("one.png", "two.png"):
        write_png(quickstart, tmp_path / name)
    picture = (tmp_path / "one.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(picture[16:20], "big") == 1600
    assert len(picture) > 40_000
    assert picture == (tmp_path / "two.png").read_bytes()


def test_reports_need_no_torch():
    code = "import sys, posttrain.figures.report; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
