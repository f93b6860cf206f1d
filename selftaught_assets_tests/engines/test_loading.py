"""Models are loaded whole, or refused in a sentence that names what is wrong."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import BartConfig, BartForConditionalGeneration, PreTrainedTokenizerFast

from selftaught_assets.engines import chat, pretrained
from selftaught_assets.engines.embedded.engine import suitable_decoder
from selftaught_assets.engines.pretrained import exact_attention, load_base, merged, with_adapter
from selftaught_assets.errors import UserError
from selftaught_assets.storage.models import reference_adapter, reference_model
from selftaught_assets_tests.engines.conftest import VOCABULARY, make_model

DOWN = "model.layers.1.mlp.down_proj.weight"
LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SAVED = "base_model.model.lm_head.weight"
Weights = dict[str, torch.Tensor]
Copy = Callable[..., Path]


@pytest.fixture
def copy(model_folder: Path, tmp_path: Path) -> Copy:
    """Makes a copy of the model folder with other weights or another configuration."""

    def make(change: Callable[[Weights], Weights] = dict, **configuration: object) -> Path:
        folder = tmp_path / "model"
        shutil.copytree(model_folder, folder)
        save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})
        edit(folder / "config.json", **configuration)
        return folder

    return make


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """A LoRA adapter on all layers of the model folder."""
    folder = tmp_path_factory.mktemp("adapter")
    config = LoraConfig(r=4, target_modules=LAYERS, task_type="CAUSAL_LM", init_lora_weights=False)
    get_peft_model(make_model("llama"), config).save_pretrained(folder)
    edit(folder / "adapter_config.json", base_model_name_or_path=str(model_folder))
    return folder


@pytest.fixture
def adapter_copy(adapter: Path, tmp_path: Path) -> Copy:
    """Makes a copy of the adapter with other weights or another configuration."""

    def make(change: Callable[[Weights], Weights] = dict, **configuration: object) -> Path:
        folder = tmp_path / "adapter"
        shutil.copytree(adapter, folder)
        save_file(change(load_file(folder / "adapter_model.safetensors")), folder / "adapter_model.safetensors")
        edit(folder / "adapter_config.json", **configuration)
        return folder

    return make


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def load(folder: Path) -> torch.nn.Module:
    return load_base(folder, torch.float32, "cpu").model


def without(*names: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name: weight for name, weight in weights.items() if name not in names}


def renamed(old: str, new: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name.replace(old, new, 1): weight for name, weight in weights.items()}


def test_a_weight_that_the_files_lack_is_named(copy: Copy) -> None:
    with pytest.raises(UserError, match=rf"lack weights that its config.json requires: {DOWN}\."):
        load(copy(without(DOWN)))


def test_a_head_that_was_tied_when_it_was_saved_is_missed_where_the_configuration_unties_it(copy: Copy) -> None:
    with pytest.raises(UserError, match=r"lack .*: lm_head\.weight\."):
        load(copy(without("lm_head.weight")))


def test_a_tied_head_may_be_absent(copy: Copy) -> None:
    model = load(copy(without("lm_head.weight"), tie_word_embeddings=True))
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_names_with_a_prefix_are_said_beside_those_that_are_missing(copy: Copy) -> None:
    with pytest.raises(UserError, match=r"lm_head\.weight, .* and 18 more; they hold _orig_mod\.lm_head\.weight"):
        load(copy(renamed("", "_orig_mod.")))


def test_more_layers_than_the_files_have_are_missed(copy: Copy) -> None:
    with pytest.raises(UserError, match=r"lack .*: model\.layers\.2\."):
        load(copy(num_hidden_layers=3))


@pytest.mark.parametrize(
    "extra", ["model.layers.2.mlp.down_proj.weight", "model.layers.0.mlp.down_proj.bias", "lm_head.bias"]
)
def test_weights_that_a_decoder_has_but_not_this_configuration_are_refused(copy: Copy, extra: str) -> None:
    with pytest.raises(UserError, match=rf"contain extra weights: {extra}\."):
        load(copy(lambda weights: weights | {extra: torch.ones(3)}))


def test_a_shape_that_does_not_fit_is_named_with_both_shapes(copy: Copy) -> None:
    with pytest.raises(UserError, match=r"has shape \(259, 64\) in the files and \(300, 64\) by the configuration"):
        load(copy(vocab_size=300))


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.bool, torch.complex64])
def test_weights_that_are_no_floating_point_numbers_are_refused(copy: Copy, dtype: torch.dtype) -> None:
    with pytest.raises(UserError, match=r"are no numbers to compute with: lm_head\.weight has dtype"):
        load(copy(lambda weights: {name: weight.to(dtype) for name, weight in weights.items()}))


@pytest.mark.parametrize("sizes", [{"vocab_size": 2**31}, {"intermediate_size": 2**30}])
def test_a_configuration_of_a_far_larger_model_is_refused_before_its_weights_are_made(
    copy: Copy, sizes: dict[str, int]
) -> None:
    with pytest.raises(
        UserError, match=r"do not fit its config\.json, by which the model has [\d,]+ numbers; they are"
    ):
        load(copy(**sizes))


def test_an_index_that_leaves_out_a_shard_is_refused(copy: Copy) -> None:
    folder = copy()
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    save_file({name: weights[name] for name in weights if name != DOWN}, folder / "one.safetensors", {"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: "one.safetensors" for name in weights if name != DOWN}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=DOWN):
        load(folder)


def test_computed_buffers_and_heads_for_other_tasks_are_no_fault(copy: Copy, caplog: pytest.LogCaptureFixture) -> None:
    extra = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8), "v_head.summary.weight": torch.ones(1, 64)}
    with caplog.at_level(logging.WARNING):
        load(copy(lambda weights: weights | extra))
    (record,) = caplog.records
    assert record.getMessage().endswith("is loaded without v_head.summary.weight, which no decoder has.")


@pytest.mark.parametrize(
    "configuration",
    [
        {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}},
        {"rope_parameters": {"rope_type": "spiral", "rope_theta": 1e4}},
        {"hidden_act": "relu7"},
        {"hidden_size": "64"},
        {"num_attention_heads": 5, "head_dim": None},
    ],
    ids=["quantiser", "rope", "activation", "type", "heads"],
)
def test_whatever_transformers_raises_is_one_sentence(copy: Copy, configuration: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"^The (model|tokenizer).*/model cannot be loaded: .") as raised:
        load(copy(**configuration))
    assert "\n" not in str(raised.value)
    assert raised.value.__cause__ is not None


def test_a_tokenizer_of_a_newer_release_is_one_sentence(copy: Copy) -> None:
    folder = copy()
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["type"] = "BPEv9"
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(UserError, match=r"The tokenizer of .* cannot be loaded: data did not match"):
        chat.load_tokenizer(folder)


def test_a_text_that_makes_a_tokenizer_panic_is_one_sentence(copy: Copy) -> None:
    folder = copy()
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    split = {"type": "Split", "pattern": {"Regex": "(a+|[^b]+)+$"}, "behavior": "Isolated", "invert": False}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer | {"pre_tokenizer": split}))
    with pytest.raises(UserError, match=r"The tokenizer of .* cannot read a text: Onig"):
        chat.render(chat.load_tokenizer(folder), [{"role": "user", "content": "a" * 50 + "b"}])


def test_a_tokenizer_that_makes_no_tokens_is_one_sentence(copy: Copy) -> None:
    folder = copy()
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    nothing = {"type": "Replace", "pattern": {"Regex": "."}, "content": ""}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer | {"normalizer": nothing}))
    with pytest.raises(UserError, match="makes no tokens of a text"):
        suitable_decoder(*load_base(folder, torch.float32, "cpu"))


def test_a_template_that_is_not_utf_8_is_one_sentence(copy: Copy) -> None:
    folder = copy()
    (folder / "chat_template.jinja").write_bytes(b"{# caf\xe9 #}{{ messages }}")
    with pytest.raises(UserError, match=r"chat_template\.jinja cannot be read: 'utf-8' codec"):
        reference_model(folder)


@pytest.mark.parametrize(
    "template", ["{{ messages[0]['content'] + 1 }}", "{{ raise_exception('no users') }}", "{% if %}"]
)
def test_whatever_a_template_raises_is_one_sentence(tokenizer: PreTrainedTokenizerFast, template: str) -> None:
    other = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, chat_template=template)
    with pytest.raises(UserError, match=r"The chat template of .* refuses the messages: ."):
        chat.render(other, [{"role": "user", "content": "a"}])


@pytest.mark.parametrize("configured", ["1", [1, "2"], 1.0, True, 10**30])
def test_an_end_that_is_no_token_id_is_one_sentence(tokenizer: PreTrainedTokenizerFast, configured: object) -> None:
    with pytest.raises(UserError, match=r"has eos_token_id .*, which is not a token id"):
        chat.end_tokens(tokenizer, configured)


def test_a_damaged_generation_configuration_is_one_sentence(copy: Copy) -> None:
    folder = copy()
    (folder / "generation_config.json").write_text('{"eos_token_id": ')
    with pytest.raises(UserError, match=r"The configuration of the model .* cannot be read"):
        chat.configured_end(folder)


def test_a_model_with_an_encoder_is_refused(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    sizes = {f"{part}_{name}": 2 for part in ("encoder", "decoder") for name in ("layers", "attention_heads")}
    config = BartConfig(d_model=16, encoder_ffn_dim=16, decoder_ffn_dim=16, vocab_size=VOCABULARY, **sizes)
    BartForConditionalGeneration(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"\(bart\) has an encoder"):
        load(tmp_path)


def added_token(folder: Path, content: str, *, special: bool = True) -> None:
    """Adds a token that has no embedding."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}
    tokenizer["added_tokens"].append({"id": VOCABULARY, "content": content, **flags})
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


