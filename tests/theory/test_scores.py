"""Reward-model losses recover known scores, and agree with a solver that knows no gradients."""

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from posttrain.algorithms.preference_reward_model import Config, PreferenceRewardModel
from posttrain.batches import PreferencePairs, Sequences
from posttrain.data.collate import collate_prompts, collate_sequences
from posttrain.data.records import Prompt
from posttrain.functional.preference import plackett_luce_loss
from tests.theory.pairs import minimize
from tests.theory.solvers import bradley_terry_scores, davidson_scores, plackett_luce_scores, rao_kupper_scores

SCORES = torch.tensor([1.2, -0.3, 0.4, -1.5, 0.2], dtype=torch.float64)  # of mean 0
NUM = len(SCORES)
THETA, NU = 1.8, 0.7
EXACT = 1e-5


class Scores(nn.Module):
    """The score of a response is that of its first token; `num_more` is the tie strength, before its transformation."""

    def __init__(self, has_strength: bool = False):
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(NUM))
        self.raw = nn.Parameter(torch.zeros(())) if has_strength else None

    def forward(self, sequences: Sequences) -> Tensor | tuple[Tensor, Tensor]:
        found = self.scores[sequences.response_ids[:, 0]]
        return found if self.raw is None else (found, self.raw)

    def centred(self) -> np.ndarray:
        return (self.scores - self.scores.mean()).detach().numpy()


def comparisons(wins: np.ndarray, ties: np.ndarray) -> PreferencePairs:
    """One prompt with a response per item; each kind of outcome once, and as heavy as it is frequent."""
    sequences = collate_sequences(collate_prompts([[0]], [Prompt("")]), [0] * NUM, [[item] for item in range(NUM)])
    of_wins, of_ties = np.argwhere(wins > 0), np.argwhere(np.triu(ties) > 0)
    pairs = np.concatenate([of_wins, of_ties])
    weight = np.concatenate([wins[tuple(of_wins.T)], ties[tuple(of_ties.T)]])
    is_tie = torch.arange(len(pairs)) >= len(of_wins)
    better, worse = torch.tensor(pairs).unbind(1)
    return PreferencePairs(sequences, better, worse, is_tie, torch.tensor(weight, dtype=torch.float64))


def fitted(batch: PreferencePairs, **settings: object) -> tuple[np.ndarray, float | None]:
    """Scores by the real loss, and the tie strength where it is learnt."""
    config = Config(**settings)
    algorithm = PreferenceRewardModel(config, Scores(config.learns_tie_strength))
    minimize(algorithm.module, lambda: (report := algorithm.loss(batch)).loss_sum / report.count)
    strength = algorithm.loss(batch).metric_sums.get("tie_strength")
    return algorithm.module.centred(), None if strength is None else float(strength)


