"""A server's answers are rewards; whatever else it does ends in a fault that says what was wrong, without secrets."""

import json
import logging
import socket
import time

import pytest
import torch
from pydantic import ValidationError

from posttrain.data.records import Prompt
from posttrain.errors import EnvironmentFault, InputError
from posttrain.rewards import json_server, remote
from tests.rewards.rollouts import TOKENIZERS, ids_of, rollout_of, tokenizer_of
from tests.rewards.servers import Reply, judging, reply

TEXTS = ("The cat é😀 sat. A dog.", "", "yes")
SECRET = "s3cret-token"


def rollout(name: str = "builtin/decoder_only"):
    tokenizer = tokenizer_of(name)
    prompts = [Prompt(f"p{i}", references=(f"r{i}",), facts={"n": i}) for i in range(len(TEXTS))]
    return rollout_of(tokenizer, [ids_of(tokenizer, text) for text in TEXTS], prompts)


def ask(url: str, name: str = "builtin/decoder_only", **own):
    config = remote.Config(url=url, **own)
    return remote.build(config, "judge", tokenizer_of(name), torch.device("cpu"))(rollout(name))


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(json_server, "FIRST_WAIT_SECONDS", 0.001)


def test_scores_stand_at_the_last_tokens_in_order():
    """The later a request is made, the sooner it is answered."""

    def answer(question):
        place = int(question["prompts"][0][1:])
        time.sleep(0.1 * (2 - place))
        return reply({"scores": [place + 0.5]})

    with judging(answer) as judge:
        stream = ask(judge.url, batch_size=1, concurrency=3, scale=2.0, bias=-1.0, sends=["references", "facts"])
    assert stream.totals().tolist() == [0.0, 2.0, 4.0]
    assert (stream.mask.int().argmax(-1) == rollout().sequences.lengths - 1).all()
    assert sorted(judge.asked, key=lambda it: it["prompts"]) == [
        {"prompts": [f"p{i}"], "responses": [text], "references": [[f"r{i}"]], "facts": [{"n": i}]}
        for i, text in enumerate(TEXTS)
    ]
    assert "authorization" not in judge.headers[0]


def test_no_more_than_so_many_requests_at_a_time():
    running, most = [], []

    def answer(question):
        running.append(1)
        most.append(len(running))
        time.sleep(0.05)
        running.pop()
        return reply({"scores": [0]})

    with judging(answer) as judge:
        ask(judge.url, batch_size=1, concurrency=1)
    assert max(most) == 1


@pytest.mark.parametrize("name", TOKENIZERS)
def test_spans_are_paid_where_their_characters_end(name):
    spans = [[[0, 10, -1.5], [4, 7, 2], [15, 21, 0]], [], [[0, 3, 1]]]
    with judging(lambda _: reply({"spans": spans})) as judge:
        stream = ask(judge.url, name, gives="spans")
        summed = ask(judge.url, name, gives="spans", density="sentence")
    tokenizer, given = tokenizer_of(name), rollout(name)
    for row, text in enumerate(TEXTS):
        found = {}
        for _, end, value in spans[row]:
            ids = given.sequences.response_ids[row].tolist()
            last = next(n for n in range(len(ids)) if tokenizer.decode(ids[: n + 1]).lstrip().startswith(text[:end]))
            found[last] = found.get(last, 0) + value
        columns = stream.mask[row].nonzero().flatten().tolist()
        assert {column: stream.values[row, column].item() for column in columns} == found
    assert stream.totals().tolist() == pytest.approx([0.5, 0.0, 1.0])
    assert summed.totals().tolist() == pytest.approx([0.5, 0.0, 1.0])
    assert stream.mask.sum(-1).tolist() == [3, 0, 1]
    assert summed.values[summed.mask].tolist() == [0.5, 0.0, 1.0], "two sentences; none; one. No reward at an end token"