@pytest.mark.parametrize("written", ["<|turn|>", "<|{{ 'turn' }}|>"], ids=["literally", "put together"])
def test_a_token_of_the_template_without_an_embedding_is_refused(copy: Copy, written: str) -> None:
    folder = copy()
    added_token(folder, "<|turn|>")
    (folder / "chat_template.jinja").write_text(written + "{{ messages[0]['content'] }}")
    with pytest.raises(UserError, match=r"has token 259 `<\|turn\|>`, but the model has 259 embeddings"):
        load(folder)


def test_a_word_without_an_embedding_is_refused(copy: Copy) -> None:
    folder = copy()
    added_token(folder, "judgment", special=False)
    with pytest.raises(UserError, match="has token 259 `judgment`"):
        load(folder)


def test_a_control_token_without_an_embedding_that_no_text_can_have_is_no_fault(copy: Copy) -> None:
    folder = copy()
    added_token(folder, "<image>")
    assert load(folder).get_input_embeddings().num_embeddings == VOCABULARY


def test_an_adapter_beside_the_weights_of_a_model_is_refused_as_either(
    copy: Copy, adapter: Path, model_folder: Path
) -> None:
    folder = copy()
    for path in adapter.iterdir():
        shutil.copy(path, folder)
    for use in (reference_model, load, lambda path: reference_adapter(path, model_folder)):
        with pytest.raises(UserError, match=r"has an adapter \(adapter_config.json\) next to a model's weights"):
            use(folder)


