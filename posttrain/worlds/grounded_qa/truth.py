"""The true reward of an answer, known because the world is ours.

    reward = completeness - share of wrong sentences - share of bad sub-sentences

The three parts and their units (sequence, sentence, sub-sentence) are those of Wu et al. 2023, "Fine-Grained Human
Feedback Gives Better Rewards for Language Model Training". An empty answer has reward 0, nonsense -1.
"""

from dataclasses import dataclass
from typing import Literal

from posttrain.data.records import Prompt
from posttrain.errors import InputError
from posttrain.worlds.grounded_qa.grammar import Attribute, Claim, Fact, Sentence, SubSentence, parse

ErrorType = Literal["Wrong-Grounding", "Unverifiable", "Irrelevant", "Redundant", "Incoherent"]
"""QA-Feedback's error types: the first two are of factuality, the others of relevance."""
FACTUALITY_ERRORS: tuple[ErrorType, ...] = ("Wrong-Grounding", "Unverifiable")
RELEVANCE_ERRORS: tuple[ErrorType, ...] = ("Irrelevant", "Redundant", "Incoherent")


@dataclass(frozen=True)
class JudgedSpan:
    """The verdict on `answer[start:end]`: +1 good, -1 for the error it names."""

    start: int
    end: int
    error: ErrorType | None = None
    explanation: str = ""

    @property
    def value(self) -> int:
        return 1 if self.error is None else -1


@dataclass(frozen=True)
class Truth:
    """completeness: share of the needed facts stated, in [0, 1]. factuality: one verdict a sentence. relevance: one a
    sub-sentence. missing: the needed facts that the answer does not state."""

    completeness: float
    factuality: tuple[JudgedSpan, ...]
    relevance: tuple[JudgedSpan, ...]
    missing: tuple[Fact, ...]

    @property
    def reward(self) -> float:
        """In [-2, 1]."""
        return self.completeness + self.factuality_reward + self.relevance_reward

    @property
    def factuality_reward(self) -> float:
        """Minus the share of wrong sentences."""
        return -_bad_share(self.factuality)

    @property
    def relevance_reward(self) -> float:
        """Minus the share of bad sub-sentences."""
        return -_bad_share(self.relevance)


def gold(prompt: Prompt, answer: str) -> float:
    """The true reward of an answer."""
    return judge(prompt, answer).reward


def judge(prompt: Prompt, answer: str) -> Truth:
    """Read an answer and compare each of its claims with the passages of the prompt.

    Raises InputError if the prompt does not come from this world.
    """
    needed, known = prompt_facts(prompt)
    sentences = parse(answer)
    claims = {part.claim for sentence in sentences for part in sentence.sub_sentences}
    missing = tuple(fact for fact in needed if fact.claim not in claims)
    return Truth(
        completeness=1 - len(missing) / len(needed),
        factuality=tuple(_factuality(sentence, known) for sentence in sentences),
        relevance=_relevance(sentences, needed),
        missing=missing,
    )


def prompt_facts(prompt: Prompt) -> tuple[tuple[Fact, ...], tuple[Fact, ...]]:
    """(the facts that a complete answer states, all facts of the passages)."""
    if "needed" not in prompt.facts or "pages" not in prompt.facts:
        raise InputError(
            f"prompt {prompt.id or prompt.text[:60]!r}: its facts lack `needed` and `pages`, so the true reward is not "
            "known; the true reward is for prompts from worlds/grounded_qa only"
        )
    needed = tuple(Fact(*fact) for fact in prompt.facts["needed"])
    known = tuple(Fact(*fact) for page in prompt.facts["pages"] for fact in page["facts"])
    return needed, known


def _factuality(sentence: Sentence, known: tuple[Fact, ...]) -> JudgedSpan:
    """Bad if one of the sentence's claims is not what the passages say. What does not parse claims nothing."""
    claims = {fact.claim for fact in known}
    for part in sentence.sub_sentences:
        if part.claim is None or part.claim in claims:
            continue
        told = [fact.value for fact in known if fact.claim[:2] == part.claim[:2]]
        if told:
            explanation = f"The passages say {' or '.join(told)}, not {part.claim.value}."
            return JudgedSpan(sentence.start, sentence.end, "Wrong-Grounding", explanation)
        return JudgedSpan(sentence.start, sentence.end, "Unverifiable", "The passages do not say it.")
    return JudgedSpan(sentence.start, sentence.end)


def _relevance(sentences: tuple[Sentence, ...], needed: tuple[Fact, ...]) -> tuple[JudgedSpan, ...]:
    """What was asked is relevant the first time it is told, even if it is told wrongly: that is factuality's matter."""
    asked = {fact.claim[:2] for fact in needed}
    said: set[Claim] = set()
    verdicts = []
    for part in (part for sentence in sentences for part in sentence.sub_sentences):
        error, explanation = _irrelevance(part, asked, said)
        verdicts.append(JudgedSpan(part.start, part.end, error, explanation))
        if part.claim is not None:
            said.add(part.claim)
    return tuple(verdicts)


def _irrelevance(
    part: SubSentence, asked: set[tuple[str, Attribute]], said: set[Claim]
) -> tuple[ErrorType | None, str]:
    if part.claim is None:
        return "Incoherent", "It is not a sentence."
    if part.claim in said:
        return "Redundant", "The answer has told this before."
    if part.claim[:2] not in asked:
        return "Irrelevant", "The question does not ask for it."
    return None, ""


def _bad_share(spans: tuple[JudgedSpan, ...]) -> float:
    return sum(span.error is not None for span in spans) / max(len(spans), 1)
