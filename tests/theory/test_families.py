"""An encoder-decoder and a decoder-only model that hold one function have one loss and one gradient."""

import pytest
import torch
from torch import Tensor, nn

from posttrain.algorithms.sft import SFT
from posttrain.batches import Sequences
from posttrain.data.collate import collate_prompts, collate_sequences
from posttrain.data.records import Prompt
from posttrain.models.language_model import LanguageModel
from posttrain.models.loading import initialize_language_model
from tests.tiny_models import ARCHITECTURES, START, VOCABULARY, random_ids, word_tokenizer

WIDTH = 16
"""START is what the decoder of one reads first; prompts end with it, so that the other reads it there too."""


@pytest.fixture(autouse=True)
def _single_precision():
    torch.set_default_dtype(torch.float32)


def random_table(rows: int, columns: int, seed: int) -> Tensor:
    return 0.7 * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def silenced(name: str) -> LanguageModel:
    """Embeddings and head of random numbers, the same in each family; nothing between them but the last norm."""
    is_encoder_decoder = name.startswith("t5")
    changes = {"decoder_start_token_id": START} if is_encoder_decoder else {"num_key_value_heads": 2}
    model = initialize_language_model(ARCHITECTURES[name] | changes, word_tokenizer(is_encoder_decoder), 0.0).model
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.zero_()
        model.get_input_embeddings().weight.copy_(random_table(len(VOCABULARY), WIDTH, 0))
    model.get_output_embeddings().weight = nn.Parameter(random_table(len(VOCABULARY), WIDTH, 1))  # tied to nothing
    return LanguageModel(model)


def value_and_output(model: LanguageModel) -> tuple[nn.Linear, nn.Linear]:
    """Of the first attention by which a response reads its prompt: to the encoder, or among the tokens themselves."""
    inner = model.hf_model
    if inner.config.is_encoder_decoder:
        part = inner.get_decoder().block[0].layer[1].EncDecAttention
        return part.v, part.o
    part = inner.base_model.layers[0].self_attn
    return part.v_proj, part.o_proj


def reading(name: str) -> LanguageModel:
    """Also an attention with equal weights on the prompt's tokens: queries and keys stay 0."""
    model = silenced(name)
    with torch.no_grad():
        for number, linear in enumerate(value_and_output(model)):
            linear.weight.copy_(random_table(WIDTH, WIDTH, 2 + number))
    return model


def texts(response_lengths: list[list[int]]) -> Sequences:
    generator = torch.Generator().manual_seed(0)
    prompts = [[*random_ids(2 + i, generator), START] for i in range(len(response_lengths))]
    responses = [random_ids(length, generator) for lengths in response_lengths for length in lengths]
    index = [i for i, lengths in enumerate(response_lengths) for _ in lengths]
    return collate_sequences(collate_prompts(prompts, [Prompt("")] * len(prompts)), index, responses)


def loss_and_gradients(
    model: LanguageModel, sequences: Sequences, parts: list[nn.Parameter]
) -> tuple[float, list[Tensor]]:
    report = SFT(model).loss(sequences)
    loss = report.loss_sum / report.count
    return float(loss.detach()), list(torch.autograd.grad(loss, parts))


def ends(model: LanguageModel) -> list[nn.Parameter]:
    return [model.hf_model.get_input_embeddings().weight, model.hf_model.get_output_embeddings().weight]


def test_where_a_token_depends_on_the_one_before_both_have_one_loss():
    """Responses of several lengths to prompts of several lengths; the first token follows the same start."""
    sequences = texts([[3, 1], [4], [2, 5, 1]])
    models = [silenced(name) for name in ("t5_untied", "llama")]
    logprobs = [model(sequences) for model in models]
    table = loss_by_hand(sequences)
    for each in logprobs:
        assert each[sequences.response_mask].std() > 0.5
        assert torch.allclose(each, table, atol=1e-5)
    (first, of_first), (second, of_second) = (loss_and_gradients(m, sequences, ends(m)) for m in models)
    assert first == pytest.approx(second, abs=1e-6)
    for a, b in zip(of_first, of_second, strict=True):
        assert a.norm() > 0.01
        assert torch.allclose(a, b, atol=1e-6)


def loss_by_hand(sequences: Sequences) -> Tensor:
    """A table of bigrams: softmax(head · norm(embedding of the token before))."""
    embeddings, head = random_table(len(VOCABULARY), WIDTH, 0), random_table(len(VOCABULARY), WIDTH, 1)
    normed = embeddings * torch.rsqrt(embeddings.square().mean(-1, keepdim=True) + 1e-6)
    bigrams = (normed @ head.T).log_softmax(-1)
    ids = sequences.response_ids
    before = torch.cat([torch.full((len(ids), 1), START), ids[:, :-1]], 1)
    return bigrams[before, ids].masked_fill(~sequences.response_mask, 0.0)


def test_where_one_token_depends_on_the_words_of_the_prompt_both_have_one_loss():
    """A mean over the encoder's states in one, over the tokens before in the other: both are of the prompt's words."""
    sequences = texts([[1, 1], [1], [1, 1, 1]])
    models = [reading(name) for name in ("t5_untied", "llama")]
    (first, of_first), (second, of_second) = (
        loss_and_gradients(m, sequences, [*ends(m), *(linear.weight for linear in value_and_output(m))]) for m in models
    )
    assert first == pytest.approx(second, abs=1e-6)
    for a, b in zip(of_first, of_second, strict=True):
        assert a.norm() > 0.01
        assert torch.allclose(a, b, atol=1e-6)
    without = SFT(silenced("llama")).loss(sequences).loss_sum.item() / len(sequences)
    assert abs(first - without) > 0.05  # the prompt's words do matter


def test_with_a_second_token_they_part():
    """A decoder-only model averages over what it has written as well; the decoder of the other reads it elsewhere."""
    sequences = texts([[3, 2], [4], [2, 5, 3]])
    first, second = (SFT(reading(name)).loss(sequences).loss_sum for name in ("t5_untied", "llama"))
    assert abs(first - second) > 0.1


def test_one_sft_step_keeps_them_equal_where_only_the_shared_parts_learn():
    sequences, losses = texts([[3, 1], [4], [2, 5, 1]]), []
    for name in ("t5_untied", "llama"):
        model = silenced(name)
        optimizer, of_steps = torch.optim.Adam(ends(model), lr=0.01), []
        for _ in range(20):
            report = SFT(model).loss(sequences)
            loss = report.loss_sum / report.count
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            of_steps.append(float(loss.detach()))
        losses.append(of_steps)
    assert losses[0][-1] < losses[0][0] - 0.5
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
