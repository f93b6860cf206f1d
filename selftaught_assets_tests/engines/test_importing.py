"""Model folders out of GGUF files, of the hub and of other folders."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from gguf import GGUFWriter, TokenType
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from selftaught_assets.engines import chat
from selftaught_assets.engines.importing import import_model
from selftaught_assets.engines.pretrained import load_base
from selftaught_assets.errors import UserError
from selftaught_assets.storage.models import licence_of, reference_model
from selftaught_assets_tests.engines.conftest import CHAT_TEMPLATE, LLAMA_SIZES, SPECIAL_TOKENS

TOKENS = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "he", *SPECIAL_TOKENS]
END = TOKENS.index("<|im_end|>")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CARD = "---\nlicense: apache-2.0\n---\nA model.\n"


@pytest.fixture(scope="module")
def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = LLAMA_SIZES | {"vocab_size": len(TOKENS), "num_key_value_heads": 2, "tie_word_embeddings": True}
    return LlamaForCausalLM(LlamaConfig(**sizes)).eval()


@pytest.fixture(scope="module")
def gguf(llama: LlamaForCausalLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as llama.cpp would keep it: its names, and its order of the rotated rows."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(path, llama)
    return path


def write_gguf(
    path: Path, llama: LlamaForCausalLM, *, template: str | None = CHAT_TEMPLATE, left_out: str = ""
) -> None:
    config, writer = llama.config, GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_license("apache-2.0")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([TokenType.CONTROL if token in SPECIAL_TOKENS else TokenType.NORMAL for token in TOKENS])
    writer.add_token_merges(["h e"])
    writer.add_eos_token_id(END)
    writer.add_pad_token_id(TOKENS.index("<|endoftext|>"))
    if template is not None:
        writer.add_chat_template(template)
    for name, weight in llama.state_dict().items():
        if name != "lm_head.weight" and name != left_out:
            writer.add_tensor(gguf_name(name), gguf_order(name, weight.numpy(), config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_name(name: str) -> str:
    for ours, theirs in (
        ("model.layers.", "blk."),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.", "attn_"),
        ("_proj", ""),
        ("mlp.", "ffn_"),
        ("post_attention_layernorm", "ffn_norm"),
        ("input_layernorm", "attn_norm"),
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
    ):
        name = name.replace(ours, theirs)
    return name


def gguf_order(name: str, weight: np.ndarray, config: LlamaConfig) -> np.ndarray:
    """llama.cpp rotates neighbouring rows of a head, transformers row i with row i + half."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
    if heads is None:
        return weight
    rows, columns = weight.shape
    return np.ascontiguousarray(
        weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
    )


def test_a_gguf_file_becomes_the_model_that_it_was_made_of(gguf: Path, llama: LlamaForCausalLM, tmp_path: Path) -> None:
    found = import_model(str(gguf), tmp_path / "model", dtype="float32")
    model, tokenizer = load_base(tmp_path / "model", torch.float32, "cpu")
    ids = torch.tensor([chat.render(tokenizer, [{"role": "user", "content": "he hears"}]).token_ids])
    with torch.inference_mode():
        assert torch.allclose(model(ids).logits, llama(ids).logits, atol=1e-5)
    assert TOKENS.index("he") in ids[0] and ids[0, -1] == TOKENS.index("Ċ")
    assert found.digest == reference_model(tmp_path / "model").digest
    assert found.parameters == sum(weight.numel() for weight in llama.parameters())
    assert (found.licence, found.context, found.ends) == ("apache-2.0", 128, ("<|im_end|>",))
    assert found.takes_system


