"""What the benchmarks count, and that ours runs; the peers are an extra and are not run here."""

import argparse
import math

import pytest
import torch
from transformers import LlamaConfig, T5Config

from benchmarks import __main__ as page
from benchmarks import (
    by_hand,
    fine_grained_loop,
    flops,
    generation,
    growth,
    lengths,
    meter,
    online,
    peers,
    preferences,
    sft,
    shapes,
    training,
)
from posttrain.data.collate import collate_prompts, collate_sequences
from posttrain.data.records import Prompt
from posttrain.models.language_model import LanguageModel, Sampling
from posttrain.models.loading import load_language_model
from tests.algorithms.given import sequences_of

TINY = {
    "tiny-llama": LlamaConfig(
        **shapes.LLAMA, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
        intermediate_size=16,
    ),
    "tiny-t5": T5Config(
        vocab_size=shapes.VOCABULARY, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_decoder_layers=1, num_heads=2,
        dropout_rate=0.0, pad_token_id=shapes.PAD, eos_token_id=shapes.END, decoder_start_token_id=shapes.PAD,
    ),
}  # fmt: skip


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    for module in (generation, training, online, fine_grained_loop, by_hand):
        monkeypatch.setattr(module, "MODELS", tmp_path)
    for name, config in TINY.items():
        monkeypatch.setitem(shapes.SHAPES, name, config)
    return argparse.Namespace(
        shape="tiny-llama", threads=1, steps=2, batch=3, samples=2, dtype="float32", seed=0, contender=""
    )


def test_the_first_step_is_not_counted(monkeypatch):
    clock = iter([0.0, 5.0, 7.0, 10.0])
    monkeypatch.setattr(meter.time, "perf_counter", lambda: next(clock))
    measured = meter.Meter("tokens")
    measured.start()
    for units in (100, 10, 20):
        measured.step(units)
    result = measured.result()
    assert result["per_second"] == pytest.approx(30 / 5)
    assert (result["steps"], result["units"], result["step_seconds"]) == (2, 30, 2.5)


def test_a_text_has_as_many_tokens_as_words_and_lengths_are_log_normal():
    tokenizer = shapes.word_tokenizer()
    writer = lengths.Writer(0)
    texts = [writer.text(lengths.PROMPT) for _ in range(2000)]
    numbers = [len(ids) for ids in tokenizer(texts, add_special_tokens=False).input_ids]
    assert numbers == [len(text.split()) for text in texts]
    assert min(numbers) >= 16
    assert max(numbers) == 440
    uncut = [math.log(len(writer.text(lengths.Lengths(200, 1, 10**6)).split())) for _ in range(2000)]
    # Median of a log-normal: mean · exp(-0.6² / 2). One standard deviation of the median is 0.017.
    assert torch.tensor(uncut).median() == pytest.approx(math.log(200) - 0.18, abs=0.06)


def test_tokens_are_counted_up_to_the_first_end():
    end = shapes.END
    assert generation._num_tokens(torch.tensor([[9, 8, end, 0, 0], [9, 9, 9, 9, 9], [end, end, 9, 9, 9]])) == 3 + 5 + 1


@pytest.mark.parametrize("shape", list(TINY))
def test_texts_end_about_once_in_forty_tokens(shape, arguments):
    arguments.shape, arguments.batch, arguments.steps = shape, 40, 1
    result = generation.posttrain(arguments)
    per_text = result["units"] / (40 * arguments.samples)
    # Mean of a geometric length of 1/40 cut at 64 is 32; tiny models ending is not quite independent of the text.
    assert 20 < per_text < 45


def test_training_counts_the_tokens_of_its_batches(arguments):
    rows = sft.rows(arguments)
    result = sft.posttrain(arguments)
    assert result["steps"] == 2
    assert result["units"] == sum(sft.units(rows[3:]))
    assert result["units"] == sum(len(r["prompt"].split()) + len(r["response"].split()) + 1 for r in rows[3:])


