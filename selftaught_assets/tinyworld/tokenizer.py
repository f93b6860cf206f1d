"""The seed model's tokenizer: byte-level BPE, so any text can be encoded, in which each word of the world is one token.

Belongs here: how the tokenizer is made, and the chat template. Not here: the texts it is trained on (examples.py).
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VOCABULARY_SIZE = 1_100
END_OF_TURN, PADDING = "<|end|>", "<|pad|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
CONTEXT_LENGTH = 2_048

_UNITS = r"[ĠĊ]?\[\[[A-Za-z]+\]\]|[ĠĊ]?[A-Za-z]+:?|[ĠĊ]?[0-9]+|[ĠĊ]?[^ĠĊA-Za-z0-9]+|[ĠĊ]+"
"""What BPE never merges across: a word with the space (Ġ) or line break (Ċ) before it and the colon behind it, a
number, a verdict, …"""

_CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def train_tokenizer(texts: Iterable[str]) -> "PreTrainedTokenizerFast":
    """A tokenizer whose vocabulary is learnt from `texts`.

    A text is encoded as if a space stood before it, and decoded without that space, so the first word of a text is
    the same token as further on. (A text that begins with a space loses it on the way.)
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False),
            pre_tokenizers.Split(Regex(_UNITS), behavior="isolated"),
        ]
    )
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[PADDING, END_OF_TURN, *ROLES],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TURN,
        pad_token=PADDING,
        additional_special_tokens=list(ROLES),
        chat_template=_CHAT_TEMPLATE,
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
    )
