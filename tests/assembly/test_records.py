"""A data set that leaves nothing to train on is refused before anything is made."""

import pytest

from posttrain.algorithms import dpo, preference_reward_model, sft
from posttrain.assembly.records import check_pairs, collator
from posttrain.data.collate import Encoder, tokenize
from posttrain.data.records import Comparison, Demonstration, Pair, Prompt
from posttrain.errors import InputError
from tests.tiny_models import word_tokenizer

PROMPT = Prompt("a question")


def comparison(*labels: int) -> Comparison:
    return Comparison(PROMPT, ("yes", "no"), tuple(Pair(0, 1, label) for label in labels))


@pytest.mark.parametrize("config", [dpo.Config(), preference_reward_model.Config(ties="drop")])
def test_ties_alone_are_refused_where_ties_are_dropped(config):
    with pytest.raises(
        InputError, match=r"^data\.train: each of its 3 pairs is a tie, and algorithm\.ties=drop .* half"
    ):
        check_pairs([comparison(0, 0), comparison(0)], config, "data.train")
    check_pairs([comparison(0, 0), comparison(0, 2)], config, "data.train")


@pytest.mark.parametrize("config", [dpo.Config(ties="half"), preference_reward_model.Config()])
def test_ties_alone_are_data_where_a_tie_is_half_a_win(config):
    check_pairs([comparison(0, 0)], config, "data.train")


def test_training_does_not_learn_what_is_given(tmp_path):
    encoder = Encoder(word_tokenizer(False), False, 9, 9)
    rows = tokenize([Demonstration(PROMPT, "aa ae"), Demonstration(PROMPT, "aa ae ai", ((0, 2), (6, 8)))], encoder, "")
    batch = collator("demonstrations", rows, lambda: pytest.fail("SFT has no reference"), tmp_path)([1, 0])
    assert batch.action_mask.tolist() == [[False, True, False, True], [True, True, True, False]]
    assert batch.response_mask.tolist() == [[True] * 4, [True] * 3 + [False]]


def test_records_without_pairs_are_not_concerned():
    check_pairs([Demonstration(PROMPT, "yes")], sft.Config(), "data.train")
    check_pairs([], dpo.Config(), "data.evaluation")


RANKED = ((0, 1, 2), (0, 2, 1), (1, 2, 1))  # 1 over 0, 0 over 2, 1 over 2


@pytest.mark.parametrize(
    "pairs",
    [
        RANKED[:2],  # one is missing
        (*RANKED[:2], (1, 2, 0)),  # one is tied
        (*RANKED, (0, 2, 1)),  # one is judged twice
        (*RANKED[:2], (1, 2, 2)),  # a circle
    ],
)
def test_what_is_no_ranking_is_refused_where_rankings_are_read(pairs):
    config = preference_reward_model.Config(reads="rankings")
    ranked, other = (
        Comparison(PROMPT, ("a", "b", "c"), tuple(Pair(*pair) for pair in some)) for some in (RANKED, pairs)
    )
    check_pairs([ranked, comparison(1)], config, "data.train")
    with pytest.raises(InputError, match=r"data\.train: record 2 of 2 is no ranking of its 3 responses"):
        check_pairs([ranked, other], config, "data.train")
    check_pairs([ranked, other], preference_reward_model.Config(), "data.train")
