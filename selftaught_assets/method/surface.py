"""Whether the winner of a pair can be told from the looks of its texts.

Belongs here: the signs of form that a text has, and two probes that pick the winner: by one such sign, and by words.
Not here: how much is too much (checks), and lengths, which tell of other things (`length_bias`).

Chosen and rejected responses are often sampled from different prompts. A sign that comes of that, and not of what is
asked, stands on one side in most pairs: it tells the label, and a judge learns it before it learns to judge. The longer
text of a pair has more of everything, so both are looked at up to the length of the shorter one.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from selftaught_assets.method.probe import FOLDS

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_FIRST = re.compile(r"\s*(\w{1,20}|[^\w\s]{1,20})")
_LAST = re.compile(r"(\w{1,20}|[^\w\s]{1,20})\s*\Z")
_LONGEST_TAIL = 80
_WORD = re.compile(r"\w+|[^\w\s]+")
_WORDS = 20_000
_FORMS = {
    "bold or italic text": re.compile(r"\*\*\S|__\S|(?<![\w*])\*[^\s*]"),
    "a heading": re.compile(r"^#{1,6} ", re.MULTILINE),
    "a list with bullets": re.compile(r"^[ \t]*[-*+•] ", re.MULTILINE),
    "a numbered list": re.compile(r"^[ \t]*\d+[.)] ", re.MULTILINE),
    "a code block": re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE),
    "code in back-ticks": re.compile(r"(?<!`)`[^`\n]+`"),
    "a quotation": re.compile(r"^> ", re.MULTILINE),
    "a table": re.compile(r"^[ \t]*\|.*\|", re.MULTILINE),
    "a line of its own drawn across": re.compile(r"^[ \t]*(?:-{3,}|\*{3,}|_{3,}|={3,})[ \t]*$", re.MULTILINE),
    "a tag": re.compile(r"</?\w[^<>]*>"),
    "double square brackets": re.compile(r"\[\["),
    "a link": re.compile(r"https?://|\]\("),
    "quotation marks": re.compile(r"[\"“”«»]"),
    "letters outside ASCII": re.compile(r"[^\x00-\x7f]"),
    "several lines": re.compile(r"\n"),
    "an empty line": re.compile(r"\n[ \t]*\n"),
    "a colon at the end of a line": re.compile(r":[ \t]*$", re.MULTILINE),
}


class Picked(NamedTuple):
    """How often a probe picked the winner of pairs that it had not seen."""

    right: float
    """Pairs about which it says nothing count one half."""
    n: int


class Sign(NamedTuple):
    """A sign and the pairs in which one response alone has it."""

    name: str
    chosen: int
    rejected: int


def signs_of(text: str, length: int | None = None) -> set[str]:
    """The signs of form that a text has, as the ends of a sentence: "begins with '**'", "has a code block".

    Args:
        text: the response.
        length: how many of its characters are searched for markup; None searches all.
    """
    signs = {f"has {name}" for name, pattern in _FORMS.items() if pattern.search(text[:length])}
    if first := _FIRST.match(text):
        signs.add(f"begins with {first[1].lower()!r}")
    if last := _LAST.search(text[-_LONGEST_TAIL:]):
        signs.add(f"ends with {last[1].lower()!r}")
    return signs


def leading_signs(pairs: pl.DataFrame, most: int) -> list[Sign]:
    """The signs that stand most on one side: in the responses of one kind, and not in the other of the pair."""
    of_chosen, of_rejected = ((pl.col("side") == side).sum() for side in (1, -1))
    counted = _one_sided(pairs).group_by("sign").agg(chosen=of_chosen, rejected=of_rejected)
    difference = (pl.col("chosen").cast(pl.Int64) - pl.col("rejected").cast(pl.Int64)).abs()
    return [Sign(*row) for row in counted.sort(difference, "sign", descending=[True, False]).head(most).iter_rows()]


def told_by_one_sign(pairs: pl.DataFrame) -> Picked:
    """How often the winner is picked by the one sign that stands most on one side.

    In each fold by the sign that does so in the other folds: so the best of many signs gets no credit for chance.

    Args:
        pairs: chosen, rejected, and fold, from 0 to `FOLDS` - 1: pairs of one instruction in one.
    """
    folds = pairs.select("fold").with_row_index("pair")
    found = _one_sided(pairs).join(folds, on="pair", how="left")
    won = 0
    for fold in range(FOLDS):
        here, known = pl.col("fold") == fold, pl.col("side").filter(pl.col("fold") != fold).sum()
        nets = found.group_by("sign").agg(known=known, unseen=pl.col("side").filter(here).sum())
        for best, unseen in nets.sort(pl.col("known").abs(), "sign").tail(1).select("known", "unseen").iter_rows():
            won += unseen if best > 0 else -unseen if best < 0 else 0
    return Picked((pairs.height + won) / 2, pairs.height)


def told_by_words(pairs: pl.DataFrame) -> Picked:
    """How often a logistic regression picks the winner from the difference of the two bags of words.

    Punctuation counts as words. Of each text as many words are seen as the shorter one has, but for its last.

    Args:
        pairs: chosen, rejected, and fold, from 0 to `FOLDS` - 1: pairs of one instruction in one.
    """
    difference, words = _bags(_words_seen(pairs))
    if not words:
        return Picked(pairs.height / 2, pairs.height)
    folds, right = pairs["fold"].to_numpy(), 0.0
    for fold in range(FOLDS):
        here = folds == fold
        if here.any():
            scores = difference[here] @ _weights(difference[~here])
            right += float((scores > 0).sum() + (scores == 0).sum() / 2)
    return Picked(right, pairs.height)


def leading_words(pairs: pl.DataFrame, most: int) -> list[Sign]:
    """The words by which the probe of words goes most, with the pairs in which one response alone has them."""
    seen = _words_seen(pairs)
    difference, words = _bags(seen)
    if not words:
        return []
    leading = [words[place] for place in np.argsort(-np.abs(_weights(difference)), kind="stable")[:most]]
    return [
        Sign(
            word,
            sum(word in chosen and word not in rejected for chosen, rejected in seen),
            sum(word in rejected and word not in chosen for chosen, rejected in seen),
        )
        for word in leading
    ]


def _one_sided(pairs: pl.DataFrame) -> pl.DataFrame:
    """pair, sign and side (1 chosen, -1 rejected) for each sign that one response of a pair alone has."""
    return pl.DataFrame(
        list(_each_one_sided(pairs)), schema={"pair": pl.UInt32, "sign": pl.String, "side": pl.Int64}, orient="row"
    )


def _each_one_sided(pairs: pl.DataFrame) -> Iterator[tuple[int, str, int]]:
    for number, (chosen, rejected) in enumerate(pairs.select("chosen", "rejected").iter_rows()):
        length = min(len(chosen), len(rejected))
        ours, theirs = signs_of(chosen, length), signs_of(rejected, length)
        yield from ((number, sign, 1) for sign in ours - theirs)
        yield from ((number, sign, -1) for sign in theirs - ours)


def _words_seen(pairs: pl.DataFrame) -> list[tuple[list[str], list[str]]]:
    """The words of both responses, as many of each as the shorter one has, but for its last: a full stop, mostly."""
    texts = pairs.select(pl.col("chosen", "rejected").str.to_lowercase()).iter_rows()
    words = [(_WORD.findall(chosen), _WORD.findall(rejected)) for chosen, rejected in texts]
    lengths = [max(1, min(len(chosen), len(rejected)) - 1) for chosen, rejected in words]
    return [(chosen[:end], rejected[:end]) for (chosen, rejected), end in zip(words, lengths, strict=True)]


def _bags(seen: list[tuple[list[str], list[str]]]) -> tuple["csr_matrix", list[str]]:
    """The bag of words of each chosen response minus that of the rejected one, and the words of its columns."""
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [*(chosen for chosen, _ in seen), *(rejected for _, rejected in seen)]
    counts = Counter(word for words in texts for word in set(words))
    words = sorted(word for word, count in counts.most_common(_WORDS) if count > 1)
    if not words:
        return csr_matrix((len(seen), 0)), []
    bags = TfidfVectorizer(analyzer=list, vocabulary=words, sublinear_tf=True).fit_transform(texts)
    return bags[: len(seen)] - bags[len(seen) :], words


def _weights(difference: "csr_matrix") -> np.ndarray:
    """Of a regression without intercept on the pairs both ways round, so that neither side is the usual winner."""
    from scipy.sparse import vstack
    from sklearn.linear_model import LogisticRegression

    labels = np.repeat([1, 0], difference.shape[0])
    model = LogisticRegression(fit_intercept=False, max_iter=300).fit(vstack([difference, -difference]), labels)
    return model.coef_[0]
