"""`posttrain sample` writes what the model says to each prompt, in order, and refuses what it cannot do."""

import pytest
import torch

from posttrain import cli
from posttrain.commands import sample
from posttrain.errors import InputError
from posttrain.models.loading import load_language_model
from posttrain.models.positions import max_positions
from tests.commands.conftest import rows_of
from tests.tiny_models import ONE_PER_FAMILY, WORDS, write_model

PROMPTS = ["ba ce di", "fo", "gu ha be ci do", "cy"]
LENGTH = 9


def transformers_texts(folder, prompt: str, **settings) -> list[str]:
    """What transformers' own generate gives for one prompt, without padding."""
    start = load_language_model(str(folder), 0.0)
    ids = start.tokenizer(prompt, return_tensors="pt").input_ids
    rows = start.model.generate(input_ids=ids, pad_token_id=0, **{"max_new_tokens": LENGTH, **settings})
    written = rows if start.is_encoder_decoder else rows[:, ids.shape[1] :]
    return [text.strip() for text in start.tokenizer.batch_decode(written, skip_special_tokens=True)]


def run(folder, prompts, out, *options) -> int:
    words = ["sample", folder, "--prompts", prompts, "--out", out, "--max-new-tokens", LENGTH, *options]
    return cli.main([str(word) for word in words])


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_greedy_is_what_transformers_generates(name, model_folder, write, tmp_path, capsys):
    prompts = write("prompts.jsonl", [{"prompt": p, "id": f"p{i}", "references": ["a"]} for i, p in enumerate(PROMPTS)])
    out = tmp_path / "new" / "out.jsonl"
    assert run(model_folder(name), prompts, out) == 0
    expected = [transformers_texts(model_folder(name), prompt, do_sample=False)[0] for prompt in PROMPTS]
    assert len(set(expected)) > 1
    assert rows_of(out) == [
        {"prompt": prompt, "references": ["a"], "id": f"p{i}", "response": text}
        for i, (prompt, text) in enumerate(zip(PROMPTS, expected, strict=True))
    ]
    assert (out.parent / "generated_predictions.txt").read_text() == "".join(f"{text}\n" for text in expected)
    assert "4 responses" in capsys.readouterr().out


@pytest.mark.parametrize("name", [*ONE_PER_FAMILY, "bart"])
def test_beam_is_what_transformers_generates(name, model_folder, write, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"{prompt}\n" for prompt in PROMPTS))
    out = tmp_path / "out.jsonl"
    assert run(model_folder(name), prompts, out, "--decoding", "beam", "--num-beams", 3, "--num-samples", 2) == 0
    settings = {"do_sample": False, "num_beams": 3, "num_return_sequences": 2}
    expected = [transformers_texts(model_folder(name), prompt, **settings) for prompt in PROMPTS]
    assert [row["responses"] for row in rows_of(out)] == expected
    greedy = [transformers_texts(model_folder(name), prompt, do_sample=False)[0] for prompt in PROMPTS]
    assert [some[0] for some in expected] != greedy


def test_beam_with_a_forced_first_token(model_folder, write, tmp_path):
    prompts, out = write("prompts.jsonl", [{"prompt": prompt} for prompt in PROMPTS]), tmp_path / "out.jsonl"
    assert run(model_folder("bart_forced"), prompts, out, "--decoding", "beam", "--num-beams", 3) == 0
    settings = {"do_sample": False, "num_beams": 3, "max_new_tokens": LENGTH + 1}  # generate counts the forced one
    expected = [transformers_texts(model_folder("bart_forced"), prompt, **settings)[0] for prompt in PROMPTS]
    assert [row["response"] for row in rows_of(out)] == expected
    assert all(len(text.split()) <= LENGTH for text in expected)


def test_beam_with_a_decoder_that_is_deeper_than_the_encoder(write, tmp_path):
    folder = write_model("t5", tmp_path / "model", num_layers=1, num_decoder_layers=3)
    prompts, out = write("prompts.jsonl", [{"prompt": prompt} for prompt in PROMPTS]), tmp_path / "out.jsonl"
    assert run(folder, prompts, out, "--decoding", "beam", "--num-beams", 3) == 0
    settings = {"do_sample": False, "num_beams": 3, "use_cache": False}
    assert [row["response"] for row in rows_of(out)] == [transformers_texts(folder, p, **settings)[0] for p in PROMPTS]


def test_samples_are_many_and_repeat_with_the_seed(model_folder, write, tmp_path):
    prompts = write("prompts.jsonl", [{"prompt": prompt} for prompt in PROMPTS])

    def sampled(*options) -> list[list[str]]:
        out = tmp_path / "out.jsonl"
        assert run(model_folder("llama"), prompts, out, "--decoding", "sampling", "--num-samples", 5, *options) == 0
        return [row["responses"] for row in rows_of(out)]

    first = sampled()
    assert [len(set(some)) for some in first] == [5, 5, 5, 5]
    assert sampled() == first
    assert sampled("--seed", 1) != first
    assert all(len(set(some)) == 1 for some in sampled("--temperature", "1e-4"))
    lines = (tmp_path / "generated_predictions.txt").read_text().splitlines()
    assert lines == [some[0] for some in sampled("--temperature", "1e-4")]