def test_its_weights_are_bfloat16_unless_asked_otherwise(gguf: Path, tmp_path: Path) -> None:
    import_model(str(gguf), tmp_path / "model")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype="auto").dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("no template", "has no chat template"),
        ("no weight", "lack weights that its config.json requires: model.layers.1.mlp.down_proj.weight"),
        ("cut", "The GGUF file .* cannot be read"),
        ("text", "The GGUF file .* cannot be read"),
    ],
)
def test_a_gguf_file_that_gives_no_chat_model_is_refused(
    gguf: Path, llama: LlamaForCausalLM, tmp_path: Path, fault: str, sentence: str
) -> None:
    path = tmp_path / "broken.gguf"
    if fault == "no template":
        write_gguf(path, llama, template=None)
    elif fault == "no weight":
        write_gguf(path, llama, left_out="model.layers.1.mlp.down_proj.weight")
    else:
        path.write_bytes(gguf.read_bytes()[: 4_000 if fault == "cut" else 0] or b"GGUF is what this is not")
    with pytest.raises(UserError, match=sentence):
        import_model(str(path), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_what_lies_beside_a_gguf_file_is_not_looked_at(gguf: Path, tmp_path: Path) -> None:
    shutil.copy(gguf, tmp_path / "tiny.gguf")
    for name in ("config.json", "generation_config.json", "tokenizer.json"):
        (tmp_path / name).write_text("{")
    assert import_model(str(tmp_path / "tiny.gguf"), tmp_path / "model").ends == ("<|im_end|>",)


def test_a_folder_is_copied_without_code_and_pickles(model_folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(model_folder, source)
    (source / "README.md").write_text(CARD)
    for name in ("modeling_tiny.py", "pytorch_model.bin", "optimizer.pt"):
        (source / name).write_bytes(b"x")
    found = import_model(str(source), tmp_path / "model")
    assert found.digest == reference_model(model_folder).digest
    assert licence_of(tmp_path / "model") == found.licence == "apache-2.0"
    assert {path.suffix for path in (tmp_path / "model").iterdir()} == {".json", ".safetensors", ".jinja", ".md"}


@pytest.fixture
def hub(model_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """A server that speaks as the hub does, with one model; gives the paths that were asked for."""
    files = {path.name: path.read_bytes() for path in model_folder.iterdir()}
    files |= {"README.md": CARD.encode(), "pytorch_model.bin": b"pickle", "modeling_tiny.py": b"code"}
    asked: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            name = self.path.rpartition("/")[2]
            if self.path.startswith("/api/models/someone/tiny/revision/"):
                siblings = [{"rfilename": name} for name in files]
                body = json.dumps({"id": "someone/tiny", "sha": COMMIT, "siblings": siblings}).encode()
            elif self.path.startswith(f"/api/models/someone/tiny/tree/{COMMIT}"):
                entries = [{"type": "file", "path": name, "size": len(files[name]), "oid": name} for name in files]
                body = json.dumps(entries).encode()
            elif self.path.startswith("/someone/tiny/resolve/") and name in files:
                body = files[name]
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "application/json")
            self.send_header("ETag", f'"{name}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        files_at = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", files_at)
        yield asked
        server.shutdown()


def test_a_model_of_the_hub_is_fetched_without_code_and_pickles(
    hub: list[str], model_folder: Path, tmp_path: Path
) -> None:
    found = import_model("someone/tiny", tmp_path / "model", revision="v2")
    assert found.digest == reference_model(model_folder).digest
    assert found.licence == "apache-2.0"
    assert any(path.endswith("/revision/v2") for path in hub)
    assert not any(path.endswith((".bin", ".py")) for path in hub)


def test_a_model_that_the_hub_does_not_have_is_one_sentence(hub: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="The model someone/else cannot be fetched from the hub"):
        import_model("someone/else", tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("no_such_folder", "There is no file or folder no_such_folder, and it is no id of the hub"),
        ("../a/b.gguf", "There is no file or folder ../a/b.gguf"),
        ("https://huggingface.co/someone/tiny", "There is no file or folder https://"),
    ],
)
def test_a_source_that_is_none_is_refused(source: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        import_model(source, tmp_path / "model")


def test_a_file_has_no_revision(gguf: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing has revisions"):
        import_model(str(gguf), tmp_path / "model", revision="main")


def test_a_template_that_refuses_a_system_message_is_told(
    tokenizer: PreTrainedTokenizerFast, model_folder: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(model_folder, source)
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHAT_TEMPLATE
    (source / "chat_template.jinja").write_text(refusing)
    assert not import_model(str(source), tmp_path / "model").takes_system
