import json
from collections import Counter
from pathlib import Path

import pytest

from posttrain.data.records import Comparison, Demonstration, Pair, Prompt
from posttrain.data.sources import qa_feedback

FOLDER = Path(__file__).parents[4] / "shared" / "data" / "qa_feedback"
real_data = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the QA-Feedback files are not at ../shared/data/qa_feedback"
)

FEEDBACK = {
    "errors": [{"error type": "Irrelevant", "explanation": "", "start": 0, "end": 5}],
    "missing-info": [{"error type": "Missing-Answer", "passage_id": 0, "sentence_id": 1}],
    "corrected-prediction": "",
}
FEEDBACK_ROW = {
    "question": "who?",
    "passages": [["One", "One\n\n", "Ann did.", "Bob too."], ["Two", "Nobody."]],
    "gold": "Ann and Bob. ",
    "prediction 1": "Ann. ",
    "prediction 2": "Bob.",
    "prediction 3": "Both.",
    "prediction 4": "None.",
    "feedback": FEEDBACK,
    "preference": [0, 1, 2, 1, 0, 2],
}
DEMONSTRATION_ROW = {
    "text": "question: who? context: wikipage: One text: One\n\nAnn did. Bob too. | wikipage: Two text: Nobody.",
    "answer": ["Ann and Bob.", "Both."],
    "passages": [{"wikipage": "One", "content": "One\n\nAnn did. Bob too."}, {"wikipage": "Two", "content": "Nobody."}],
    "question": "who?",
}


def load(path, records, **more):
    return qa_feedback.load(qa_feedback.Config(path=path, records=records, **more))


def written(tmp_path, row):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    return path


def test_a_demonstration_takes_the_first_answer(tmp_path):
    facts = {"question": "who?", "passages": DEMONSTRATION_ROW["passages"]}
    prompt = Prompt(DEMONSTRATION_ROW["text"], "who?", ("Ann and Bob.", "Both."), facts)
    path = written(tmp_path, DEMONSTRATION_ROW)
    assert load(path, "demonstrations") == [Demonstration(prompt, "Ann and Bob.")]
    assert load(path, "prompts") == [prompt]


def test_a_comparison_has_six_pairs_and_the_prompt_of_the_demonstration(tmp_path):
    facts = {"question": "who?", "passages": FEEDBACK_ROW["passages"], "feedback": FEEDBACK}
    prompt = Prompt(DEMONSTRATION_ROW["text"], "who?", ("Ann and Bob. ",), facts)
    pairs = (Pair(0, 1, 0), Pair(0, 2, 1), Pair(0, 3, 2), Pair(1, 2, 1), Pair(1, 3, 0), Pair(2, 3, 2))
    path = written(tmp_path, FEEDBACK_ROW)
    assert load(path, "comparisons") == [Comparison(prompt, ("Ann. ", "Bob.", "Both.", "None."), pairs)]
    assert load(path, "prompts") == [prompt]


@real_data
@pytest.mark.parametrize(
    ("name", "records", "num"),
    [
        ("dev", "demonstrations", 357),
        ("dev", "prompts", 357),
        ("dev_feedback", "comparisons", 357),
        ("dev_feedback", "prompts", 357),
        ("train_48", "demonstrations", 48),
        ("train_feedback_24", "comparisons", 24),
    ],
)
def test_every_real_row_is_read(name, records, num):
    path = FOLDER / f"{name}.jsonl.gz"
    loaded = load(path, records)
    assert len(loaded) == num
    assert load(path, records, num=5) == loaded[:5]


@real_data
def test_real_labels_and_error_spans():
    comparisons = load(FOLDER / "dev_feedback.jsonl.gz", "comparisons")
    assert Counter(pair.label for comparison in comparisons for pair in comparison.pairs) == {0: 285, 1: 1111, 2: 746}
    spans = [span for comparison in comparisons for span in comparison.prompt.facts["feedback"]["errors"]]
    assert len(spans) == 975
    assert sum(len(comparison.prompt.facts["feedback"]["missing-info"]) for comparison in comparisons) == 598


@real_data
def test_rebuilt_prompts_equal_those_of_the_demonstrations_but_for_blanks():
    original = {prompt.id: prompt.text for prompt in load(FOLDER / "dev.jsonl.gz", "prompts")}
    rebuilt = {prompt.id: prompt.text for prompt in load(FOLDER / "dev_feedback.jsonl.gz", "prompts")}
    assert original.keys() == rebuilt.keys()
    assert sum(original[id] == rebuilt[id] for id in original) == 348
    assert all("".join(original[id].split()) == "".join(rebuilt[id].split()) for id in original)
    assert max(len(rebuilt[id]) - len(original[id]) for id in original) == 2