WRONG = [
    (b"", "did not answer with JSON"),
    (b"\xff", "did not answer with JSON"),
    (b'{"scores": [1, 2, NaN]}', "NaN is not a JSON number"),
    (b'{"scores": [1, 2, 1e999]}', "too large"),
    (b'{"scores": [1, 2, ' + b"9" * 400 + b"]}", "scores[2] should be a finite number"),
    (b'{"scores": [1, 2, 3], "scores": [1, 2, 3]}', "given twice"),
    (b'{"scores": [1, 2, 3]} 4', "more text"),
    (b"[" * 5000, "did not answer with JSON"),
    (b"[1, 2, 3]", 'the one key "scores"'),
    (b'{"score": [1, 2, 3]}', 'the one key "scores", but it has: "score"'),
    (b'{"spans": [[], [], []]}', 'the one key "scores", but it has: "spans"'),
    (b'{"scores": [1, 2, 3], "spans": []}', 'the one key "scores"'),
    (b'{"scores": 3}', "an entry for each of 3 responses, but it has: no list"),
    (b'{"scores": [1, 2]}', "an entry for each of 3 responses, but it has: 2"),
    (b'{"scores": [1, 2, "3"]}', 'scores[2] should be a finite number, not "3"'),
    (b'{"scores": [1, true, 3]}', "scores[1] should be a finite number, not True"),
    (b'{"scores": [null, 2, 3]}', "scores[0] should be a finite number, not None"),
]
WRONG_SPANS = [
    (5, "spans[0] should be a list"),
    ([[0, 1]], "spans[0][0] should be [start, end, value]"),
    ([[0, 1, 2, 3]], "spans[0][0] should be [start, end, value]"),
    ([[0.0, 1, 2]], "spans[0][0] should be [start, end, value]"),
    ([[False, True, 2]], "spans[0][0] should be [start, end, value]"),
    ([[0, 1, 1], [3, 3, 1]], "spans[0][1] should lie in the response, which has 22 characters"),
    ([[-1, 3, 1]], "but it is -1 to 3"),
    ([[0, 23, 1]], "but it is 0 to 23"),
    ([[0, 3, None]], "spans[0][0][2] should be a finite number"),
]


@pytest.mark.parametrize(("body", "message"), WRONG)
def test_a_wrong_answer_is_refused_with_its_reason(body, message):
    with judging(lambda _: Reply(body)) as judge, pytest.raises(InputError) as raised:
        ask(judge.url)
    assert str(raised.value).startswith(f"rewards.judge: {judge.url}: ")
    assert message in str(raised.value)
    assert len(judge.asked) == 1, "a wrong answer is not asked for again"


@pytest.mark.parametrize(("spans", "message"), WRONG_SPANS)
def test_a_wrong_span_is_refused_with_its_reason(spans, message):
    with judging(lambda _: reply({"spans": [spans, [], []]})) as judge, pytest.raises(InputError) as raised:
        ask(judge.url, gives="spans")
    assert message in str(raised.value)


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_a_fault_that_may_pass_is_tried_again(status):
    tries = []

    def answer(_):
        tries.append(1)
        return reply({"scores": [1, 2, 3]}) if len(tries) > 2 else Reply(b"", status)

    with judging(answer) as judge:
        assert ask(judge.url).totals().tolist() == [1, 2, 3]
        assert len(tries) == 3
        tries.clear()
        with pytest.raises(EnvironmentFault, match=rf"no answer after 2 tries \(HTTP {status}\); see that the server"):
            ask(judge.url, num_retries=1)


@pytest.mark.parametrize(
    ("status", "message"),
    [(302, "redirects"), (401, "refused the credentials"), (403, "refused the credentials"), (404, "rewards.judge.url"),
     (422, "rewards.judge.url"), (204, "rewards.judge.url")],
)  # fmt: skip
def test_a_refusal_is_not_tried_again_and_no_redirect_followed(status, message):
    with judging(lambda _: reply({"scores": [1, 2, 3]})) as other:

        def answer(_):
            return Reply(b"", status, {"location": other.url})

        with judging(answer) as judge, pytest.raises(InputError, match=rf"{message}.*"):
            ask(judge.url)
        assert len(judge.asked) == 1
        assert other.asked == []


def test_nobody_there_is_a_fault_of_the_environment():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and never listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        with pytest.raises(EnvironmentFault, match=rf"rewards.judge: {url}: no answer after 3 tries \(.*refused"):
            ask(url, num_retries=2)


def test_an_answer_that_does_not_come_or_does_not_end():
    def drop(seconds):
        for _ in range(30):
            time.sleep(seconds)
            yield b" "

    with judging(lambda _: Reply(b"", pieces=drop(0.1))) as judge:
        began = time.monotonic()
        with pytest.raises(EnvironmentFault, match=r"took longer than 0\.3 seconds"):
            ask(judge.url, timeout_seconds=0.3, num_retries=0)
        assert time.monotonic() - began < 2
    with judging(lambda _: Reply(b"", pieces=drop(1.0))) as judge, pytest.raises(EnvironmentFault, match="timed out"):
        ask(judge.url, timeout_seconds=0.2, num_retries=0)


