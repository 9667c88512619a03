import json
import logging
from collections import Counter
from pathlib import Path

import pytest

from posttrain.data.records import Demonstration, Judgement, Prompt
from posttrain.data.sources import sentiment
from posttrain.errors import InputError

FOLDER = Path(__file__).parents[4] / "shared" / "data"
real_data = pytest.mark.skipif(not (FOLDER / "imdb").is_dir(), reason="IMDB and SST-2 are not at ../shared/data")

ROWS = [{"text": f"film {i} was  quite\tnice , really", "label": i % 2, "id": f"n{i}", "rating": 5} for i in range(20)]


@pytest.fixture
def path(tmp_path):
    return written(tmp_path, *ROWS)


def written(tmp_path, *rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def load(path, records, **more):
    return sentiment.load(sentiment.Config(path=path, records=records, **more))


def test_a_judgement_holds_the_whole_text(path):
    loaded = load(path, "judgements", prefix="Write a review: ", shuffle_seed=None)
    assert loaded[1] == Judgement(
        Prompt("Write a review: ", "n1", facts={"label": 1}), "film 1 was  quite\tnice , really", True
    )
    assert [judgement.is_good for judgement in loaded] == [False, True] * 10


def test_a_judgement_of_the_first_words(path):
    [first, *_] = load(path, "judgements", response_words=4, shuffle_seed=None)
    assert first == Judgement(Prompt("", "n0", facts={"label": 0}), "film 0 was  quite", False)
    [whole, *_] = load(path, "judgements", response_words=7, shuffle_seed=None)
    assert whole.response == "film 0 was  quite\tnice , really"


def test_a_demonstration_is_divided_between_words_with_its_blanks(path):
    [first, *_] = load(path, "demonstrations", prompt_words=3, shuffle_seed=None)
    assert first == Demonstration(Prompt("film 0 was", "n0", facts={"label": 0}), "  quite\tnice , really")
    [cut, *_] = load(path, "demonstrations", prompt_words=3, response_words=2, prefix="> ", shuffle_seed=None)
    assert (cut.prompt.text, cut.response) == ("> film 0 was", "  quite\tnice")
    [one, *_] = load(path, "demonstrations", prompt_words=6, response_words=50, shuffle_seed=None)
    assert one.response == " really"
    prompts = load(path, "prompts", prompt_words=3, shuffle_seed=None)
    assert prompts[0] == first.prompt


def test_line_breaks_become_one_blank(tmp_path):
    path = written(tmp_path, {"text": "<br />Good.<br /><br />Bad. <br/> <br> end <b>bold</b><br />", "label": 1})
    assert load(path, "judgements")[0].response == "Good. Bad. end <b>bold</b>"


def test_disjoint_ranges_share_no_row_whatever_their_labels(path):
    ranges = [(0, 8, None), (8, 6, 1), (8, 6, 0), (14, None, None)]
    ids = [
        {judgement.prompt.id for judgement in load(path, "judgements", start=start, num=num, label=label)}
        for start, num, label in ranges
    ]
    assert sum(map(len, ids)) == 20
    assert set().union(*ids) == {row["id"] for row in ROWS}
    assert all(judgement.is_good for judgement in load(path, "judgements", start=8, num=6, label=1))


def test_the_shuffle_depends_on_the_seed_alone(path, tmp_path):
    order = [judgement.prompt.id for judgement in load(path, "judgements")]
    assert order != [row["id"] for row in ROWS]
    assert order != [judgement.prompt.id for judgement in load(path, "judgements", shuffle_seed=1)]
    turned = written(tmp_path, *reversed(ROWS))
    assert order == [judgement.prompt.id for judgement in load(turned, "judgements")]


def test_equal_texts_lie_side_by_side(tmp_path):
    path = written(tmp_path, *ROWS, *ROWS)
    responses = [judgement.response for judgement in load(path, "judgements")]
    assert responses[::2] == responses[1::2]


def test_texts_too_short_to_continue_are_counted(tmp_path, caplog):
    path = written(tmp_path, {"text": "one two", "label": 0}, {"text": "one two three", "label": 1})
    for records in ("demonstrations", "prompts"):
        with pytest.raises(InputError, match="1 of 2 texts have no word after prompt_words=2; lower prompt_words"):
            load(path, records, prompt_words=2)
        with caplog.at_level(logging.WARNING):
            assert len(load(path, records, prompt_words=2, short_texts="drop")) == 1
        assert "1 of 2 texts" in caplog.text
        assert "1 kept" in caplog.text
        caplog.clear()
        with pytest.raises(InputError, match="2 of 2 texts"):
            load(path, records, prompt_words=3, short_texts="drop")
    assert len(load(path, "judgements", prompt_words=9)) == 2


def test_more_than_there_is_and_a_class_that_is_absent(path, tmp_path):
    with pytest.raises(InputError, match="start 15 and num 6 ask for rows up to 21, the file has 20"):
        load(path, "judgements", start=15, num=6)
    one_class = written(tmp_path, {"text": "fine", "label": 1})
    with pytest.raises(InputError, match="has label 0"):
        load(one_class, "judgements", label=0)


@real_data
@pytest.mark.parametrize(
    ("name", "num_bad", "num_good"),
    [("imdb/train_15k", 7500, 7500), ("sst2/train", 3310, 3610), ("sst2/dev", 428, 444)],
)
def test_every_real_row_is_read(name, num_bad, num_good):
    judgements = load(FOLDER / f"{name}.jsonl.gz", "judgements")
    assert Counter(judgement.is_good for judgement in judgements) == {False: num_bad, True: num_good}
    assert not any("<br" in judgement.response for judgement in judgements)


@real_data
def test_real_demonstrations_are_the_texts_again():
    path = FOLDER / "sst2" / "train.jsonl.gz"
    judgements = load(path, "judgements", num=500)
    demonstrations = load(path, "demonstrations", num=500, prompt_words=2, short_texts="drop")
    texts = [judgement.response for judgement in judgements if len(judgement.response.split()) > 2]
    assert [demonstration.prompt.text + demonstration.response for demonstration in demonstrations] == texts
