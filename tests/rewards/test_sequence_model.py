"""The reward of a response is its normalised score, whatever tokens and however many of them the model reads."""

import json
from pathlib import Path

import pytest
import torch

from posttrain.batches import Rollout
from posttrain.data.collate import collate_prompts, collate_sequences
from posttrain.data.records import Prompt
from posttrain.errors import InputError
from posttrain.models.loading import load_scorer, load_tokenizer, new_scorer
from posttrain.models.scorer import STATISTICS_FILE
from posttrain.rewards import sequence_model
from posttrain.rewards.sequence_model import Config, SequenceModelReward, build
from tests.tiny_models import END, ONE_PER_FAMILY, START, VOCABULARY, is_encoder_decoder, word_tokenizer, write_model

MEAN, STD = 0.25, 0.5
PROMPTS = ("ba ce di", "fo")
TEXTS = (("gu ha", "be ci do"), ("cy",))  # responses to each prompt
SHIFT = 5  # of the ids of words in the other vocabulary


def ids_of(text: str) -> list[int]:
    return [VOCABULARY[word] for word in text.split()]


def prompt_ids(name: str, text: str) -> list[int]:
    return [*ids_of(text), END] if is_encoder_decoder(name) else [START, *ids_of(text)]


def rollout_of(name: str, prompts: tuple[str, ...] = PROMPTS, texts: tuple[tuple[str, ...], ...] = TEXTS) -> Rollout:
    """What a policy of the word tokenizer wrote; every response but the first has its end token."""
    flat = [text for some in texts for text in some]
    index = [i for i, some in enumerate(texts) for _ in some]
    encoded = collate_prompts([prompt_ids(name, text) for text in prompts], [Prompt(text) for text in prompts])
    sequences = collate_sequences(
        encoded, index, [[*ids_of(text), *([END] if i else [])] for i, text in enumerate(flat)]
    )
    return Rollout(sequences, torch.zeros(sequences.response_ids.shape), tuple(flat), torch.zeros(len(flat)).bool())


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Reward models; those called `short` have 12 positions, `other` reads words by other ids."""
    made = {}
    for name, kind, changes in (
        ("t5", "t5", {}),
        ("llama", "llama", {}),
        ("llama short", "llama", {"max_position_embeddings": 12}),
        ("bart short", "bart", {"max_position_embeddings": 12}),
        ("t5 other", "t5", {}),
    ):
        path = tmp_path_factory.mktemp("rewards")
        write_model(kind, path / "start", **changes)
        torch.manual_seed(3)
        scorer = new_scorer(str(path / "start"), 0.0)
        scorer.save(path)
        load_tokenizer(str(path / "start")).save_pretrained(path)
        (path / STATISTICS_FILE).write_text(json.dumps({"mean": MEAN, "std": STD, "num_responses": 9}))
        made[name] = path
    _shift_words(made["t5 other"] / "tokenizer.json")
    return made


def _shift_words(file: Path) -> None:
    tokenizer = json.loads(file.read_text())
    words = [word for word, i in VOCABULARY.items() if i > 3]
    tokenizer["model"]["vocab"] |= {word: 4 + (i + SHIFT) % len(words) for i, word in enumerate(words)}
    file.write_text(json.dumps(tokenizer))


def reward_of(folder: Path, name: str, **settings) -> SequenceModelReward:
    policy_tokenizer = word_tokenizer(is_encoder_decoder(name))
    return build(Config(model=str(folder), **settings), "mine", policy_tokenizer, torch.device("cpu"))


@torch.no_grad()
def raw_score(folder: Path, prompt: list[int], response: list[int]) -> float:
    """The model's own score of one unpadded text."""
    sequences = collate_sequences(collate_prompts([prompt], [Prompt("")]), [0], [response])
    return load_scorer(str(folder))[0](sequences).item()


def raw_scores(folder: Path, rows: list[tuple[list[int], list[int]]]) -> list[float]:
    return [raw_score(folder, prompt, response) for prompt, response in rows]


def rows_of(name: str) -> list[tuple[list[int], list[int]]]:
    return [
        (prompt_ids(name, PROMPTS[0]), ids_of(TEXTS[0][0])),
        (prompt_ids(name, PROMPTS[0]), [*ids_of(TEXTS[0][1]), END]),
        (prompt_ids(name, PROMPTS[1]), [*ids_of(TEXTS[1][0]), END]),
    ]


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_scores_are_normalised_and_stand_at_the_last_token(name, folders):
    reward = reward_of(folders[name], name, scale=3.0, bias=0.5, batch_size=2)
    assert reward.tokenizer is None, "it reads the policy's tokens"
    stream = reward(rollout_of(name))
    expected = [(score - MEAN) / STD * 3 + 0.5 for score in raw_scores(folders[name], rows_of(name))]
    assert len({round(score, 3) for score in expected}) == 3
    assert stream.name == "mine"
    assert stream.mask.tolist() == [
        [False, True, False, False],  # "gu ha", cut before its end
        [False, False, False, True],
        [False, True, False, False],
    ]
    assert stream.values[stream.mask].tolist() == pytest.approx(expected, abs=1e-4)
    assert stream.totals().tolist() == pytest.approx(expected, abs=1e-4)
    assert stream.num_truncated == 0


