"""No text of a prompt becomes a special token, whatever the kind of the tokenizer."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from selftaught_assets.engines import chat
from selftaught_assets.errors import UserError

SPECIAL = ["<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>"]
CORPUS = ["hello world this is a text", "say hello to the world", "the answer is A or B", "[[A]] is better"] * 20
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
BYTES = pre_tokenizers.ByteLevel.alphabet()


def unigram() -> Tokenizer:
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    return trained(backend, trainers.UnigramTrainer(vocab_size=80, special_tokens=SPECIAL, unk_token="<unk>"))


def unigram_that_prepends_once_and_normalises() -> Tokenizer:
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.normalizer = normalizers.NFKC()
    return trained(backend, trainers.UnigramTrainer(vocab_size=80, special_tokens=SPECIAL, unk_token="<unk>"))


def words() -> Tokenizer:
    backend = Tokenizer(models.WordLevel(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return trained(backend, trainers.WordLevelTrainer(special_tokens=SPECIAL))


def word_pieces() -> Tokenizer:
    backend = Tokenizer(models.WordPiece(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return trained(backend, trainers.WordPieceTrainer(vocab_size=120, special_tokens=SPECIAL))


def bytes_that_normalise() -> Tokenizer:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.normalizer = normalizers.NFKC()
    return trained(backend, trainers.BpeTrainer(vocab_size=320, special_tokens=SPECIAL, initial_alphabet=BYTES))


def bytes_that_take_whole_words() -> Tokenizer:
    """As Llama 3 does: a word that the vocabulary has is taken without merging."""
    backend = Tokenizer(models.BPE(ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return trained(backend, trainers.BpeTrainer(vocab_size=320, special_tokens=SPECIAL, initial_alphabet=BYTES))


def pieces_of_llama_2() -> Tokenizer:
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return trained(backend, trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL))


def special_tokens_that_take_the_space_behind_them() -> Tokenizer:
    """As those of Phi-3 do."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trained(backend, trainers.BpeTrainer(vocab_size=320, special_tokens=SPECIAL[:2], initial_alphabet=BYTES))
    backend.add_special_tokens([AddedToken(token, rstrip=True, special=True) for token in SPECIAL[2:]])
    return backend


def trained(backend: Tokenizer, trainer: object) -> Tokenizer:
    backend.train_from_iterator(CORPUS, trainer)
    return backend


KINDS: tuple[Callable[[], Tokenizer], ...] = (
    unigram,
    unigram_that_prepends_once_and_normalises,
    words,
    word_pieces,
    bytes_that_normalise,
    bytes_that_take_whole_words,
    pieces_of_llama_2,
    special_tokens_that_take_the_space_behind_them,
)
TOKENIZERS = {
    kind.__name__: PreTrainedTokenizerFast(
        tokenizer_object=kind(), bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=TEMPLATE
    )
    for kind in KINDS
}
HOSTILE = st.lists(
    st.sampled_from(
        [*SPECIAL, "＜/s＞", "＜|assistant|＞", "</", "s>", "hello", "world", " ", "\n", "é", "\U000f0000", "0;"]
    )
).map("".join)


def user(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


@pytest.mark.parametrize("kind", TOKENIZERS)
@given(content=HOSTILE)
def test_no_special_token_comes_out_of_a_content(kind: str, content: str) -> None:
    tokenizer = TOKENIZERS[kind]
    special = set(tokenizer.convert_tokens_to_ids(SPECIAL)) - {tokenizer.unk_token_id}
    found = [token for token in chat.render(tokenizer, user(content)).token_ids if token in special]
    assert tokenizer.convert_ids_to_tokens(found) == ["<|user|>", "</s>", "<|assistant|>"]
    learned = chat.training_example(tokenizer, user("hello"), content).completion_ids
    assert [token for token in learned if token in special] == [tokenizer.eos_token_id]


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_special_token_in_a_content_changes_no_token_of_the_text_around_it(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]
    plain, hostile = (
        list(chat.render(tokenizer, [*user("hello world"), {"role": "assistant", "content": content}]).token_ids)
        for content in ("hello", "hello </s>")
    )
    shared = plain.index(tokenizer.eos_token_id) + 3  # As far as `hello` of the second turn.
    assert hostile[:shared] == plain[:shared]
    assert plain == tokenizer.apply_chat_template(
        [*user("hello world"), {"role": "assistant", "content": "hello"}], add_generation_prompt=True, return_dict=False
    )


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_completion_is_trained_as_the_model_writes_a_turn(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]
    turns = [*user("hello"), {"role": "assistant", "content": "hello world"}]
    example = chat.training_example(tokenizer, turns[:1], "hello world")
    assert [*example.prompt_ids, *example.completion_ids] == tokenizer.apply_chat_template(turns, return_dict=False)


def test_a_tokenizer_that_cannot_keep_text_plain_is_refused_in_a_sentence() -> None:
    backend = Tokenizer(models.WordLevel({"</s>": 0, "<|user|>": 1, "<|assistant|>": 2}, unk_token="</s>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(["</s>", "<|user|>", "<|assistant|>"])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="</s>", unk_token="</s>", chat_template=TEMPLATE
    )
    with pytest.raises(UserError, match="turns plain text into special tokens"):
        chat.render(tokenizer, user("two words"))
