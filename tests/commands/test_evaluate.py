"""`posttrain evaluate` writes the numbers that a direct computation gives, for configs of every kind of run."""

import json

import pytest
import torch

from posttrain import cli
from posttrain.data.collate import collate_prompts, collate_sequences
from posttrain.data.records import Prompt
from posttrain.evaluation.measures import rouge
from posttrain.evaluation.results import bootstrap_mean
from posttrain.evaluation.reward_spans import read_reward_spans
from posttrain.functional.preference import bradley_terry_loss
from posttrain.models.language_model import LanguageModel
from posttrain.models.loading import load_language_model, load_scorer
from posttrain.rollouts import in_process
from tests.commands.conftest import MEAN, STD
from tests.commands.test_score import direct
from tests.tiny_models import END, ONE_PER_FAMILY, plain_logits, plain_logprobs, randomize, response_of_row, write_model

DEMONSTRATIONS = [
    {"prompt": "ba ce", "response": "di fo gu", "references": ["di fo"]},
    {"prompt": "ba", "response": "ha", "references": ["hu ho"]},
    {"prompt": "ce ci co ca", "response": "ba be bi bo bu by", "references": ["ba da"]},
]
COMPARISONS = [
    {"prompt": "ba", "responses": ["ce", "di fo", "gu"], "pairs": [[0, 1, 1], [1, 2, 2], [0, 2, 0]]},
    {"prompt": "be ca", "responses": ["ha hu", "ba"], "pairs": [[0, 1, 2]]},
    {"prompt": "be", "responses": ["ha", "ba"], "pairs": [[0, 1, 0]]},
]
LENGTH = 7


@pytest.fixture
def evaluate(tmp_path):
    """(model, algorithm, source, data file, more sections) → what `posttrain evaluate` writes."""

    def evaluated(model, algorithm: str, source: str, path, code: int = 0, **sections) -> dict:
        choice = {"source": source, "path": str(path)}
        config = tmp_path / "run.yaml"  # JSON is YAML
        config.write_text(
            json.dumps({
                "model": {"path": "a/b"},
                "algorithm": {"name": algorithm},
                "data": {"train": choice, "evaluation": choice, "max_prompt_tokens": 12, "max_response_tokens": LENGTH},
                "training": {"num_steps": 1, "batch_size": 1, "learning_rate": 0.1},
            } | sections)
        )  # fmt: skip
        out = tmp_path / "new" / "out.json"
        words = ["evaluate", str(model), "--config", str(config), "--out", str(out)]
        assert cli.main(words) == code
        assert out.exists() == (code == 0)
        return json.loads(out.read_text()) if code == 0 else {}

    return evaluated


def nll_per_token(folder, texts: list[tuple[str, str]]) -> float:
    start = load_language_model(str(folder), 0.0)
    total, count = 0.0, 0
    for prompt, response in texts:
        ids = [*start.tokenizer(response, add_special_tokens=False).input_ids, END]
        with torch.no_grad():
            total -= float(plain_logprobs(start.model, start.tokenizer(prompt).input_ids, ids).sum())
        count += len(ids)
    return total / count


def greedy_texts(folder, prompts: list[str]) -> list[str]:
    start = load_language_model(str(folder), 0.0)
    texts = []
    for prompt in prompts:
        ids = start.tokenizer(prompt, return_tensors="pt").input_ids
        row = start.model.generate(input_ids=ids, do_sample=False, max_new_tokens=LENGTH, pad_token_id=0)[0]
        written = row if start.is_encoder_decoder else row[ids.shape[1] :]
        texts.append(start.tokenizer.decode(written, skip_special_tokens=True).strip())
    return texts


def cell(values: list[float]) -> dict:
    it = bootstrap_mean(values, seed=0)
    return {"mean": pytest.approx(it.mean, abs=1e-5), "low": pytest.approx(it.low, abs=1e-5),
            "high": pytest.approx(it.high, abs=1e-5)}  # fmt: skip


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_an_sft_run(name, model_folder, write, evaluate, capsys):
    folder, data = model_folder(name), write("data.jsonl", DEMONSTRATIONS)
    wishes = {"generate": True, "measures": ["rouge", "length"]}
    found = evaluate(folder, "sft", "demonstration_jsonl", data, evaluation=wishes)
    assert (found["model"], found["n"]) == (str(folder), 3)
    assert found["loss"] == pytest.approx(
        nll_per_token(folder, [(r["prompt"], r["response"]) for r in DEMONSTRATIONS]), abs=1e-5
    )
    texts = greedy_texts(folder, [row["prompt"] for row in DEMONSTRATIONS])
    prompts = [Prompt(row["prompt"], references=tuple(row["references"])) for row in DEMONSTRATIONS]
    assert found["measures"]["rougeL"] == cell(rouge.measure(texts, prompts, rouge.Config()))
    assert found["measures"]["length"] == cell([float(len(text.split())) for text in texts])
    assert "rougeL" in capsys.readouterr().out