def test_batches_are_small_and_keep_the_order(model_folder, write, tmp_path, monkeypatch):
    prompts = write("prompts.jsonl", [{"prompt": prompt} for prompt in PROMPTS])
    assert run(model_folder("llama"), prompts, tmp_path / "a.jsonl") == 0
    monkeypatch.setattr(sample, "RESPONSES_AT_ONCE", 3)
    assert run(model_folder("llama"), prompts, tmp_path / "b.jsonl") == 0
    assert rows_of(tmp_path / "a.jsonl") == rows_of(tmp_path / "b.jsonl")


@pytest.mark.parametrize("decoding", ["greedy", "beam"])
def test_cut_responses_are_counted(decoding, model_folder, write, tmp_path, capsys):
    """Told by the end token, which transformers' greedy search shows; one beam is greedy search."""
    words = WORDS[:20]
    prompts = write("prompts.jsonl", [{"prompt": word} for word in words])
    start = load_language_model(str(model_folder("t5")), 0.0)
    num_cut = 0
    for word in words:
        ids = start.tokenizer(word, return_tensors="pt").input_ids
        written = start.model.generate(input_ids=ids, do_sample=False, max_new_tokens=LENGTH)
        num_cut += int(not torch.isin(written, torch.tensor(start.end_ids)).any())
    assert 0 < num_cut < len(words)
    one_beam = ("--num-beams", 1) if decoding == "beam" else ()
    assert run(model_folder("t5"), prompts, tmp_path / "a.jsonl", "--decoding", decoding, *one_beam) == 0
    assert f"20 responses, {num_cut / 20:.1%} cut at {LENGTH} tokens" in capsys.readouterr().out


def test_a_response_of_several_lines_is_one_line_of_text():
    assert sample._one_line("a\nb\r\nc\u2028d") == "a b c d"


def test_a_file_of_demonstrations_serves_as_prompts(model_folder, write, tmp_path):
    data = write("demonstrations.jsonl", [{"prompt": "ba", "response": "ce", "given": [[0, 2]]}])
    assert run(model_folder("t5"), data, tmp_path / "out.jsonl") == 0
    assert rows_of(tmp_path / "out.jsonl")[0]["response"] == transformers_texts(model_folder("t5"), "ba")[0]


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("greedy", {"temperature": 0.5}, "--temperature: goes with --decoding sampling, not greedy"),
        ("greedy", {"num_samples": 2}, "--num-samples: goes with --decoding beam or sampling, not greedy"),
        ("sampling", {"num_beams": 2}, "--num-beams: goes with --decoding beam, not sampling"),
        ("sampling", {"temperature": 0.0}, "--temperature: should be greater than 0, not 0.0"),
        ("sampling", {"temperature": float("nan")}, "--temperature: should be"),
        ("sampling", {"top_p": 1.5}, "--top-p: should be less than or equal to 1, not 1.5"),
        ("greedy", {"max_new_tokens": 0}, "--max-new-tokens: should be greater than or equal to 1, not 0"),
        ("beam", {"num_samples": 5}, "--num-samples: 4 beams give at most 4 responses"),
    ],
)
def test_options_that_make_no_sense(kind, options, message):
    with pytest.raises(InputError) as refused:
        sample.decoding_of(kind, **options)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": ""}', 'prompts.jsonl:2: field "prompt" is empty'),
        ('{"promt": "a"}', "prompts.jsonl:2: unknown field"),
        ("{", "prompts.jsonl:2: not JSON"),
    ],
)
def test_malformed_prompts(line, message, model_folder, tmp_path, capsys):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(f'{{"prompt": "ba"}}\n{line}\n')
    assert run(model_folder("llama"), prompts, tmp_path / "out.jsonl") == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(("num_words", "code"), [(64 - LENGTH - 1, 0), (64 - LENGTH, 2)])
def test_prompts_leave_room_for_the_response(num_words, code, model_folder, write, tmp_path, capsys):
    """A word is a token here, <s> is one more, and the model has 64 positions."""
    prompts = write("prompts.jsonl", [{"prompt": "ba " * num_words}, {"prompt": "ba"}])
    assert run(model_folder("llama"), prompts, tmp_path / "out.jsonl") == code
    error = capsys.readouterr().err
    assert ("1 of 2 rows need more than the 64 positions of the model (the longest needs 65" in error) == (code == 2)


def test_positions_by_shape(model_folder):
    limits = {name: max_positions(load_language_model(str(model_folder(name)), 0.0).model.config)
              for name in ("t5", "bart", "gpt2", "llama")}  # fmt: skip
    assert limits == {"t5": None, "bart": 64, "gpt2": 64, "llama": 64}


