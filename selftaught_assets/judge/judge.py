"""A trained judge in three lines of Python."""

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl

from selftaught_assets.engines.asking import JOURNAL
from selftaught_assets.engines.factory import open_engine
from selftaught_assets.engines.protocol import Engine
from selftaught_assets.errors import UserError
from selftaught_assets.judge.answers import (
    OPTIONAL_TEXTS,
    VOTES,
    Answer,
    Comparison,
    PairQuestion,
    Question,
    ResponseQuestion,
    Score,
    VotingProgress,
    answer,
    question_problem,
    require_settings,
)
from selftaught_assets.judge.references import find_judge, judge_in_folder, needs_no_recipe
from selftaught_assets.judge.voting import Voting
from selftaught_assets.method.votes import Standing, games, standings
from selftaught_assets.recipe import DEFAULT_RECIPE, JudgeSettings, engine_settings, load_recipe
from selftaught_assets.storage.journal import Journal, MemoryJournal
from selftaught_assets.storage.layout import Layout, default_data_root

PAIR_FIELDS = ("instruction", "response_a", "response_b")
PAIRS_AT_ONCE = 1024
"""Pairs whose votes are sampled together: enough to keep a device busy, few enough for memory."""

VERDICT_SCHEMA = pl.Schema(
    {
        "verdict": pl.String,
        "confidence": pl.Float64,
        "votes_a": pl.Int64,
        "votes_b": pl.Int64,
        "votes_tie": pl.Int64,
        "votes_invalid": pl.Int64,
        "abstained": pl.Boolean,
        "error": pl.String,
    }
)
"""What `compare_many` adds to each row."""
JUDGMENTS_DTYPE = pl.List(
    pl.Struct({"order": pl.String, "text": pl.String, "verdict": pl.String, "elicited": pl.Boolean})
)


class Caution(UserWarning):
    """The judge that was loaded was not promoted, or is stale."""


