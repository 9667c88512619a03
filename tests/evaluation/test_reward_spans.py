"""Characters of each judgement of a reward stream, and the files of them."""

import json

import pytest

from posttrain.data.text_columns import TextColumns
from posttrain.errors import InputError
from posttrain.evaluation.reward_spans import (
    RewardedAnswer,
    placed,
    read_reward_spans,
    spans_file,
    spans_of_step,
    write_reward_spans,
)
from posttrain.models.tokenizer import train_tokenizer

#       It is so. No, it is not.   as "It", " is", " so", ".", " No", ",", " it", " is", " not", ".", end
TEXT = "It is so. No, it is not."
ENDS = [2, 5, 8, 9, 12, 13, 16, 19, 23, 24, 24]
WHERE = {3: 0.5, 5: -1.0, 9: 0.25}  # at the end of the sentence, of "No," and of the text


def row(judged: dict[int, float], num_columns: int = 13) -> tuple[list[float], list[bool]]:
    """Values and mask of a padded row; a value that is not judged is not read."""
    return [judged.get(t, 7.0) for t in range(num_columns)], [t in judged for t in range(num_columns)]


def test_a_span_goes_from_the_judgement_before_without_white_space():
    spans = placed(*row(WHERE), ENDS, TEXT, is_cut=False)
    assert spans == [(0, 9, 0.5), (10, 13, -1.0), (14, 24, 0.25)]
    assert [TEXT[start:end] for start, end, _ in spans] == ["It is so.", "No,", "it is not."]


def test_what_stands_on_the_end_token_is_for_the_whole_answer():
    assert placed(*row({10: 2.0}), ENDS, TEXT, is_cut=False) == [(0, 24, 2.0)]
    assert placed(*row(WHERE | {10: 2.0}), ENDS, TEXT, is_cut=False)[-2:] == [(14, 24, 0.25), (0, 24, 2.0)]


def test_an_answer_that_was_cut_has_no_end_token():
    cut = ENDS[:8]
    assert placed(*row({3: 0.5, 7: 2.0}), cut, TEXT[:19], is_cut=True) == [(0, 9, 0.5), (10, 19, 2.0)]
    assert placed(*row({7: 2.0}), cut, TEXT[:19], is_cut=True) == [(0, 19, 2.0)]


def test_no_judgement_an_empty_answer_and_tokens_that_show_nothing():
    assert placed(*row({}), ENDS, TEXT, is_cut=False) == []
    assert placed(*row({0: 1.0}), [0], "", is_cut=False) == [(0, 0, 1.0)]
    # the first bytes of a character, its last byte, a blank
    assert placed(*row({0: 1.0, 1: 2.0, 2: 3.0}), [0, 1, 2, 3], "é b", is_cut=True) == [
        (0, 0, 1.0), (0, 1, 2.0), (2, 2, 3.0),
    ]  # fmt: skip


def test_characters_of_several_tokens():
    """A reward at each token of a text that the tokenizer falls back to bytes for."""
    tokenizer = train_tokenizer(["a b ab abc"], 280, is_encoder_decoder=True)
    text = "ab 漢é👩‍🔬 abc"
    ids = tokenizer(text).input_ids
    ends = TextColumns(tokenizer).ends(ids, text)
    assert len(ids) > len(text), "bytes"
    spans = placed(list(map(float, range(len(ids)))), [True] * len(ids), ends, text, is_cut=False)
    assert spans[-1] == (0, len(text), len(ids) - 1.0)
    shown = [text[start:end] for start, end, _ in spans[:-1]]
    assert "".join(shown) == text.replace(" ", "")
    assert {"漢", "é", "👩", "🔬", ""} <= set(shown), "each with its last byte; the bytes before it show nothing"
    assert [value for _, _, value in spans] == list(range(len(ids)))


def test_files_keep_what_was_written(tmp_path):
    answers = [
        RewardedAnswer("why?", 'a "b" 漢\u202e\n', {"truth": [(0, 3, 0.1), (4, 4, -2.0)], "<b>": []}),
        RewardedAnswer("", "", {"truth": [(0, 0, 1e-9)], "<b>": [(0, 0, 3.0)]}),
    ]
    write_reward_spans(spans_file(tmp_path, 4), answers)
    assert read_reward_spans(tmp_path / "reward_spans" / "step_4.jsonl") == answers
    assert spans_of_step(tmp_path, 4, [(it.prompt, it.output) for it in answers]) == answers
    assert spans_of_step(tmp_path, 5, []) == []


def test_a_value_that_is_no_number_is_not_written(tmp_path):
    path = tmp_path / "spans.jsonl"
    for value in (float("nan"), float("inf")):
        with pytest.raises(InputError, match=r"spans\.jsonl:1: row cannot be written"):
            write_reward_spans(path, [RewardedAnswer("p", "abc", {"truth": [(0, 1, value)]})])
    assert not path.exists()


@pytest.mark.parametrize(
    ("rewards", "fault"),
    [
        ('{"truth": [[0, 1, NaN]]}', "not JSON"),
        ('{"truth": [[0, 1, 1e999]]}', "not JSON"),
        ('{"truth": [[0, 4, 1]]}', "within the 3 characters"),
        ('{"truth": [[-1, 2, 1]]}', "within the 3 characters"),
        ('{"truth": [[2, 1, 1]]}', "within the 3 characters"),
        ('{"truth": [[0, 1]]}', r"rewards\.truth: \[0, 1\] is no span"),
        ('{"truth": [[0, 1, true]]}', "is no span"),
        ('{"truth": [[0, 1.0, 1]]}', "is no span"),
        ('{"truth": [7]}', "is no span"),
        ('{"truth": 7}', "expected a list of spans"),
        ("[]", "an object under"),
    ],
)
def test_a_damaged_row_is_named(tmp_path, rewards, fault):
    path = tmp_path / "spans.jsonl"
    sound = json.dumps({"prompt": "p", "output": "abc", "rewards": {"truth": [[0, 3, 1]]}})
    path.write_text(sound + "\n" + sound.replace('{"truth": [[0, 3, 1]]}', rewards) + "\n")
    with pytest.raises(InputError, match=rf"spans\.jsonl:2: .*({fault})"):
        read_reward_spans(path)


def test_spans_of_other_answers_are_refused(tmp_path):
    write_reward_spans(spans_file(tmp_path, 4), [RewardedAnswer("p", "abc", {})])
    for texts in ([("p", "abd")], [("q", "abc")], [], [("p", "abc")] * 2):
        with pytest.raises(InputError, match=r"step_4\.jsonl: its answers are not those of generations/step_4\.jsonl"):
            spans_of_step(tmp_path, 4, texts)