@pytest.mark.parametrize("shape", list(TINY))
def test_operations_are_those_of_the_weights(shape, arguments):
    """Each weight matrix is one multiplication and one addition a token; cross attention reads prompts with two."""
    from torch.utils.flop_counter import FlopCounterMode

    folder = shapes.folder(shape, training.MODELS)
    start = load_language_model(str(folder), 0.0)
    rows = sequences_of([6])  # of the prompt [4, 5]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        LanguageModel(start.model)(rows)
    counted = counter.get_flop_counts()["Global"]
    products = sum(number for kind, number in counted.items() if str(kind) in ("aten.mm", "aten.addmm"))
    # The decoder reads its start and all but the last token; the head all six. A decoder-only model reads the last too.
    response = 7 if start.is_encoder_decoder else 6
    expected = flops.forward_gflop(shape, 2, response, is_with_head=False) + 2e-9 * 6 * 8 * shapes.VOCABULARY
    if not start.is_encoder_decoder:
        expected += 2e-9 * 3 * 8 * 16  # the prompt's last state is asked for: the first token is read from it
    assert products * 1e-9 == pytest.approx(expected, rel=1e-6)


def test_steps_of_rl_are_split(arguments):
    result = online.posttrain_ppo(arguments)
    assert (result["unit"], result["units"], result["steps"]) == ("responses", 12, 2)
    assert all(seconds > 0 for seconds in result["split"].values())
    assert sum(result["split"].values()) == pytest.approx(12 / result["per_second"] / 2)
    assert 12 <= result["response_tokens"] <= 12 * 64
    assert online.posttrain_rloo(arguments)["units"] == 12


@pytest.mark.parametrize("shape", list(TINY))
def test_the_fine_grained_loop_does_the_same_work(shape, arguments):
    """Its log-probabilities are ours, though it pads, repeats prompts and keeps all logits."""
    arguments.shape = shape
    loop = fine_grained_loop.Models(arguments)
    tokens = fine_grained_loop.tokenizer(arguments)
    tokens.padding_side = "right" if loop.is_encoder_decoder else "left"
    encoded = tokens(["w9 w8 w7 w6", "w5"], return_tensors="pt", padding=True)
    batch = loop.generate({name: encoded[name] for name in ("input_ids", "attention_mask")}, 2)
    ids, prompt_mask, response, mask = batch.tensors
    prompts = collate_prompts(
        [row[kept.bool()].tolist() for row, kept in zip(ids, prompt_mask, strict=True)], [Prompt("")] * 4
    )
    rows = collate_sequences(prompts, range(4), [row[kept].tolist() for row, kept in zip(response, mask, strict=True)])
    with torch.no_grad():
        theirs = loop.logprobs(loop.policy, batch)
        ours = LanguageModel(loop.policy, Sampling(temperature=shapes.TEMPERATURE))(rows)
    assert torch.allclose(ours[rows.response_mask], theirs[mask], atol=1e-4)
    result = online.fine_grained(arguments)
    assert (result["units"], result["steps"]) == (12, 2)
    assert sum(result["split"].values()) == pytest.approx(12 / result["per_second"] / 2, rel=0.01)


def test_a_loop_by_hand_scores_the_same(arguments):
    model = by_hand.load(arguments)
    rows = [([5, 6, 7], [8, 9, shapes.END]), ([4], [10, shapes.END])]
    prompts = collate_prompts([prompt for prompt, _ in rows], [Prompt("")] * 2)
    sequences = collate_sequences(prompts, range(2), [response for _, response in rows])
    with torch.no_grad():
        theirs = by_hand.token_logprobs(model, rows, temperature=0.7)
        ours = LanguageModel(model, Sampling(temperature=0.7))(sequences)
    assert torch.allclose(ours[sequences.response_mask], theirs, atol=1e-5)
    assert by_hand.sums(theirs, rows).tolist() == pytest.approx(ours.sum(-1).tolist(), abs=1e-4)


@pytest.mark.parametrize(
    ("contender", "unit", "units"),
    [
        (sft.transformers_by_hand, sft.UNIT, None),
        (preferences.transformers_dpo_by_hand, "pairs", 6),
        (online.by_hand_rloo, "responses", 12),
    ],
)
def test_loops_by_hand_run(contender, unit, units, arguments):
    result = contender(arguments)
    assert (result["unit"], result["steps"]) == (unit, 2)
    assert units is None or result["units"] == units