class Judge:
    """A loaded judge. Use it in one thread, in a `with` block or with `close` at the end.

    >>> with Judge.load("iteration_03") as judge:
    ...     judge.compare("Sort the numbers up : 27 19 24", "19 27 24", "19 24 27").verdict
    """

    def __init__(self, name: str, engine: Engine, settings: JudgeSettings, journal: Journal) -> None:
        """Takes a loaded engine; `load` is the way to a judge by its name."""
        self.name = name
        """`seed`, `iteration_03`, or the folder's name."""
        self.settings = settings
        """How it is asked: prompts, sampling, format of the verdict."""
        self.caution: str | None = None
        """That it was not promoted, or is stale."""
        self._engine = engine
        self._journal = journal
        self._at_the_end = ExitStack()

    @classmethod
    def load(
        cls, what: str | Path, recipe: str | None = None, *, data: Path | None = None, engine: str | None = None
    ) -> "Judge":
        """Loads a judge, ready to be asked.

        Args:
            what: `seed`; `iteration_03` for that iteration's current checkpoint; `newest` for the last iteration that
                has one which may judge; or the path of a checkpoint, an adapter, a model folder, or a folder that
                `selftaught export` wrote. The last brings its own prompts, sampling and verdict format.
            recipe: as `load_recipe` takes it; the demo by default, but a folder needs none unless it is a checkpoint.
            data: the data folder; `SELFTAUGHT_DATA`, or `data` in the current folder, by default.
            engine: in place of the recipe's engine: a name such as `vllm`, or the section `engine` of a recipe as
                YAML.

        Raises:
            UserError: there is no such judge, recipe or engine, or the model cannot be loaded.

        Warns:
            Caution: the checkpoint was not promoted, or is stale.
        """
        what = str(what.absolute()) if isinstance(what, Path) else what  # A path is never the name of a judge.
        if recipe is None and needs_no_recipe(what):
            found = judge_in_folder(Path(what))
            layout = Layout(data or default_data_root(), found.settings.name)
        else:
            loaded = load_recipe(recipe or DEFAULT_RECIPE)
            layout = Layout.of(loaded, data)
            found = find_judge(what, loaded, layout)
        settings = found.settings.engine if engine is None else engine_settings(engine, found.settings)
        if found.caution is not None:
            warnings.warn(found.caution, Caution, stacklevel=2)
        with ExitStack() as stack:
            opened = stack.enter_context(open_engine(settings, found.model))
            judge = cls(found.name, opened, found.settings, Journal(layout.journal(JOURNAL)))
            judge.caution = found.caution
            judge._at_the_end = stack.pop_all()
        return judge

    @property
    def digest(self) -> str:
        """SHA-256 of the model, as 64 hex digits: base and adapter, with the tokenizer."""
        return self._engine.model_digest

    def compare(
        self,
        instruction: str,
        response_a: str,
        response_b: str,
        *,
        votes: int = VOTES,
        both_orders: bool = False,
        abstain_below: float = 0.0,
        pair_id: str | None = None,
        reference: str | None = None,
    ) -> Comparison:
        """Says which response to an instruction is better (paper section 3, inference by majority vote).

        The same question has the same answer, always. Where the recipe's `judgments.form` is single, the responses are
        rated one by one, and the higher mean rating of `votes` wins.

        Args:
            instruction: what was asked.
            response_a: one response.
            response_b: the other.
            votes: judgments in each order, at most; sampling ends once nothing can change the majority. 1 is a single
                greedy judgment.
            both_orders: also judge with the responses swapped, and pool the votes: a judge's preference for a position
                then cancels. Where the votes are drawn the verdict is INVALID.
            abstain_below: confidence, in [0, 1], below which the answer is marked `abstained`; all votes are then cast.
            pair_id: what the random streams belong to; the texts by default. `<benchmark>/<item_id>` gets the judgments
                that `evaluation` counted.
            reference: an answer known to be good, for prompts that show one.

        Raises:
            UserError: a text is empty or no text, or they are too long for the model; or `votes` or `abstain_below`
                cannot be.
        """
        texts = instruction, response_a, response_b
        return self._single(PairQuestion(*texts, votes, both_orders, abstain_below, pair_id, reference))

    def best(self, instruction: str, responses: Sequence[str], *, votes: int = VOTES) -> list[Standing]:
        """Ranks several responses by round robin: each against each other one, in both orders.

        Args:
            instruction: what was asked.
            responses: two or more.
            votes: as in `compare`, in each of the k × (k - 1) games.

        Returns:
            The table of the tournament, the best response first; `candidate` is its index among the responses.

        Raises:
            ValueError: there are fewer than two responses.
            UserError: as `compare`, or the responses are a single text.
        """
        if isinstance(responses, str):
            raise UserError("`best` ranks several responses: give a list of texts, not one text.")
        played = games(len(responses))
        found = self.answer([PairQuestion(instruction, responses[a], responses[b], votes) for a, b in played])
        for one in found:
            if isinstance(one, UserError):
                raise one
        return standings(len(responses), {game: one.verdict for game, one in zip(played, found, strict=True)})

    def score(self, instruction: str, response: str, *, votes: int = VOTES) -> Score:
        """Rates one response to an instruction from 1 to 10: the mean of `votes` judgments; 1 is a greedy one.

        Raises:
            UserError: as `compare`, or the recipe has no prompt `score.jinja`.
        """
        return self._single(ResponseQuestion(instruction, response, votes))

    def compare_many(
        self,
        pairs: pl.DataFrame,
        *,
        votes: int = VOTES,
        both_orders: bool = False,
        abstain_below: float = 0.0,
        judgments: bool = False,
        on_progress: Callable[[VotingProgress], None] = lambda progress: None,
    ) -> pl.DataFrame:
        """Compares every pair of a frame, as `compare` does.

        Judgments are remembered in the data folder, in the journal of `evaluation`: the same call after a kill samples
        only what is missing, and what `evaluation` has sampled is not sampled again.

        Args:
            pairs: text columns instruction, response_a, response_b; pair_id and reference, as in `compare`, where they
                are there; and any others.
            votes: as in `compare`.
            both_orders: as in `compare`.
            abstain_below: as in `compare`.
            judgments: add the judgments themselves.
            on_progress: called about twice a second.

        Returns:
            The rows of `pairs` in their order, with the columns of `VERDICT_SCHEMA` (verdict A, B, TIE or INVALID), and
            `judgments` where wanted. A row that cannot be judged has `error`, a sentence, and nulls.

        Raises:
            UserError: this is no data frame, a column is missing, holds no text, or would be replaced; `votes` or
                `abstain_below` cannot be; or the disk is full.
        """
        require_settings(votes, abstain_below)
        added = [*VERDICT_SCHEMA, *(["judgments"] if judgments else [])]
        _require_columns(pairs, added)
        asked = [
            PairQuestion(**row, votes=votes, both_orders=both_orders, abstain_below=abstain_below)
            for row in _texts(pairs).iter_rows(named=True)
        ]
        errors = [question_problem(question) for question in asked]
        sound = [place for place, error in enumerate(errors) if error is None]
        questions = [asked[place] for place in sound]
        answers: list[Answer] = []
        judged = 0
        for start in range(0, len(questions), PAIRS_AT_ONCE):
            part = questions[start : start + PAIRS_AT_ONCE]

            def report(now: VotingProgress, start: int = start, judged: int = judged) -> None:
                on_progress(
                    now._replace(
                        settled=start + now.settled, questions=len(questions), judgments=judged + now.judgments
                    )
                )

            found = answer(self._engine, self._journal, self.settings, part, report)
            answers += found
            judged += sum(len(one.judgments) for one in found if isinstance(one, Comparison))
        rows: list[dict[str, Any]] = [{"error": error} for error in errors]
        for place, found in zip(sound, answers, strict=True):
            rows[place] = _row(found)
        schema = {**VERDICT_SCHEMA, **({"judgments": JUDGMENTS_DTYPE} if judgments else {})}
        return pairs.hstack(pl.DataFrame(rows, schema=schema))

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """Answers questions of both kinds together; nothing is kept on disk."""
        return answer(self._engine, MemoryJournal(), self.settings, questions, lambda progress: None)

    def voting(self) -> Voting:
        """Answers questions that come while others are judged, for services; nobody else asks the judge meanwhile."""
        return Voting(self._engine, self.settings)

    def close(self) -> None:
        """Gives the model's memory back."""
        self._at_the_end.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _single(self, question: Question) -> Any:
        (found,) = self.answer([question])
        if isinstance(found, UserError):
            raise found
        return found


