"""Several models on the same unseen prompts: what each writes, how good it is, and how far it moved."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from posttrain import plugins
from posttrain.batches import Rollout
from posttrain.data.collate import Encoder, Tokenized, collate_sequences, prompt_of, prompts
from posttrain.data.records import Comparison, Prompt
from posttrain.evaluation import win_rate
from posttrain.evaluation.measures import length, rouge
from posttrain.evaluation.results import Fault, ModelResult
from posttrain.models.language_model import LanguageModel, kl_per_token
from posttrain.models.loading import Pretrained, freeze, load_language_model, load_scorer

BATCH = 50
Judge = Callable[[Prompt, str], tuple[float, list[Fault]]]


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _rollouts(
    model: LanguageModel, start: Pretrained, rows: Sequence[Tokenized], num_samples: int, max_new_tokens: int, seed: int
) -> list[Rollout]:
    engine_kind = plugins.find("rollouts", "in_process")
    settings = engine_kind.Config(max_new_tokens=max_new_tokens, samples_per_prompt=num_samples, seed=seed)
    engine = engine_kind.build(settings, model, start)
    return [
        engine.generate(prompts(rows[i : i + BATCH]).to(_device()), step)
        for step, i in enumerate(range(0, len(rows), BATCH))
    ]


def _load(path: str) -> tuple[LanguageModel, Pretrained]:
    start = load_language_model(path, 0.0)
    return freeze(LanguageModel(start.model)).to(_device()), start


def sample_texts(
    path: str, rows: Sequence[Tokenized], num_samples: int, max_new_tokens: int, seed: int
) -> list[list[str]]:
    """`num_samples` responses to each prompt, sampled at temperature 1."""
    texts = [
        text for rollout in _rollouts(*_load(path), rows, num_samples, max_new_tokens, seed) for text in rollout.texts
    ]
    return [texts[i : i + num_samples] for i in range(0, len(texts), num_samples)]


@torch.no_grad()
def compare(
    models: Mapping[str, str], against: str, reward_model: str, rows: Sequence[Tokenized], judge: Judge,
    max_new_tokens: int, seed: int,
) -> list[ModelResult]:  # fmt: skip
    """One sampled response a prompt and model. KL is exact at every token and summed over the response.

    `against` names the model that KL and win rate refer to; its own win rate is that of a tie, one half.
    """
    reference, _ = _load(models[against])
    scorer_kind = plugins.find("rewards", "sequence_model")
    records = [prompt_of(row.record) for row in rows]
    found: dict[str, dict[str, Any]] = {}
    for name, path in models.items():
        model, start = _load(path)
        rollouts = _rollouts(model, start, rows, 1, max_new_tokens, seed)
        reward = scorer_kind.build(scorer_kind.Config(model=reward_model), "learned", start.tokenizer, _device())
        responses = [text for rollout in rollouts for text in rollout.texts]
        judged = [judge(record, text) for record, text in zip(records, responses, strict=True)]
        found[name] = {
            "responses": responses,
            "learned_reward": [x for r in rollouts for x in reward(r).totals().tolist()],
            "kl_to_sft": [x for r in rollouts for x in kl_per_token(model, reference, r.sequences).sum(-1).tolist()],
            "rougeL": rouge.measure(responses, records, rouge.Config()),
            "length": length.measure(responses, records, length.Config()),
            "gold_reward": [reward for reward, _ in judged],
            "faults": [faults for _, faults in judged],
        }
    base = found[against]["gold_reward"]
    return [
        ModelResult(name, **columns, win_rate_vs_sft=win_rate.compare(columns["gold_reward"], base, win_rate.Config()))
        for name, columns in found.items()
    ]


@torch.no_grad()
def pair_scores(
    reward_model: str, comparisons: Sequence[Comparison], rows: Sequence[Tokenized], max_response_tokens: int
) -> list[tuple[float, float]]:
    """(score of the preferred response, score of the other) of each decided pair; `rows` are the prompts."""
    scorer, tokenizer, _ = load_scorer(reward_model)
    encoder = Encoder(tokenizer, bool(scorer.backbone.config.is_encoder_decoder), 0, max_response_tokens)
    pairs = []
    for comparison, row in zip(comparisons, rows, strict=True):
        responses = encoder.responses(comparison.responses)
        scores = scorer(collate_sequences(prompts([row]), [0] * len(responses), responses)).tolist()
        for pair in comparison.pairs:
            if pair.label != 0:
                first, second = (pair.first, pair.second) if pair.label == 1 else (pair.second, pair.first)
                pairs.append((scores[first], scores[second]))
    return pairs
