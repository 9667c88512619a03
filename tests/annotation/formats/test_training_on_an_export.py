"""What annotators said trains a reward model with one command."""

import json

from posttrain import cli
from posttrain.annotation.formats import comparisons
from posttrain.annotation.formats.selection import held_out
from posttrain.annotation.records import Item, RankVote, Response
from posttrain.data.records import Prompt

CONFIG = """
model: {path: posttrain/models/builtin/encoder_decoder, dropout: 0.0}
algorithm: {name: preference_reward_model, pooling: mean}
data:
  train: {source: preference_jsonl, path: train.jsonl}
  evaluation: {source: preference_jsonl, path: evaluation.jsonl}
  max_prompt_tokens: 32
  max_response_tokens: 16
training: {num_epochs: 4, batch_size: 4, learning_rate: 0.002, schedule: constant}
"""


def test_rankings_train_a_reward_model(tmp_path):
    """Annotators rank what is good above what is bad; the reward model does so on prompts that it has not read."""
    items = [
        Item(f"i{i}", Prompt(f"Say something of {i}."), tuple(Response(word) for word in ("a bad one", "a good one")))
        for i in range(10)
    ]
    votes = [RankVote(item.id, who, 9.0, 1.0, (2, 1), (0, 1)) for item in items for who in ("ann", "bob")]
    train, evaluation = held_out(items, seed=0)
    for name, part in (("train", train), ("evaluation", evaluation)):
        comparisons.export(part, votes).write(tmp_path / f"{name}.jsonl")
    (tmp_path / "config.yaml").write_text(CONFIG)
    files = [f"data.{name}.path={tmp_path / name}.jsonl" for name in ("train", "evaluation")]
    assert cli.main(["train", str(tmp_path / "config.yaml"), *files, "--out", str(tmp_path / "run")]) == 0
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["evaluation/accuracy"] == 1.0