def test_an_adapter_that_fits_is_merged(adapter: Path, model_folder: Path) -> None:
    before = load(model_folder).model.layers[1].mlp.down_proj.weight
    after = merged(load(model_folder), adapter).model.layers[1].mlp.down_proj.weight
    assert (after - before).abs().max() > 1e-3


def test_a_head_that_an_adapter_brings_is_saved_beside_the_embedding(copy: Copy, tmp_path: Path) -> None:
    folder = copy(without("lm_head.weight"), tie_word_embeddings=True)
    config = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"], task_type="CAUSAL_LM")
    adapted = get_peft_model(load(folder), config)
    adapted.base_model.model.lm_head.modules_to_save["default"].weight.data += 1
    adapted.save_pretrained(tmp_path / "adapter")
    whole = merged(load(folder), tmp_path / "adapter")
    whole.save_pretrained(tmp_path / "whole")
    weights = load_file(tmp_path / "whole" / "model.safetensors")
    assert torch.equal(weights["lm_head.weight"], weights["model.embed_tokens.weight"] + 1)


@pytest.mark.parametrize("new", ["base_model.", "base_model.model.model.language_model."])
def test_an_adapter_whose_names_fit_nothing_is_refused(adapter_copy: Copy, model_folder: Path, new: str) -> None:
    folder = adapter_copy(renamed("base_model.model.model.", new))
    with pytest.raises(
        UserError, match=r"no weights for model\.layers\.0\.mlp\..*, and the base has no place for its "
    ):
        merged(load(model_folder), folder)