def test_a_loss_alone(model_folder, write, evaluate):
    data = write("data.jsonl", DEMONSTRATIONS)
    found = evaluate(model_folder("llama"), "sft", "demonstration_jsonl", data, evaluation={"num_examples": 2})
    assert (found["n"], found["measures"]) == (2, {})
    assert not list(data.parent.glob("new/*.reward_spans.jsonl")), "this run has no rewards"
    texts = [(row["prompt"], row["response"]) for row in DEMONSTRATIONS[:2]]
    assert found["loss"] == pytest.approx(nll_per_token(model_folder("llama"), texts), abs=1e-5)


def test_the_loss_leaves_out_what_is_given(model_folder, write, evaluate):
    """ba ce di with its last two words given: the loss is that of ba and of the end after all three."""
    (row,) = rows = [{"prompt": "ba", "response": "ba ce di", "given": [[3, 8]]}]
    found = evaluate(model_folder("llama"), "sft", "demonstration_jsonl", write("data.jsonl", rows))
    start = load_language_model(str(model_folder("llama")), 0.0)
    ids = [*start.tokenizer(row["response"], add_special_tokens=False).input_ids, END]
    with torch.no_grad():
        logprobs = plain_logprobs(start.model, start.tokenizer(row["prompt"]).input_ids, ids)
    assert found["loss"] == pytest.approx(-float(logprobs[0] + logprobs[3]) / 2, abs=1e-5)


def test_a_dpo_run(model_folder, write, evaluate):
    found = evaluate(model_folder("t5"), "dpo", "preference_jsonl", write("data.jsonl", COMPARISONS))
    texts = [(row["prompt"], response) for row in COMPARISONS for response in row["responses"]]
    assert found["loss"] == pytest.approx(nll_per_token(model_folder("t5"), texts), abs=1e-5)


def test_a_ppo_run(model_folder, reward_folder, write, evaluate):
    prompts = ["ba ce", "di", "fo gu ha"]
    data = write("data.jsonl", [{"prompt": prompt} for prompt in prompts])
    sections = {
        "rollout": {"engine": "in_process", "max_new_tokens": LENGTH, "samples_per_prompt": 3, "temperature": 2.0},
        "rewards": [{"kind": "sequence_model", "name": "mine", "model": str(reward_folder("t5"))}],
    }
    found = evaluate(model_folder("t5"), "ppo", "prompt_jsonl", data, **sections)
    assert found["loss"] is None
    start = load_language_model(str(model_folder("t5")), 0.0)
    rewards = []
    for prompt in prompts:  # the reward model reads the tokens as they were written, which may have no end
        ids = start.tokenizer(prompt, return_tensors="pt").input_ids
        row = start.model.generate(input_ids=ids, do_sample=False, max_new_tokens=LENGTH, pad_token_id=0)[0, 1:]
        rewards.append((scored(reward_folder("t5"), ids[0].tolist(), row.tolist()) - MEAN) / STD)
    assert found["measures"]["reward/mine"] == cell(rewards)
    kept = read_reward_spans(data.parent / "new" / "out.reward_spans.jsonl")
    assert [it.output for it in kept] == greedy_texts(model_folder("t5"), prompts)
    assert [it.rewards for it in kept] == [
        {"mine": [(0, len(it.output), pytest.approx(reward, abs=1e-5))]}
        for it, reward in zip(kept, rewards, strict=True)
    ]


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_sampled_responses_and_their_kl_to_the_reference(name, model_folder, write, evaluate, tmp_path):
    prompts, folder = ["ba ce", "di", "fo gu ha"], model_folder(name)
    other = write_model(name, tmp_path / "other")
    changed = load_language_model(str(other), 0.0).model
    randomize(changed, seed=5)
    changed.save_pretrained(other)
    data = write("data.jsonl", [{"prompt": prompt} for prompt in prompts])
    wishes = {
        "rollout": {"engine": "in_process", "max_new_tokens": LENGTH, "samples_per_prompt": 3, "temperature": 1.5},
        "evaluation": {"decoding": "sampling"},
        "reference": str(other),
    }
    found = evaluate(folder, "dpo", "prompt_jsonl", data, **wishes)
    start = load_language_model(str(folder), 0.0)
    config = in_process.Config(max_new_tokens=LENGTH, temperature=1.5)
    ids = [start.tokenizer(prompt).input_ids for prompt in prompts]
    batch = collate_prompts(ids, [Prompt(prompt) for prompt in prompts])
    sequences = in_process.build(config, LanguageModel(start.model), start).generate(batch, 0).sequences
    expected = []
    for row, prompt_ids in enumerate(ids):
        response = response_of_row(sequences, row)
        with torch.no_grad():
            p, q = (plain_logits(model, prompt_ids, response).log_softmax(-1) for model in (start.model, changed))
        expected.append(float((p.exp() * (p - q)).sum()))
    assert found["measures"]["kl"] == cell(expected)
    assert min(expected) > 0.1
    assert found["measures"]["length"] == cell(sequences.lengths.tolist())
    assert evaluate(folder, "dpo", "prompt_jsonl", data, **wishes | {"reference": str(folder)})["measures"]["kl"] == (
        cell([0.0, 0.0, 0.0])
    )