@pytest.mark.parametrize("name", ["batch 8", "prompts of 64 tokens", "log-probabilities of 512 tokens"])
def test_growth_runs(name, arguments):
    result = growth.CONTENDERS[name](arguments)
    assert result["steps"] == 2
    assert result["per_second"] > 0


@pytest.mark.parametrize("contender", ["posttrain reward model", "posttrain dpo"])
def test_pairs_are_counted(contender, arguments):
    result = preferences.CONTENDERS[contender](arguments)
    assert (result["unit"], result["units"], result["steps"]) == ("pairs", 6, 2)


def test_a_peers_tokens_are_those_of_its_own_batch():
    pad, ignored = shapes.PAD, peers.IGNORED
    ids = torch.tensor([[5, 6, 7, 8], [9, 9, pad, pad]])
    assert peers.num_tokens({"input_ids": ids, "labels": ids}) == 6
    # The prompt's end token, which only an encoder reads, is not counted; that of the response is.
    labels = torch.tensor([[4, 4, shapes.END], [4, shapes.END, ignored]])
    assert peers.num_tokens({"input_ids": ids, "labels": labels}) == 6 - 2 + 5


def test_rows_in_bfloat16_are_run_where_the_machine_is_faster_in_it(monkeypatch):
    for faster in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(page, "matmul_gflops", lambda dtype, faster=faster: 2.0 if dtype == faster else 1.0)
        names = [row.name for row in page.possible_rows()]
        assert "SFT, llama-15m" in names
        assert ("SFT, llama-15m, bfloat16" in names) == (faster == torch.bfloat16)


def test_ours_and_the_plain_loop_train_in_bfloat16(arguments, monkeypatch):
    """The formats are those that were asked for: the number of products in each is counted."""
    seen = []
    product = torch.autocast.__enter__

    def entered(self):
        seen.append(self.fast_dtype)
        return product(self)

    monkeypatch.setattr(torch.autocast, "__enter__", entered)
    arguments.dtype = "bfloat16"
    for contender in (sft.posttrain, sft.transformers_by_hand):
        seen.clear()
        assert contender(arguments)["per_second"] > 0
        assert torch.bfloat16 in seen


def test_a_row_says_how_many_times_faster_ours_is():
    row = page.Row("work", "module", ("posttrain", "peer"))

    def turn(speed: float, memory: float) -> dict[str, object]:
        return {"per_second": speed, "above_model_mb": memory, "unit": "pairs"}

    turns = {"posttrain": [turn(9, 50), turn(10, 50), turn(30, 70)], "peer": [turn(4, 100), turn(5, 200), turn(6, 400)]}
    assert page.lines_of(row, turns) == [
        "| work | posttrain | 10.0 | pairs a second |  | 50 |  |",
        "| work | peer | 5.0 | pairs a second | 2.0× | 200 | 0.25 |",
    ]


def test_the_page_has_shares_splits_and_growth():
    work = {"unit": "responses", "per_second": 2.0, "above_model_mb": 10.0}
    ours = work | {"useful_gflop": 300.0, "useful_seconds": 5.0, "peak_gflops": 120.0}
    ours["split"] = {"rollout": 1.0, "scoring": 2.0, "update": 5.0}
    growing = {name: [work] for name in growth.CONTENDERS}
    found = {"PPO step, llama-15m": {"posttrain ppo": [ours]}, page.GROWTH.name: growing}
    text = page.page(found, "a machine")
    assert "| PPO update, llama-15m | 60 | 120 | 50% |" in text
    assert "| PPO step, llama-15m | posttrain ppo | 1.0 | 2.0 | 5.0 |" in text
    assert "| batch 8 | 500000 | responses | 10 |" in text


def test_rows_name_contenders_that_there_are():
    modules = {"generation": generation, "sft": sft, "preferences": preferences, "online": online, "growth": growth}
    for row in (*page.ROWS, page.GROWTH):
        module = modules[row.module]
        assert set(row.contenders) <= set(module.CONTENDERS)