def test_an_answer_that_is_too_long_or_packed():
    with judging(lambda _: Reply(b" " * 2000 + b'{"scores": [1, 2, 3]}')) as judge:
        assert ask(judge.url).totals().tolist() == [1, 2, 3]
        with pytest.raises(InputError, match=r"longer than 1000 bytes; send less, or raise rewards\.judge\.max_answer"):
            ask(judge.url, max_answer_bytes=1000)
    with judging(lambda _: Reply(b"x", headers={"content-encoding": "gzip"})) as judge:
        with pytest.raises(InputError, match="answered packed"):
            ask(judge.url)
        assert judge.headers[0]["accept-encoding"] == "identity"


def test_the_token_comes_from_the_environment_and_is_told_to_nobody_else(monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("JUDGE_TOKEN", SECRET)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # is not asked
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with judging(lambda _: reply({"scores": [1, 2, 3]})) as judge:
        ask(judge.url + "?key=hidden", token_variable="JUDGE_TOKEN")
    assert judge.headers[0]["authorization"] == f"Bearer {SECRET}"
    with judging(lambda _: Reply(b"", 403)) as judge, pytest.raises(InputError) as raised:
        ask(judge.url + "?key=hidden", token_variable="JUDGE_TOKEN")
    said = str(raised.value) + "".join(record.getMessage() for record in caplog.records)
    assert SECRET not in said
    assert "hidden" not in said
    config = remote.Config(url=judge.url, token_variable="JUDGE_TOKEN")
    reward = remote.build(config, "judge", tokenizer_of("builtin/decoder_only"), torch.device("cpu"))
    assert SECRET not in repr(reward)


@pytest.mark.parametrize(
    ("token", "message"), [("", "is not set"), ("a\nb", "no token"), ("a b", "no token"), ("é", "no token")]
)
def test_a_token_that_is_none(monkeypatch, token, message):
    monkeypatch.setenv("JUDGE_TOKEN", token)
    with pytest.raises(InputError, match=rf"rewards.judge.token_variable.*{message}") as raised:
        ask("https://judge.example/", token_variable="JUDGE_TOKEN")
    assert token == "" or token not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://judge.example/", "not encrypted"),
        ("http://10.0.0.1:80/", "not encrypted"),
        ("https://me:pw-123@judge.example/", "holds a user or password"),
        ("ftp://judge.example/", "no URL of a server"),
        ("judge.example", "no URL of a server"),
        ("https://", "no URL of a server"),
        ("https://a b/", "no URL of a server"),
        ("https://judge.example:99999/", "no URL"),
        ("https://[::1/", "no URL"),
        ("file:///etc/passwd", "no URL of a server"),
    ],
)
def test_a_url_that_is_not_sent_to(url, message):
    with pytest.raises(ValidationError, match=message) as raised:
        remote.Config(url=url)
    assert "pw-123" not in raised.value.errors()[0]["msg"]


@pytest.mark.parametrize(
    "url", ["https://judge.example/x?y=1", "http://localhost:8/", "http://127.9.9.9/", "http://[::1]:8/"]
)
def test_a_url_that_is_sent_to(url):
    assert remote.Config(url=url).url == url


def test_plain_http_for_those_who_say_so():
    assert remote.Config(url="http://10.0.0.1/", should_allow_plain_http=True)


def test_facts_that_are_no_json():
    given = rollout()
    given.sequences.prompts.examples[0].facts["n"] = float("nan")  # pyright: ignore[reportIndexIssue]
    config = remote.Config(url="http://127.0.0.1:1/", sends=("facts",))
    reward = remote.build(config, "judge", tokenizer_of("builtin/decoder_only"), torch.device("cpu"))
    with pytest.raises(InputError, match=r"rewards.judge: what is to be sent is not JSON.*rewards.judge.sends"):
        reward(given)


def test_certificates_that_are_none(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(InputError, match=r"rewards.judge.ca_file: .*ca.pem is no file of certificates"):
        ask("https://127.0.0.1:1/", ca_file=str(tmp_path / "ca.pem"))


def test_what_is_sent_is_json_without_escapes():
    with judging(lambda _: reply({"scores": [1, 2, 3]})) as judge:
        ask(judge.url)
    assert json.dumps(judge.asked[0]["responses"]) == json.dumps(TEXTS)
    assert judge.headers[0]["content-type"] == "application/json"