def test_scores_as_the_model_gives_them(folders):
    reward = reward_of(folders["t5"], "t5", should_normalize=False, scale=2.0, bias=-1.0)
    expected = [2 * score - 1 for score in raw_scores(folders["t5"], rows_of("t5"))]
    assert reward(rollout_of("t5")).totals().tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
@pytest.mark.parametrize("reads", ["response", "text"])
def test_a_model_that_reads_one_text(name, reads, folders):
    """The prompt is then the start token alone, and the response ends even where the policy was cut."""
    reward = reward_of(folders[name], name, reads=reads, should_normalize=False)
    nothing = [START, END] if is_encoder_decoder(name) else [START]
    before = [
        f"{prompt} " if reads == "text" else "" for prompt, some in zip(PROMPTS, TEXTS, strict=True) for _ in some
    ]
    texts = [text for some in TEXTS for text in some]
    rows = [(nothing, [*ids_of(start + text), END]) for start, text in zip(before, texts, strict=True)]
    expected = raw_scores(folders[name], rows)
    assert reward(rollout_of(name)).totals().tolist() == pytest.approx(expected, abs=1e-4)


def test_a_model_with_another_tokenizer_reads_the_same_texts(folders):
    reward = reward_of(folders["t5 other"], "t5", should_normalize=False)
    assert reward.tokenizer is not None
    number = len(VOCABULARY) - 4

    def other(ids: list[int]) -> list[int]:
        return [4 + (i - 4 + SHIFT) % number if i > 3 else i for i in ids]

    rows = [(other(prompt), [*(i for i in other(response) if i != END), END]) for prompt, response in rows_of("t5")]
    assert rows[0][0] != rows_of("t5")[0][0]
    expected = raw_scores(folders["t5 other"], rows)
    stream = reward(rollout_of("t5"))
    assert stream.totals().tolist() == pytest.approx(expected, abs=1e-4)
    assert stream.mask.tolist()[0] == [False, True, False, False], "at the last token of the policy's own"


LONG_PROMPT, SHORT_TEXT, LONG_TEXT = "ba be bi bo bu by", "ca ce", "da de di do du dy fa fe fi fo fu fy ga"


@pytest.mark.parametrize("reads", ["prompt_and_response", "text"])
def test_texts_longer_than_the_model_are_counted_and_refused(reads, folders):
    reward = reward_of(folders["llama short"], "llama", reads=reads)
    rollout = rollout_of("llama", (LONG_PROMPT,), ((SHORT_TEXT, "ga ge gi", LONG_TEXT),))
    longest = {"prompt_and_response": 7 + 14, "text": 1 + 6 + 14}[reads]
    message = (
        rf"^rewards\.mine: 1 of 3 texts need more than the 12 positions .* longest needs {longest}\); .*truncation"
    )
    with pytest.raises(InputError, match=message):
        reward(rollout)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_decoder_only_model_reads_less_of_the_prompt_first(side, folders, monkeypatch):
    warnings = []
    monkeypatch.setattr(sequence_model.log, "warning", lambda text, *values: warnings.append(text % values))
    folder = folders["llama short"]
    reward = reward_of(folder, "llama", truncation=side, should_normalize=False)
    middle = "ga ge gi go gu gy"
    rollout = rollout_of("llama", (LONG_PROMPT,), ((SHORT_TEXT, middle, LONG_TEXT),))
    prompt, long = prompt_ids("llama", LONG_PROMPT), [*ids_of(LONG_TEXT), END]
    five, eleven = {"left": (prompt[-5:], long[-11:]), "right": ([*prompt[:4], prompt[-1]], long[:11])}[side]
    rows = [(prompt, ids_of(SHORT_TEXT)), (five, [*ids_of(middle), END]), (prompt[-1:], eleven)]
    for _ in range(2):
        stream = reward(rollout)
        assert stream.totals().tolist() == pytest.approx(raw_scores(folder, rows), abs=1e-4)
        assert stream.num_truncated == 2
    assert len(warnings) == 1, "it is said once, and counted each time"
    assert "2 of 3 texts need more than the 12 positions" in warnings[0]
    assert f"cut on the {side}" in warnings[0]


@pytest.mark.parametrize("side", ["left", "right"])
def test_an_encoder_decoder_model_reads_the_end_of_a_cut_prompt(side, folders):
    folder = folders["bart short"]
    reward = reward_of(folder, "bart", truncation=side, should_normalize=False)
    rollout = rollout_of("bart", (LONG_TEXT, LONG_PROMPT), ((SHORT_TEXT,), (LONG_TEXT,)))
    long, words = [*ids_of(LONG_TEXT), END], ids_of(LONG_TEXT)
    prompt, response = {"left": (words[-11:], long[-11:]), "right": (words[:11], long[:11])}[side]
    rows = [([*prompt, END], ids_of(SHORT_TEXT)), (prompt_ids("bart", LONG_PROMPT), response)]
    stream = reward(rollout)
    assert stream.totals().tolist() == pytest.approx(raw_scores(folder, rows), abs=1e-4)
    assert stream.num_truncated == 2


def test_relative_positions_have_no_limit(folders):
    reward = reward_of(folders["t5"], "t5")
    assert reward(rollout_of("t5", (f"{LONG_TEXT} " * 30,), ((SHORT_TEXT,),))).num_truncated == 0
