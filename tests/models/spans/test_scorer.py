"""A span is read from the states of its own tokens, whatever else is in the batch; folders keep all of it."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from posttrain.data.collate import collate_prompts, collate_sequences
from posttrain.data.records import Prompt
from posttrain.data.span_labels import SpanClass, SpanSettings
from posttrain.errors import InputError
from posttrain.models.language_model import states_of
from posttrain.models.loading import load_span_scorer, load_tokenizer, new_span_scorer
from posttrain.models.precision import products_in
from posttrain.models.spans.scorer import SPAN_HEAD_FILE, SpanScorer, read_spans
from tests.tiny_models import EVERY, ONE_PER_FAMILY, prompt_of_row, random_sequences, response_of_row

CLASSES = (SpanClass(name="wrong", kinds=("w",)), SpanClass(name="dull", kinds=("d",), value=-0.5))
POOLINGS = ("last", "mean")
LENGTHS = [[4, 7], [1], [5]]
SPANS = [[(0, 1), (2, 3)], [(0, 0), (1, 4), (5, 6)], [(0, 0)], []]  # first and last token, of each response


def settings(pooling: str) -> SpanSettings:
    return SpanSettings(segments="sentence", classes=CLASSES, pooling=pooling, good_value=0.7)


def scorer_of(model_folder, name: str, pooling: str) -> SpanScorer:
    torch.manual_seed(1)
    scorer = new_span_scorer(str(model_folder(name)), 0.0, settings(pooling)).eval()
    torch.nn.init.normal_(scorer.head.bias)
    return scorer


def marked(shape, spans=SPANS) -> tuple[torch.Tensor, torch.Tensor]:
    first, is_end = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.bool)
    for row, some in enumerate(spans):
        for start, last in some:
            first[row, last], is_end[row, last] = start, True
    return first, is_end


def sequences():
    return random_sequences([3, 5, 2], LENGTHS)


def logits(scorer: SpanScorer, made, spans=SPANS) -> torch.Tensor:
    return scorer(made, *marked(made.response_ids.shape, spans))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("name", EVERY)
def test_pooling_is_what_an_explicit_loop_over_unpadded_texts_gives(name, pooling, model_folder):
    scorer, made = scorer_of(model_folder, name, pooling), sequences()
    expected = []
    for row, spans in enumerate(SPANS):
        prompts = collate_prompts([prompt_of_row(made, row)], [Prompt("")])
        alone = collate_sequences(prompts, [0], [response_of_row(made, row)])
        with torch.no_grad():
            states = states_of(scorer.backbone, alone)[0, 1:]  # after each token
        for start, last in spans:
            state = states[last] if pooling == "last" else states[start : last + 1].mean(0)
            expected.append(scorer.head(state))
    found = logits(scorer, made)
    assert found.shape == (6, 3)
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-4, rtol=1e-4)
    assert found.std(0).min() > 1e-2, "the spans differ"


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_order_padding_and_the_other_rows_change_nothing(name, pooling, model_folder):
    scorer, made = scorer_of(model_folder, name, pooling), sequences()
    found = logits(scorer, made)
    shuffled = logits(scorer, made.select([3, 1, 0, 2]), [SPANS[row] for row in (3, 1, 0, 2)])
    torch.testing.assert_close(shuffled, found[[2, 3, 4, 0, 1, 5]], atol=1e-5, rtol=1e-4)
    parts = [logits(scorer, made.select([row]), [SPANS[row]]) for row in range(4)]
    torch.testing.assert_close(torch.cat(parts), found, atol=1e-5, rtol=1e-4)
    fewer = [[spans[-1]] if spans else [] for spans in SPANS]
    torch.testing.assert_close(logits(scorer, made, fewer), found[[1, 4, 5]], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_padding_that_is_not_a_number_stays_outside_of_means(name, model_folder, monkeypatch):
    scorer, made = scorer_of(model_folder, name, "mean"), sequences()
    expected = logits(scorer, made)

    def states(backbone, some):
        found = states_of(backbone, some).clone()
        found[:, 1:][~some.response_mask] = float("nan")
        return found

    monkeypatch.setattr("posttrain.models.spans.scorer.states_of", states)
    assert torch.equal(logits(scorer, made), expected)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_a_batch_without_spans_and_the_way_of_the_gradient(name, pooling, model_folder):
    scorer, made = scorer_of(model_folder, name, pooling), sequences()
    none = logits(scorer, made, [[]] * 4)
    assert none.shape == (0, 3)
    none.sum().backward()
    scorer.zero_grad()
    logits(scorer, made)[:, 1].sum().backward()
    without = [key for key, it in scorer.backbone.named_parameters() if it.grad is None or not it.grad.any()]
    assert not without
    assert scorer.head.weight.grad[1].any()
    assert not scorer.head.weight.grad[0].any()


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_a_span_does_not_see_what_follows_it(name, model_folder):
    scorer, made = scorer_of(model_folder, name, "mean"), random_sequences([3], [[6]])
    changed = made.response_ids.clone()
    changed[0, 3:] = 7
    other = collate_sequences(made.prompts, [0], changed.tolist())
    spans = [[(0, 2), (3, 5)]]
    before, after = logits(scorer, made, spans), logits(scorer, other, spans)
    torch.testing.assert_close(before[0], after[0], atol=1e-5, rtol=1e-4)
    assert (before[1] - after[1]).abs().max() > 1e-2


@pytest.mark.parametrize("pooling", POOLINGS)
def test_products_in_bfloat16_leave_sums_in_float32(pooling, model_folder):
    scorer, made = scorer_of(model_folder, "t5", pooling), sequences()
    exact = logits(scorer, made)
    with products_in(torch.bfloat16):
        rounded = logits(scorer, made)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 0.1 * exact.abs().max()


def test_weights_of_classes_are_taken_off_the_probabilities(model_folder):
    scorer = scorer_of(model_folder, "t5", "last")
    logits = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    assert torch.equal(scorer.probabilities(logits), logits.softmax(-1))
    weights = torch.tensor([1.0, 2.0, 4.0])
    scorer.log_weights.copy_(weights.log())
    odds = logits.exp() / weights
    torch.testing.assert_close(scorer.probabilities(logits), odds / odds.sum(-1, keepdim=True))


def test_weighted_and_corrected_is_unweighted_for_a_constant_model(model_folder):
    """The best constant logits under weights w are log(w n); what is corrected are the shares of the classes, n / N."""
    scorer, counts, weights = (
        scorer_of(model_folder, "t5", "last"),
        torch.tensor([70.0, 25, 5]),
        torch.tensor([0.5, 1.3, 7]),
    )
    label = torch.arange(3).repeat_interleave(counts.long())
    for chosen in (torch.ones(3), weights):
        constant = torch.zeros(3, requires_grad=True)
        optimizer = torch.optim.LBFGS([constant], max_iter=200, tolerance_grad=1e-9, tolerance_change=1e-12)

        def closure(constant=constant, optimizer=optimizer, chosen=chosen):
            optimizer.zero_grad()
            every = constant.expand(len(label), 3)
            loss = torch.nn.functional.cross_entropy(every, label, weight=chosen)
            loss.backward()
            return loss

        optimizer.step(closure)
        scorer.log_weights.copy_(chosen.log())
        found = scorer.probabilities(constant.detach().unsqueeze(0))[0]
        torch.testing.assert_close(found, counts / 100, atol=1e-4, rtol=1e-4)
    assert (constant.detach().softmax(-1) - counts / 100).abs().max() > 0.1, "without the correction it is off"


def saved(model_folder, tmp_path, pooling="mean") -> SpanScorer:
    scorer = scorer_of(model_folder, "llama", pooling)
    scorer.log_weights.copy_(torch.tensor([0.1, -0.2, 0.3]))
    scorer.save(tmp_path)
    load_tokenizer(str(model_folder("llama"))).save_pretrained(tmp_path)
    return scorer


def test_a_folder_is_read_again_with_all_that_it_judges(model_folder, tmp_path):
    scorer = saved(model_folder, tmp_path)
    loaded, tokenizer = load_span_scorer(str(tmp_path))
    assert loaded.spans == scorer.spans == read_spans(tmp_path)
    assert tokenizer.get_vocab() == load_tokenizer(str(model_folder("llama"))).get_vocab()
    assert torch.equal(logits(loaded, sequences()), logits(scorer, sequences()))
    assert torch.equal(loaded.log_weights, scorer.log_weights)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    again = new_span_scorer(str(tmp_path), 0.0, scorer.spans)
    assert torch.equal(logits(again, sequences()), logits(scorer, sequences()))


@pytest.mark.parametrize(
    "changes",
    [{"segments": "whole"}, {"good_value": 0.6}, {"classes": CLASSES[:1]}, {"pooling": "last"}, {"pattern": "a"}],
)
def test_training_goes_on_only_with_the_same_spans_and_classes(changes, model_folder, tmp_path):
    scorer = saved(model_folder, tmp_path)
    with pytest.raises(InputError, match=r"judges other spans or classes; give algorithm the same settings, or start"):
        new_span_scorer(str(tmp_path), 0.0, scorer.spans.model_copy(update=changes))


def test_folders_that_are_no_span_reward_model_are_named(model_folder, tmp_path):
    with pytest.raises(
        InputError, match=rf"{SPAN_HEAD_FILE}: missing, so .* train one with algorithm span_reward_model"
    ):
        load_span_scorer(str(model_folder("t5")))
    saved(model_folder, tmp_path)
    path = tmp_path / SPAN_HEAD_FILE
    whole, tensors = path.read_bytes(), load_file(path)
    for metadata in (None, {"spans": ""}, {"spans": "{}"}, {"spans": json.dumps({"classes": []})}):
        save_file(tensors, path, metadata=metadata)
        with pytest.raises(InputError, match=r"does not say what it judges \(.*\); train it again"):
            load_span_scorer(str(tmp_path))
    for damaged in (whole[: len(whole) // 2], b"", b"\0" * 64):
        path.write_bytes(damaged)
        for load in (load_span_scorer, lambda it: new_span_scorer(it, 0.0, settings("mean"))):
            with pytest.raises(
                InputError, match=rf"{SPAN_HEAD_FILE}: damaged \(.*\); train the span reward model again"
            ):
                load(str(tmp_path))
