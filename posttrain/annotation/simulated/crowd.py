"""Simulated annotators at work at the same time, each in a thread of its own, over HTTP."""

import json
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from posttrain.annotation.passages import reading_of
from posttrain.annotation.simulated.behaviour import Behaviour
from posttrain.annotation.simulated.client import Asked, Client
from posttrain.annotation.simulated.truth import Truth
from posttrain.data.records import Prompt
from posttrain.worlds.grounded_qa.truth import judge


@dataclass(frozen=True)
class Member:
    name: str
    password: str
    behaviour: Behaviour


@dataclass
class Worked:
    """What a crowd did: answers by annotator, and how long the server took for each."""

    answers: dict[str, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def work(
    url: str, members: Sequence[Member], truth: Truth, seed: int = 0, num_each: int | None = None, pause: float = 0.0
) -> Worked:
    """Until each has answered `num_each` tasks, or there are none left. The first fault of any is raised.

    Each looks at a task for half to one and a half times `pause` seconds.
    """
    worked = Worked()
    faults: list[Exception] = []
    lock = threading.Lock()

    def one(member: Member) -> None:
        client = Client(url)
        try:
            num = _annotate(client, member, truth, random.Random(f"{seed} {member.name}"), num_each, pause)
            with lock:
                worked.answers[member.name] = num
                worked.seconds += client.seconds
        except Exception as error:  # noqa: BLE001, raised again below, in the thread that is waited for
            faults.append(error)
        finally:
            client.close()

    threads = [threading.Thread(target=one, args=(member,), daemon=True) for member in members]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    return worked


def _annotate(client: Client, member: Member, truth: Truth, rng: random.Random, num: int | None, pause: float) -> int:
    client.login(member.name, member.password)
    asked = client.next()
    done = 0
    while asked is not None and (num is None or done < num):
        time.sleep(pause * rng.uniform(0.5, 1.5) if pause else 0.0)
        asked = client.answer(asked, fields(asked, member.behaviour, truth, rng))
        done += 1
    return done


def fields(asked: Asked, behaviour: Behaviour, truth: Truth, rng: random.Random) -> Mapping[str, str]:
    """The form that this annotator fills in."""
    if asked.mode == "spans":
        return _spans(asked, behaviour, truth.prompt_of(asked), rng)
    rewards = truth.of(asked)
    if asked.mode == "rank":
        return {f"rank-{place}": str(rank) for place, rank in enumerate(behaviour.rank(rewards, rng))}
    left, right = rewards
    form = {"choice": behaviour.compare(left, right, rng), "strength": _strength(abs(left - right))}
    return form | {f"axis-{number}": behaviour.compare(left, right, rng) for number in range(asked.num_axes)}


def _strength(difference: float) -> str:
    return "1" if difference < 0.25 else "2" if difference < 0.75 else "3"


def _spans(asked: Asked, behaviour: Behaviour, prompt: Prompt, rng: random.Random) -> Mapping[str, str]:
    """The world's own verdicts, some of them overlooked."""
    found = judge(prompt, asked.responses[0])
    errors = [
        {"start": span.start, "end": span.end, "type": span.error, "explanation": span.explanation, "evidence": []}
        for span in (*found.factuality, *found.relevance)
        if span.error is not None and rng.random() >= behaviour.overlooked
    ]
    told = {fact.value for fact in found.missing}
    missing = [
        {"type": "Missing-Answer", "passage": passage, "sentence": sentence}
        for passage, page in enumerate(reading_of(prompt).passages)
        for sentence, text in enumerate(page.sentences)
        if any(value in text.replace(".", "").split() for value in told) and rng.random() >= behaviour.overlooked
    ]
    corrected = prompt.references[0] if prompt.references and (errors or missing) else asked.responses[0]
    return {"marks": json.dumps({"errors": errors, "missing": missing}), "corrected": corrected}
