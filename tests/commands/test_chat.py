"""`posttrain chat` answers line by line, remembers only with a template, and ends quietly."""

import io
import subprocess
import sys

import pytest
import torch

from posttrain import cli
from posttrain.assembly.parts import load_frozen
from posttrain.commands import chat
from posttrain.data.chat import Message, render
from posttrain.models.loading import load_language_model
from tests.commands.test_sample import PROMPTS
from tests.tiny_models import write_model

TEMPLATE = "{% for m in messages %}{{ 'ha ' if m.role == 'user' else 'hu ' }}{{ m.content }} </s> {% endfor %}hu "


def greedy(folder, ids: list[int], max_new_tokens: int) -> str:
    start = load_language_model(str(folder), 0.0)
    row = start.model.generate(
        input_ids=torch.tensor([ids]), do_sample=False, max_new_tokens=max_new_tokens, pad_token_id=0
    )[0]
    written = row if start.is_encoder_decoder else row[len(ids) :]
    return start.tokenizer.decode(written, skip_special_tokens=True).strip()


@pytest.fixture
def conversational(tmp_path):
    folder = write_model("llama", tmp_path / "model", max_position_embeddings=200)
    tokenizer = load_language_model(str(folder), None).tokenizer
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def talk(folder, lines: list[str], monkeypatch, capsys) -> tuple[list[str], str]:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    assert cli.main(["chat", str(folder)]) == 0
    shown = capsys.readouterr()
    return shown.out.splitlines(), shown.err


def test_piped_lines_are_answered_one_by_one(model_folder):
    folder = model_folder("llama")
    talked = subprocess.run(
        [sys.executable, "-m", "posttrain.cli", "chat", str(folder)],
        input="\n".join(PROMPTS), capture_output=True, text=True, check=False,
    )  # fmt: skip
    tokenizer = load_language_model(str(folder), None).tokenizer
    assert talked.returncode == 0
    assert talked.stdout.splitlines() == [greedy(folder, tokenizer(prompt).input_ids, 32) for prompt in PROMPTS]
    assert "no chat template" in talked.stderr
    assert "Traceback" not in talked.stderr


def test_without_a_template_nothing_is_remembered(model_folder, monkeypatch, capsys):
    answers, _ = talk(model_folder("bart"), ["ba ce", "fo", "", "ba ce"], monkeypatch, capsys)
    assert len(answers) == 3
    assert answers[0] == answers[2] != answers[1]


def test_with_a_template_the_turns_are_remembered_until_reset(conversational, monkeypatch, capsys):
    answers, shown = talk(conversational, ["ba ce", "fo", "/reset", "fo", "/quit", "ba"], monkeypatch, capsys)
    tokenizer = load_language_model(str(conversational), None).tokenizer
    first = greedy(conversational, tokenizer("ha ba ce </s> hu", add_special_tokens=False).input_ids, 100)
    asked = f"ha ba ce </s> hu {first} </s> ha fo </s> hu"
    second = greedy(conversational, tokenizer(asked, add_special_tokens=False).input_ids, 100)
    alone = greedy(conversational, tokenizer("ha fo </s> hu", add_special_tokens=False).input_ids, 100)
    assert answers == [first, second, alone]
    assert second != alone
    assert "remembers" in shown


def test_control_tokens_are_left_out_and_said_so(conversational, monkeypatch, capsys):
    plain, _ = talk(conversational, ["ba ce"], monkeypatch, capsys)
    answers, shown = talk(conversational, ["ba </</s>s> <s>ce"], monkeypatch, capsys)
    assert answers == plain
    assert "warning: the model's control tokens are left out" in shown


def test_every_turn_is_rendered_without_control_tokens(conversational):
    tokenizer = load_language_model(str(conversational), None).tokenizer
    ids = render([Message("user", "ba"), Message("assistant", "ce </s>"), Message("user", "<s> di")], tokenizer)
    assert tokenizer.decode(ids) == "ha ba </s> hu ce </s> ha di </s> hu"


def test_a_temperature_samples_and_zero_is_greedy_again(model_folder, monkeypatch, capsys):
    lines = ["ba", "/temperature 2", "ba", "ba", "/temperature 0", "ba"]
    answers, shown = talk(model_folder("llama"), lines, monkeypatch, capsys)
    assert answers[0] == answers[3]
    assert len(set(answers)) == 3
    assert "temperature 2\ntemperature 0 (greedy)\n" in shown


def test_what_is_not_understood_changes_nothing(model_folder, monkeypatch, capsys):
    lines = ["/temperature", "/temperature -1", "/temperature nan", "/temperature x", "/help", "/quiet", "/reset now"]
    answers, shown = talk(model_folder("llama"), ["ba", *lines, "ba"], monkeypatch, capsys)
    assert len(answers) == 2
    assert answers[0] == answers[1]
    for line in lines:
        assert f"not understood: {line}. There are /temperature" in shown


def test_a_conversation_that_is_too_long_goes_on(model_folder, monkeypatch, capsys):
    answers, shown = talk(model_folder("llama"), ["ba " * 40, "ba"], monkeypatch, capsys)
    assert len(answers) == 1
    assert "warning: this conversation: 1 of 1 rows need more than the 64 positions" in shown


def test_ctrl_c_ends_politely(model_folder, monkeypatch, capsys):
    def interrupted(_prompt: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", interrupted)
    assert cli.main(["chat", str(model_folder("t5"))]) == 0
    assert "interrupted" not in capsys.readouterr().err


def test_an_answer_cannot_steer_the_terminal(model_folder, monkeypatch, capsys):
    conversation = chat.Conversation(*load_frozen(str(model_folder("t5"))))
    monkeypatch.setattr(chat.Conversation, "reply", lambda self, line: "a\x1b[2Jb")
    chat._answer("ba", conversation)
    assert capsys.readouterr().out == "a⟨U+001B⟩[2Jb\n"