def scored(folder, prompt_ids: list[int], response_ids: list[int]) -> float:
    with torch.no_grad():
        sequences = collate_sequences(collate_prompts([prompt_ids], [Prompt("")]), [0], [response_ids])
        return float(load_scorer(str(folder))[0](sequences))


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_a_reward_model_on_comparisons(name, reward_folder, write, evaluate):
    folder = reward_folder(name)
    found = evaluate(folder, "preference_reward_model", "preference_jsonl", write("data.jsonl", COMPARISONS))
    scores = [[direct(folder, row["prompt"], response) for response in row["responses"]] for row in COMPARISONS]
    assert found["measures"]["score"] == cell([sum(some) / len(some) for some in scores])
    (a, b, c), (d, e), (f, g) = scores
    correct = [float(a > b), float(c > b), float(e > d)]
    assert found["measures"]["accuracy"] == cell([sum(correct[:2]) / 2, correct[2]])
    assert found["overall"]["accuracy"] == pytest.approx(sum(correct) / 3, abs=1e-6)
    margins, is_tie = torch.tensor([a - b, c - b, a - c, e - d, f - g]), torch.tensor([False, False, True, False, True])
    losses = bradley_terry_loss(margins, is_tie, 0.0)
    assert found["loss"] == pytest.approx(float((losses[:3].mean() + losses[3] + losses[4]) / 3), abs=1e-5)


def test_a_reward_model_on_judgements_and_on_demonstrations(reward_folder, write, evaluate):
    folder, texts = reward_folder("llama"), ["ba ce", "di", "fo gu ha"]
    data = write("data.jsonl", [{"text": text, "label": i % 2} for i, text in enumerate(texts)])
    choice = {"source": "sentiment", "path": str(data), "records": "judgements", "shuffle_seed": None}
    sections = {"data": {"train": choice, "evaluation": choice, "max_prompt_tokens": 12, "max_response_tokens": LENGTH}}
    found = evaluate(folder, "judgement_reward_model", "sentiment", data, **sections)
    scores = [direct(folder, "", text) for text in texts]
    correct = [float((score > 0) == bool(i % 2)) for i, score in enumerate(scores)]
    assert found["measures"] == {"accuracy": cell(correct), "score": cell(scores)}
    assert found["overall"]["accuracy"] == pytest.approx(sum(correct) / 3, abs=1e-6)
    data = write("data.jsonl", DEMONSTRATIONS)
    found = evaluate(folder, "sft", "demonstration_jsonl", data)
    assert (found["loss"], set(found["measures"])) == (None, {"score"})


def test_faults_are_lines_and_nothing_is_written(model_folder, reward_folder, write, evaluate, capsys):
    data = write("data.jsonl", [{"prompt": "ba"}])

    def refusal(model, algorithm: str, source: str, **sections) -> str:
        capsys.readouterr()
        evaluate(model, algorithm, source, data, code=2, **sections)
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1
        return error

    model = model_folder("llama")
    choice = {"source": "prompt_jsonl", "path": str(data)}
    limits = {"max_prompt_tokens": 12, "max_response_tokens": LENGTH}
    assert "judges responses" in refusal(reward_folder("llama"), "sft", "prompt_jsonl")
    assert "data.evaluation is missing" in refusal(model, "sft", "prompt_jsonl", data=limits | {"train": choice})
    assert 'data.jsonl:1: field "response" is missing' in refusal(model, "sft", "demonstration_jsonl")
    assert "no references" in refusal(model, "sft", "prompt_jsonl", evaluation={"measures": ["rouge"]})
    assert "another vocabulary than the model" in refusal(
        model, "sft", "prompt_jsonl", reference="builtin/decoder_only"
    )
    long = {"train": choice, "evaluation": choice, "max_prompt_tokens": 12, "max_response_tokens": 63}
    assert "need more than the 64 positions" in refusal(model, "sft", "prompt_jsonl", data=long)