@pytest.mark.parametrize("trainable", [False, True])
def test_an_adapter_of_half_of_the_layers_is_refused(adapter_copy: Copy, model_folder: Path, trainable: bool) -> None:
    folder = adapter_copy(lambda weights: {name: weights[name] for name in weights if "layers.0" in name})
    with pytest.raises(UserError, match=r"it has no weights for model\.layers\.1\.mlp.* and 11 more\. Name the base"):
        with_adapter(load(model_folder), folder, trainable=trainable)


def test_an_adapter_made_for_half_of_the_layers_is_no_fault(adapter_copy: Copy, model_folder: Path) -> None:
    folder = adapter_copy(
        lambda weights: {name: weights[name] for name in weights if "layers.0" in name}, layers_to_transform=[0]
    )
    merged(load(model_folder), folder)


@pytest.mark.parametrize(
    ("change", "configuration"),
    [
        (dict, {"r": 8}),
        (lambda weights: {name: torch.cat([weight, weight]) for name, weight in weights.items()}, {}),
        (lambda weights: weights | {SAVED: torch.zeros(300, 64)}, {"modules_to_save": ["lm_head"]}),
        (dict, {"modules_to_save": ["lm_head"]}),
        (dict, {"target_modules": ["query_key_value"]}),
        (dict, {"r": "four"}),
        (dict, {"r": 10**9}),
        (dict, {"rank_pattern": {"q_proj": 10**9}}),
        (dict, {"target_modules": "(([a-z_.0-9]+)+)+#"}),
        (dict, {"exclude_modules": "(([a-z_.0-9]+)+)+#"}),
    ],
    ids=[
        *("rank", "shape", "saved module's shape", "saved module missing", "targets", "type"),
        *("huge rank", "huge rank of a pattern", "pattern without end", "exclusion without end"),
    ],
)
def test_whatever_peft_raises_is_one_sentence(
    adapter_copy: Copy,
    model_folder: Path,
    change: Callable[[Weights], Weights],
    configuration: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pretrained, "_PATTERN_SECONDS", 0.2)
    with pytest.raises(UserError, match=r"The adapter .* does not fit the base model .*: .") as raised:
        merged(load(model_folder), adapter_copy(change, **configuration))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["PROMPT_TUNING", "IA3", "FUTURELORA", None])
def test_another_kind_of_adapter_is_refused_before_peft_sees_it(
    adapter_copy: Copy, model_folder: Path, kind: str | None
) -> None:
    with pytest.raises(UserError, match=f"is of kind {kind}: only LoRA"):
        merged(load(model_folder), adapter_copy(peft_type=kind))


def test_attention_whose_scores_are_capped_is_not_left_to_sdpa(model_folder: Path) -> None:
    capped, uncapped = make_model("gemma2_sliding"), make_model("gemma2_sliding")
    uncapped.config.attn_logit_softcapping = None
    assert (exact_attention(capped), exact_attention(uncapped)) == ("eager", "sdpa")
    assert load(model_folder).config._attn_implementation == "sdpa"


def test_whole_numbers_in_an_adapter_are_refused(adapter_copy: Copy, model_folder: Path) -> None:
    folder = adapter_copy(lambda weights: {name: weight.to(torch.int32) for name, weight in weights.items()})
    with pytest.raises(UserError, match="are no numbers to compute with"):
        merged(load(model_folder), folder)
