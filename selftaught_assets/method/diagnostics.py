"""Signs that reveal the label of a pair without reading it: form, words, refusals.

Chosen and rejected responses are often sampled from different prompts. A sign that comes of that, and not of what is
asked, stands on one side in most pairs: it tells the label, and a judge learns it before it learns to judge. The
longer text of a pair has more of everything, so both are looked at up to the length of the shorter one.

Regressions, folds and the area under the curve are scikit-learn's.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


_CANNOT = r"(?:can(?: ?no|['’])t|won['’]t|(?:am |['’]m )?(?:unable|not able))"
_TASK = r"(?:help|assist|answer|provide|comply|fulfil|do that|create|write|generate|support|engage|discuss)"

REFUSAL = (
    r"(?i)^\W*(?:"
    rf"(?:i['’]?m|i am)(?: very| so| really)? sorry\b[^.!?]{{0,40}}\b(?:but\b|{_CANNOT})"
    rf"|(?:sorry|unfortunately|i apologi[sz]e|my apologies)\b[^.!?]{{0,40}}\bi ?{_CANNOT}"
    rf"|i(?: {_CANNOT}| must decline)(?: to)? {_TASK}"
    rf"|as an? (?:ai|(?:large )?language model|artificial intelligence)\b[^.!?]{{0,80}}"
    rf"\b(?:{_CANNOT}|do(?: not|n['’]t))"
    r")"
)
"""Regular expression of how a response begins that refuses, in English: other languages are not recognised."""


def refuses(column: str) -> pl.Expr:
    """True if the text begins like a refusal; a refusal that is only mentioned later does not count."""
    return pl.col(column).fill_null("").str.contains(REFUSAL)


FOLDS = 5
ROWS = 4_000
"""The probe looks at no more rows: its interval is then ±1.5 points."""


class Probe(NamedTuple):
    """The accuracy of a probe on rows that it had not seen."""

    right: int
    n: int


def probe_label(rows: pl.DataFrame, *, label: str, group: str, texts: tuple[str, ...] = ()) -> Probe | None:
    """How often a logistic regression tells the label of rows that it has not seen, in five folds.

    One half is what guessing gives where both labels are equally frequent. Numbers are standardised, and each of the
    `texts` becomes one indicator for each value that ten rows or more have. Rows of a group stay in one fold.

    Args:
        rows: two labels; columns other than these are what the probe may see. No more than `ROWS` of them.
        label: column of the label.
        group: column of the group.
        texts: columns that hold categories; the others are numbers.

    Returns:
        None where a label has too few groups for five folds.
    """
    import numpy as np
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    if rows[label].n_unique() != 2 or rows.group_by(label).agg(pl.col(group).n_unique())[group].min() < 2 * FOLDS:
        return None
    seen = rows.drop(label, group)
    numbers = [index for index, name in enumerate(seen.columns) if name not in texts]
    categories = [index for index, name in enumerate(seen.columns) if name in texts]
    columns = make_column_transformer(
        (StandardScaler(), numbers), (OneHotEncoder(min_frequency=10, handle_unknown="infrequent_if_exist"), categories)
    )
    model = make_pipeline(columns, LogisticRegression(max_iter=1_000))
    truth = rows[label].to_numpy()
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    inputs = np.array(seen.rows(), dtype=object)
    told = cross_val_predict(model, inputs, truth, cv=folds, groups=rows[group].to_numpy())
    return Probe(right=int((told == truth).sum()), n=rows.height)


def area_under_curve(values: pl.Series, is_first: pl.Series) -> float | None:
    """How often a value of the first kind is larger than one of the second, ties counting one half.

    One half says that the value tells nothing of the kind. None where one of the kinds is missing.
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(is_first, values)) if is_first.n_unique() == 2 else None


def area_deviation(area: float, first: int, second: int) -> float:
    """An upper bound of the standard deviation of the area under the curve (Birnbaum and Klose, 1957).

    √(A(1 - A) / the smaller count), whatever the distributions: an interval made of it is wide rather than narrow.
    """
    return math.sqrt(area * (1 - area) / min(first, second))


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


def predictable_from_one_sign(pairs: pl.DataFrame) -> Picked:
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


def predictable_from_words(pairs: pl.DataFrame) -> Picked:
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