def _require_columns(pairs: pl.DataFrame, added: Sequence[str]) -> None:
    if not isinstance(pairs, pl.DataFrame):
        remedy = "call its collect() first" if isinstance(pairs, pl.LazyFrame) else "make one of them"
        raise UserError(f"The pairs must be a Polars DataFrame, not {type(pairs).__name__}: {remedy}.")
    for name in PAIR_FIELDS:
        if name not in pairs.columns:
            raise UserError(f"The pairs have no column {name!r}; they have {', '.join(pairs.columns) or 'none'}.")
    for name in (*PAIR_FIELDS, *(name for name in OPTIONAL_TEXTS if name in pairs.columns)):
        if pairs.schema[name] not in (pl.String, pl.Null):
            raise UserError(f"The column {name!r} must hold text, not {pairs.schema[name]}.")
    for name in added:
        if name in pairs.columns:
            raise UserError(f"The pairs have a column {name!r} already, which the verdicts need: rename it.")


def _texts(pairs: pl.DataFrame) -> pl.DataFrame:
    """What is asked of each row: no text is an empty one, and an optional one that is empty is none."""
    optional = [name for name in OPTIONAL_TEXTS if name in pairs.columns]
    return pairs.select(
        pl.col(PAIR_FIELDS).cast(pl.String).fill_null(""), pl.col(optional).cast(pl.String).replace("", None)
    )


def _row(found: Answer) -> dict[str, Any]:
    if isinstance(found, UserError):
        return {"error": str(found)}
    row = found._asdict()
    return row | {"judgments": [judgment._asdict() for judgment in found.judgments]}