def outcomes(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """P(i ≻ j) and P(tie) of every pair, from the definitions; 0 on the diagonal."""
    strengths = SCORES.exp().numpy()
    mine, theirs, means = strengths[:, None], strengths[None, :], np.sqrt(np.outer(strengths, strengths))
    if kind == "rao_kupper":
        won = mine / (mine + THETA * theirs)
        tied = (THETA**2 - 1) * mine * theirs / ((mine + THETA * theirs) * (theirs + THETA * mine))
    elif kind == "davidson":
        total = mine + theirs + NU * means
        won, tied = mine / total, NU * means / total
    else:
        won, tied = mine / (mine + theirs), np.zeros((NUM, NUM))
    off = 1 - np.eye(NUM)
    assert np.allclose((won + won.T + tied) * off, off)
    return won * off, tied * off


SETTINGS = {"bradley_terry": {}, "rao_kupper": {"ties": "rao_kupper"}, "davidson": {"ties": "davidson"}}
STRENGTHS = {"bradley_terry": None, "rao_kupper": THETA, "davidson": NU}


@pytest.mark.parametrize("kind", SETTINGS)
def test_scores_come_back_from_exact_probabilities(kind):
    scores, strength = fitted(comparisons(*outcomes(kind)), **SETTINGS[kind])
    assert np.allclose(scores, SCORES.numpy(), atol=EXACT)
    assert strength == (None if STRENGTHS[kind] is None else pytest.approx(STRENGTHS[kind], abs=EXACT))


def drawn(kind: str, per_pair: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts of so many judgements of every pair."""
    generator = np.random.default_rng(seed)
    won, tied = outcomes(kind)
    wins, ties = np.zeros((NUM, NUM)), np.zeros((NUM, NUM))
    for i in range(NUM):
        for j in range(i):
            wins[i, j], wins[j, i], ties[i, j] = generator.multinomial(per_pair, [won[i, j], won[j, i], tied[i, j]])
            ties[j, i] = ties[i, j]
    return wins, ties


@pytest.mark.parametrize("seed", range(3))
def test_a_sample_s_maximum_is_that_of_another_solver(seed):
    wins, _ = drawn("bradley_terry", 40, seed)
    found, _ = fitted(comparisons(wins, np.zeros_like(wins)))
    assert np.allclose(found, bradley_terry_scores(wins), atol=EXACT)
    assert np.abs(found - SCORES.numpy()).max() > 10 * EXACT  # a sample's, not the true one
    wins, ties = drawn("rao_kupper", 40, seed)
    found, strength = fitted(comparisons(wins, ties), ties="rao_kupper")
    expected, theta = rao_kupper_scores(wins, ties)
    assert np.allclose(found, expected, atol=EXACT)
    assert strength == pytest.approx(theta, abs=EXACT)
    wins, ties = drawn("davidson", 40, seed)
    found, strength = fitted(comparisons(wins, ties), ties="davidson")
    expected, nu = davidson_scores(wins, ties)
    assert np.allclose(found, expected, atol=EXACT)
    assert strength == pytest.approx(nu, abs=EXACT)


def test_more_judgements_come_nearer_to_the_truth():
    errors = []
    for per_pair in (50, 20_000):
        wins, ties = drawn("davidson", per_pair, 0)
        errors.append(np.abs(fitted(comparisons(wins, ties), ties="davidson")[0] - SCORES.numpy()).max())
    assert errors[1] < errors[0] / 5
    assert errors[1] < 0.05


def test_half_a_win_for_a_tie_shrinks_scores_that_have_a_tie_model():
    """Which is why ties have models: read as half wins, they say that the two are alike."""
    scores, _ = fitted(comparisons(*outcomes("rao_kupper")), ties="half")
    assert np.ptp(scores) < 0.95 * np.ptp(SCORES.numpy())
    assert (np.argsort(scores) == np.argsort(SCORES.numpy())).all()


def test_dropped_ties_stretch_scores_of_rao_kupper_and_not_of_davidson():
    """Davidson's odds of decided pairs are those of Bradley and Terry; Rao and Kupper's are not."""
    of_davidson, _ = fitted(comparisons(*outcomes("davidson")), ties="drop")
    assert np.allclose(of_davidson, SCORES.numpy(), atol=EXACT)
    of_rao_kupper, _ = fitted(comparisons(*outcomes("rao_kupper")), ties="drop")
    assert np.ptp(of_rao_kupper) > 1.1 * np.ptp(SCORES.numpy())


def plackett_luce_chance(ranking: tuple[int, ...]) -> float:
    strengths, chance = SCORES.exp().numpy()[list(ranking)], 1.0
    for place in range(len(ranking)):
        chance *= strengths[place] / strengths[place:].sum()
    return chance


def test_plackett_luce_recovers_scores_from_every_ranking():
    rankings = list(permutations(range(NUM)))
    chances = torch.tensor([plackett_luce_chance(each) for each in rankings])
    assert chances.sum().item() == pytest.approx(1, abs=1e-12)
    module, index = Scores(), torch.tensor(rankings)
    mask = torch.ones_like(index, dtype=torch.bool)
    minimize(module, lambda: (chances * plackett_luce_loss(module.scores[index], mask)).sum())
    assert np.allclose(module.centred(), SCORES.numpy(), atol=EXACT)


def ranked(rankings: np.ndarray) -> PreferencePairs:
    """A prompt per ranking, of three items each in an order of its own, with all of its pairs."""
    num, size = rankings.shape
    order = np.random.default_rng(0).permuted(np.tile(np.arange(size), (num, 1)), axis=1)  # place in row → rank
    prompts = collate_prompts([[0]] * num, [Prompt("")] * num)
    items = np.take_along_axis(rankings, order, 1)
    index = [prompt for prompt in range(num) for _ in range(size)]
    sequences = collate_sequences(prompts, index, [[int(item)] for item in items.ravel()])
    better, worse = [], []
    for prompt in range(num):
        row_of_rank = prompt * size + np.argsort(order[prompt])
        pairs = [(row_of_rank[a], row_of_rank[b]) for a in range(size) for b in range(a + 1, size)]
        better += [int(a) for a, _ in pairs]
        worse += [int(b) for _, b in pairs]
    weight = torch.full((len(better),), 1 / (size * (size - 1) / 2))
    return PreferencePairs(
        sequences, torch.tensor(better), torch.tensor(worse), torch.zeros(len(better), dtype=torch.bool), weight
    )


def test_a_sample_of_rankings_has_the_maximum_of_another_solver():
    """Of three of the five items each, so that who was there matters."""
    generator = np.random.default_rng(0)
    rankings = []
    for _ in range(150):
        items = generator.choice(NUM, 3, replace=False)
        shares = SCORES.exp().numpy()[items]
        rankings.append(generator.choice(items, 3, replace=False, p=shares / shares.sum()))
    found, _ = fitted(ranked(np.array(rankings)), reads="rankings")
    expected = plackett_luce_scores(np.array(rankings), NUM)
    assert np.allclose(found, expected, atol=EXACT)
    as_pairs, _ = fitted(ranked(np.array(rankings)))
    assert np.abs(as_pairs - expected).max() > 100 * EXACT  # pairs of one ranking are no judgements of their own
