"""`posttrain chat`: talk to a model, line by line. Its answers are standard output, everything else standard error."""

import io
import logging
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

from posttrain.assembly.parts import load_frozen
from posttrain.commands.answering import ANY_LENGTH
from posttrain.data.chat import Message, render, without_control_tokens
from posttrain.data.collate import Encoder, collate_prompts
from posttrain.data.records import Prompt
from posttrain.errors import InputError
from posttrain.figures.answers import visible
from posttrain.models.language_model import LanguageModel
from posttrain.models.loading import Pretrained
from posttrain.models.positions import check_positions, max_positions
from posttrain.rollouts import in_process

log = logging.getLogger(__name__)
MAX_NEW_TOKENS = 256
COMMANDS = "/temperature 0.7 (0 is greedy), /reset, /quit"


@dataclass
class Conversation:
    """With a chat template it remembers the turns; without one every line is a prompt of its own."""

    model: LanguageModel
    start: Pretrained
    temperature: float = 0.0  # 0 takes the likeliest token
    num_replies: int = 0
    messages: list[Message] = field(default_factory=list)

    @property
    def has_template(self) -> bool:
        return self.start.tokenizer.chat_template is not None

    def reply(self, line: str) -> str:
        """The model's answer. InputError if it cannot be asked; then nothing is remembered."""
        ids, asked = self._prompt(line)
        max_new_tokens = self._max_new_tokens()
        remedy = "/reset begins anew" if self.has_template else "write less"
        check_positions(self.start.model.config, [(len(ids), max_new_tokens)], "this conversation", remedy)
        config = in_process.Config(
            max_new_tokens=max_new_tokens,
            samples_per_prompt=1,
            is_greedy=self.temperature == 0,
            temperature=self.temperature or 1.0,
        )
        batch = collate_prompts([ids], [Prompt(line)]).to(next(self.model.parameters()).device)
        text = in_process.build(config, self.model, self.start).generate(batch, self.num_replies).texts[0]
        self.num_replies += 1
        if self.has_template:
            self.messages = [*asked, Message("assistant", text)]
        return text

    def _prompt(self, line: str) -> tuple[list[int], list[Message]]:
        tokenizer = self.start.tokenizer
        if self.has_template:
            asked = [*self.messages, Message("user", line)]
            if without_control_tokens(line, tokenizer) != line:
                log.warning("the model's control tokens are left out of what you wrote")
            return render(asked, tokenizer), asked
        encoder = Encoder(tokenizer, self.start.is_encoder_decoder, ANY_LENGTH, ANY_LENGTH)
        return encoder.prompts([line])[0], []

    def _max_new_tokens(self) -> int:
        """At most half of the positions, so that there is room to ask."""
        limit = max_positions(self.start.model.config)
        return MAX_NEW_TOKENS if limit is None else max(1, min(MAX_NEW_TOKENS, limit // 2))


def main(model_path: str) -> None:
    """Until /quit, the end of the input, or Ctrl-C."""
    model, start = load_frozen(model_path)
    conversation = Conversation(model, start)
    kind = (
        "it remembers the conversation" if conversation.has_template else "no chat template, so each line is a prompt"
    )
    log.info("%s: %s. %s", model_path, kind, COMMANDS)
    try:
        for line in _lines():
            if line == "/quit":
                break
            if line.startswith("/"):
                obey(line, conversation)
            else:
                _answer(line, conversation)
    except KeyboardInterrupt:
        log.info("")  # leaves the line that ^C was shown on


def _lines() -> Iterator[str]:
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return
        if line:
            yield line


def _answer(line: str, conversation: Conversation) -> None:
    try:
        text = conversation.reply(line)
    except InputError as error:
        log.warning("%s", error)
        return
    print(visible(text), flush=True)


def obey(line: str, conversation: Conversation) -> None:
    """Carry out a line that begins with a slash."""
    command, _, argument = line.partition(" ")
    if command == "/reset" and not argument:
        conversation.messages = []
        log.info("the conversation is forgotten")
    elif command == "/temperature" and (temperature := _temperature(argument)) is not None:
        conversation.temperature = temperature
        log.info("temperature %g%s", temperature, " (greedy)" if temperature == 0 else "")
    else:
        log.info("not understood: %s. There are %s", visible(line), COMMANDS)


def _temperature(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