@pytest.mark.parametrize(
    ("out", "message"),
    [("out.json", "ends in .jsonl"), ("prompts.jsonl", "would replace the input"), ("a.jsonl", "is a folder"),
     ("prompts.jsonl/out.jsonl", "is not a folder")],
)  # fmt: skip
def test_outputs_that_cannot_be_written(out, message, model_folder, write, tmp_path, capsys):
    (tmp_path / "a.jsonl").mkdir()
    prompts = write("prompts.jsonl", [{"prompt": "ba"}])
    assert run(tmp_path / "no model", prompts, tmp_path / out) == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def run_file(write, tmp_path):
    """A run's YAML file whose data.train are demonstrations."""
    data = write("train.jsonl", [{"prompt": prompt, "response": "ba", "id": prompt} for prompt in PROMPTS])
    source = f"{{source: demonstration_jsonl, path: {data}}}"
    path = tmp_path / "run.yaml"
    path.write_text(
        f"model: {{path: a/b}}\nalgorithm: {{name: sft}}\ndata: {{train: {source}, max_prompt_tokens: 3, "
        "max_response_tokens: 3}\ntraining: {num_steps: 1, batch_size: 1, learning_rate: 0.1}\n"
    )
    return path


def test_a_run_file_gives_the_prompts_of_its_training_data(run_file, model_folder, tmp_path):
    for options, num in (((), 4), (("--num-prompts", 2), 2)):
        out = tmp_path / "out.jsonl"
        assert run(model_folder("t5"), run_file, out, *options) == 0
        assert [(row["prompt"], row["id"]) for row in rows_of(out)] == [(prompt, prompt) for prompt in PROMPTS[:num]]


def test_settings_of_a_run_file_stand_behind_the_model(run_file, model_folder, write, tmp_path, capsys):
    other = write("other.jsonl", [{"prompt": "bo", "response": "ba"}])
    out = tmp_path / "out.jsonl"
    assert run(model_folder("t5"), run_file, out, f"data.train.path={other}") == 0
    assert [row["prompt"] for row in rows_of(out)] == ["bo"]
    prompts = write("prompts.jsonl", [{"prompt": "ba"}])
    assert run(model_folder("t5"), prompts, tmp_path / "no.jsonl", "data.train.num=1") == 2
    fault = f"data.train.num=1: a setting of a run's YAML file, which --prompts {prompts} is not"
    assert fault in capsys.readouterr().err


@pytest.mark.parametrize("num", [0, 5])
def test_no_more_prompts_than_there_are(num, run_file, model_folder, write, tmp_path, capsys):
    lines = write("prompts.jsonl", [{"prompt": prompt} for prompt in PROMPTS])
    for path in (run_file, lines):
        assert run(model_folder("t5"), path, tmp_path / "out.jsonl", "--num-prompts", num) == 2
        error = capsys.readouterr().err
        assert error == f"posttrain: --num-prompts {num}: {path} has 4 prompts; give 1 to 4\n"


def test_a_missing_model_is_named(write, tmp_path, capsys):
    prompts = write("prompts.jsonl", [{"prompt": "ba"}])
    assert run(tmp_path / "no", prompts, tmp_path / "out.jsonl") == 2
    remedy = "train that model first, or correct the path"
    assert capsys.readouterr().err == f"posttrain: model {tmp_path / 'no'}: no such folder; {remedy}\n"


def test_the_best_of_several_samples_by_a_reward_model(model_folder, reward_folder, write, tmp_path, capsys):
    prompts = write("prompts.jsonl", [{"prompt": prompt} for prompt in PROMPTS])
    options = ("--decoding", "sampling", "--num-samples", 4)
    assert run(model_folder("t5"), prompts, tmp_path / "all.jsonl", *options) == 0
    scored = ["score", reward_folder("llama"), "--data", tmp_path / "all.jsonl", "--out", tmp_path / "scored.jsonl"]
    assert cli.main([str(word) for word in scored]) == 0
    capsys.readouterr()
    assert run(model_folder("t5"), prompts, tmp_path / "best.jsonl", *options, "--best-by", reward_folder("llama")) == 0
    rows = rows_of(tmp_path / "scored.jsonl")
    expected = [row["responses"][row["scores"].index(max(row["scores"]))] for row in rows]
    assert [row["response"] for row in rows_of(tmp_path / "best.jsonl")] == expected
    assert expected != [row["responses"][0] for row in rows]
    assert "is at most 0.64 nats" in capsys.readouterr().out  # log 4 − 3/4


def test_the_best_of_one_is_refused(model_folder, reward_folder, write, tmp_path, capsys):
    prompts = write("prompts.jsonl", [{"prompt": "ba"}])
    assert run(model_folder("t5"), prompts, tmp_path / "out.jsonl", "--best-by", reward_folder("t5")) == 2
    assert "give --num-samples 2 or more" in capsys.readouterr().err
