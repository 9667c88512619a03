"""What a model folder may hold, what is refused, and that a saved model is the one that was trained."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from posttrain.errors import InputError
from posttrain.models.actor_critic import SeparateActorCritic
from posttrain.models.export import export
from posttrain.models.families.encoder_decoder import FORCED_FIRST, decoder_start
from posttrain.models.language_model import LanguageModel
from posttrain.models.loading import (
    BUILTIN,
    DROPOUTS,
    initialize_language_model,
    load_backbone,
    load_language_model,
    load_tokenizer,
    new_scorer,
)
from posttrain.models.scorer import HEAD_FILE, STATISTICS_FILE, read_statistics
from tests.tiny_models import (
    ARCHITECTURES,
    END,
    EVERY,
    LLAMA,
    ONE_PER_FAMILY,
    START,
    T5,
    random_sequences,
    word_tokenizer,
    write_model,
)


@pytest.mark.parametrize("name", EVERY)
def test_an_exported_model_gives_the_same_logprobs(name, model_folder, tmp_path):
    pretrained = load_language_model(str(model_folder(name)), 0.0)
    policy = LanguageModel(pretrained.model).eval()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.01)  # trained, so to say
        export(policy, pretrained.tokenizer, tmp_path / "model", torch.float32)
        loaded = load_language_model(str(tmp_path / "model"), None)
        sequences = random_sequences([3, 5], [[2, 4], [3]])
        assert torch.allclose(LanguageModel(loaded.model).eval()(sequences), policy(sequences), atol=1e-6)
    assert loaded.end_ids == pretrained.end_ids == (END,)
    assert loaded.tokenizer.get_vocab() == pretrained.tokenizer.get_vocab()
    assert [p.name for p in tmp_path.iterdir()] == ["model"]  # nothing unfinished stays


def test_export_replaces_a_folder_whole(model_folder, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "stale.txt").write_text("old")
    pretrained = load_language_model(str(model_folder("llama")), 0.0)
    export(LanguageModel(pretrained.model), pretrained.tokenizer, folder, torch.float32)
    assert not (folder / "stale.txt").exists()
    assert (folder / "config.json").exists()


def test_export_takes_the_policy_of_an_actor_critic_and_the_head_of_a_reward_model(model_folder, tmp_path):
    source = str(model_folder("t5"))
    pretrained = load_language_model(source, 0.0)
    actor_critic = SeparateActorCritic(LanguageModel(pretrained.model), load_backbone(source, 0.0))
    export(actor_critic, pretrained.tokenizer, tmp_path / "policy", torch.float32)
    assert load_file(tmp_path / "policy/model.safetensors").keys() == load_file(f"{source}/model.safetensors").keys()
    export(new_scorer(source, 0.0), pretrained.tokenizer, tmp_path / "reward_model", torch.float32)
    assert (tmp_path / "reward_model" / HEAD_FILE).exists()


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_weights_saved_in_half_are_rounded_once_and_the_trained_ones_stay(name, model_folder, tmp_path):
    pretrained = load_language_model(str(model_folder(name)), 0.0)
    before = {key: value.clone() for key, value in pretrained.model.state_dict().items()}
    export(LanguageModel(pretrained.model), pretrained.tokenizer, tmp_path / "half", torch.bfloat16)
    assert {tensor.dtype for tensor in load_file(tmp_path / "half/model.safetensors").values()} == {torch.bfloat16}
    loaded = load_language_model(str(tmp_path / "half"), 0.0).model.state_dict()
    for key, value in before.items():
        assert torch.equal(pretrained.model.state_dict()[key], value)
        assert torch.equal(loaded[key], value.bfloat16().float())


@pytest.mark.parametrize("name", EVERY)
def test_dropout_is_set_everywhere_or_left_alone(name, tmp_path):
    rates = {"t5": "dropout_rate", "bart": "dropout", "gpt2": "resid_pdrop"}
    own = rates.get(name.split("_")[0], "attention_dropout")
    folder = str(write_model(name, tmp_path / name, **{own: 0.3}))
    assert getattr(load_language_model(folder, None).model.config, own) == 0.3
    for model in (load_language_model(folder, 0.0).model, load_backbone(folder, 0.0)):
        assert [getattr(model.config, rate) for rate in DROPOUTS if hasattr(model.config, rate)]
        assert [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout) and m.p != 0] == []
        sequences = random_sequences([3], [[4]])
        if hasattr(model, "lm_head"):
            policy = LanguageModel(model).train()
            assert torch.equal(policy(sequences), policy(sequences))


def test_layers_are_not_dropped_when_dropout_is_off(tmp_path):
    folder = str(write_model("bart", tmp_path / "bart", decoder_layerdrop=0.9))
    policy = LanguageModel(load_language_model(folder, 0.0).model).train()
    sequences = random_sequences([3], [[4]])
    outputs = [policy(sequences) for _ in range(8)]
    assert all(torch.equal(output, outputs[0]) for output in outputs)


def test_a_missing_folder(tmp_path):
    for path in (str(tmp_path / "nowhere"), "./nowhere", "a/b/c"):
        with pytest.raises(InputError, match="no such folder"):
            load_language_model(path, 0.0)


def test_a_folder_without_a_config(tmp_path):
    with pytest.raises(InputError, match=r"config\.json: missing, so .* is not a model folder"):
        load_language_model(str(tmp_path), 0.0)


def test_a_file_is_not_a_folder(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"")
    with pytest.raises(InputError, match="no such folder"):
        load_language_model(str(path), 0.0)


def test_an_unknown_builtin_names_those_there_are():
    with pytest.raises(InputError, match="builtin/nothing: there is no such built-in model; there are ") as caught:
        load_language_model("builtin/nothing", 0.0)
    for folder in BUILTIN.glob("*") if BUILTIN.is_dir() else ():
        assert f"builtin/{folder.name}" in str(caught.value)


@pytest.fixture
def own_folder(model_folder, tmp_path) -> Path:
    """A Llama-shaped folder that may be damaged."""
    return Path(shutil.copytree(model_folder("llama"), tmp_path / "own"))


def change_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_pickled_weights_are_refused_unopened(own_folder, tmp_path):
    marker = tmp_path / "executed"
    (own_folder / "model.safetensors").unlink()
    code = f"cbuiltins\nopen\n(V{marker}\nVw\ntR."  # unpickling it would make the file
    (own_folder / "pytorch_model.bin").write_bytes(code.encode())
    with pytest.raises(InputError, match=r"cannot be loaded .*safetensors"):
        load_language_model(str(own_folder), 0.0)
    assert not marker.exists()


def test_damaged_weights_are_an_error_of_the_input(own_folder):
    (own_folder / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0 not a header")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_language_model(str(own_folder), 0.0)


def test_a_damaged_config_is_an_error_of_the_input(own_folder):
    (own_folder / "config.json").write_text("{")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_language_model(str(own_folder), 0.0)


def test_weights_of_another_width_are_refused(own_folder):
    change_json(own_folder / "config.json", intermediate_size=20)
    with pytest.raises(InputError, match=r"6 tensors of a Llama.*layers\.0\.mlp\.down_proj\.weight among them"):
        load_language_model(str(own_folder), 0.0)


def test_missing_tensors_are_not_made_up(own_folder):
    tensors = load_file(own_folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, own_folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"1 tensors of a .*layers\.1\.mlp\.up_proj\.weight among them"):
        load_language_model(str(own_folder), 0.0)


@pytest.mark.parametrize("model_type", ["own_model", "llama"])
def test_code_in_a_model_folder_is_never_run(own_folder, tmp_path, model_type):
    marker = tmp_path / "executed"
    (own_folder / "modeling_own.py").write_text(f"open({str(marker)!r}, 'w')\nclass Own: pass\n")
    own = {
        "AutoConfig": "modeling_own.Own",
        "AutoModelForCausalLM": "modeling_own.Own",
        "AutoModel": "modeling_own.Own",
    }
    change_json(own_folder / "config.json", model_type=model_type, auto_map=own)
    change_json(own_folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["modeling_own.Own", None]})
    for load in (load_language_model, load_backbone):
        if model_type == "llama":  # an architecture that transformers has itself is loaded with its own code
            load(str(own_folder), 0.0)
        else:
            with pytest.raises(InputError, match="cannot be loaded"):
                load(str(own_folder), 0.0)
    assert not marker.exists()


def test_a_tokenizer_needs_no_model_beside_it(own_folder, tmp_path):
    whole = load_tokenizer(str(own_folder))
    whole.save_pretrained(tmp_path / "alone")
    assert load_tokenizer(str(tmp_path / "alone")).get_vocab() == whole.get_vocab()
    (tmp_path / "alone" / "tokenizer_config.json").unlink()
    with pytest.raises(InputError, match="not a tokenizer folder"):
        load_tokenizer(str(tmp_path / "alone"))


def test_a_tokenizer_without_an_end_is_refused(own_folder):
    path = own_folder / "tokenizer_config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "eos_token"}))
    (own_folder / "special_tokens_map.json").unlink(missing_ok=True)
    with pytest.raises(InputError, match="has no eos token, so no response can end"):
        load_tokenizer(str(own_folder))


def test_a_tokenizer_without_padding_pads_with_its_end(own_folder):
    path = own_folder / "tokenizer_config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "pad_token"}))
    assert load_tokenizer(str(own_folder)).pad_token_id == END


def test_all_declared_ends_end_a_response(own_folder):
    change_json(own_folder / "generation_config.json", eos_token_id=[7, 5])
    assert load_language_model(str(own_folder), 0.0).end_ids == (END, 5, 7)


@pytest.mark.parametrize("file", ["generation_config.json", "config.json"])
def test_a_forced_first_token_is_part_of_the_start_of_every_model_made_from_the_folder(file, model_folder, tmp_path):
    folder = shutil.copytree(model_folder("bart_forced"), tmp_path / "model")
    config = {k: v for k, v in json.loads((folder / "config.json").read_text()).items() if k != FORCED_FIRST}
    (folder / "config.json").write_text(json.dumps(config))
    if file == "config.json":  # where it was before there were generation configs
        (folder / "generation_config.json").unlink()
        (folder / "config.json").write_text(json.dumps(config | {"forced_bos_token_id": START}))
    policy, scorer = load_language_model(str(folder), 0.0).model, new_scorer(str(folder), 0.0)
    assert decoder_start(policy.config) == decoder_start(scorer.backbone.config) == [END, START]
    policy.save_pretrained(tmp_path / "policy")
    scorer.save(tmp_path / "scorer")
    for saved in ("policy", "scorer"):
        assert decoder_start(load_backbone(str(tmp_path / saved), 0.0).config) == [END, START]
    assert json.loads((tmp_path / "policy" / "generation_config.json").read_text())["forced_bos_token_id"] == START


def test_a_model_from_random_weights_starts_with_its_start_token_alone(model_folder):
    assert decoder_start(load_language_model(str(model_folder("bart")), 0.0).model.config) == [END]


def test_a_damaged_generation_config_is_named(model_folder, tmp_path):
    folder = shutil.copytree(model_folder("bart"), tmp_path / "model")
    (folder / "generation_config.json").write_text("{")
    with pytest.raises(InputError, match=r"its generation_config\.json cannot be loaded"):
        load_backbone(str(folder), 0.0)


def test_random_weights_take_their_special_tokens_from_the_tokenizer():
    model = initialize_language_model(T5, word_tokenizer(is_encoder_decoder=True)).model
    assert (model.config.vocab_size, model.config.decoder_start_token_id, model.config.eos_token_id) == (52, 0, END)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ({"d_model": 8}, r"model\.architecture\.model_type: missing"),
        ({"model_type": "t6"}, r"model\.architecture: .*t6"),
        (LLAMA | {"hidden_size": 15}, r"model\.architecture: "),
    ],
)
def test_an_architecture_that_cannot_be_is_an_error_of_the_input(architecture, message):
    with pytest.raises(InputError, match=message):
        initialize_language_model(architecture, word_tokenizer(is_encoder_decoder=False))


def test_every_tiny_architecture_is_what_it_is_named():
    assert {name.split("_")[0]: a["model_type"] for name, a in ARCHITECTURES.items()} == {
        t: t for t in ("t5", "bart", "gpt2", "llama", "qwen2", "qwen3")
    }


def test_a_head_with_a_change_of_the_logits_is_refused(model_folder, tmp_path):
    folder = shutil.copytree(model_folder("llama"), tmp_path / "capped")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"final_logit_softcapping": 30.0}))
    with pytest.raises(InputError, match="final_logit_softcapping"):
        load_language_model(str(folder), 0.0)


@pytest.mark.parametrize("content", ["{", '{"mean": 1.0}', '{"mean": "x", "std": 1.0, "num_responses": 2}'])
def test_damaged_score_statistics_are_named(tmp_path, content):
    (tmp_path / STATISTICS_FILE).write_text(content)
    with pytest.raises(InputError, match=STATISTICS_FILE):
        read_statistics(tmp_path)
