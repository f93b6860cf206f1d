"""Asking the judge, the one way of it: for `judgments`, `evaluation`, promotion, `Judge`, `selftaught judge`, HTTP.

All of them show the same messages under the same seeds, decode alike, and count votes by the same rules. So what is
measured is what serves. A request of the same name has the same random streams and, asked of the same model, the same
keys in the journal: what `evaluation` has sampled is found by `selftaught judge`, which shares its journal.

They differ in when they stop. A measurement casts all votes, since it reports shares, and fails where one is missing;
in use a question ends once its verdict is certain, which is then that of all votes, and one that cannot be answered
leaves the others their answers.
"""

from collections.abc import Callable, Iterable, Iterator

import polars as pl

from selftaught_assets.engines.journalled import GenerationTask, Tasks
from selftaught_assets.errors import UserError, as_clause
from selftaught_assets.method.identity import row_ids
from selftaught_assets.method.judging import (
    VOTE_SCHEMA,
    benchmark_requests,
    in_both_orders,
    request_messages,
    request_seed,
    sample_until_decided,
)
from selftaught_assets.method.scoring.accuracy import Decoding, verdict_table
from selftaught_assets.method.single import benchmark_rating_requests, one_by_one, rating_verdicts
from selftaught_assets.method.verdicts import parse_verdicts
from selftaught_assets.recipe import JudgeSettings
from selftaught_assets.recipe.engines import SamplingParameters

Sample = Callable[[Tasks, SamplingParameters], pl.DataFrame]
"""Completes tasks: rows of `journalled.Generated.frame`, in the order of the tasks, then of the sample indices."""

JOURNAL = "evaluation"
"""The stage in whose journal the votes of measurements and of use are."""


def judge_tasks(settings: JudgeSettings, requests: pl.DataFrame, n: int | str, first: int | str = 0) -> Tasks:
    """What to ask the judge. Messages are made from a request when its turn comes.

    Args:
        settings: for the templates, whether they offer a tie, and the seed.
        requests: request_id and what `judging.request_messages` shows.
        n: judgments of each, those before `first` included; a number, or the column that holds it.
        first: index of the first judgment that is wanted; a number, or the column that holds it.

    Raises:
        UserError: later, from a task: the recipe has no template for such a request, or it cannot be rendered.
    """
    requests = requests.with_columns(n=n, first=first)
    return Tasks(requests.select((pl.col("n") - pl.col("first")).sum()).item(), _tasks(settings, requests))


def _tasks(settings: JudgeSettings, requests: pl.DataFrame) -> Iterator[GenerationTask]:
    templates, ties = settings.templates, settings.verdicts.ties
    try:
        for request in requests.iter_rows(named=True):
            messages = request_messages(templates, request, ties=ties)
            seed = request_seed(settings.seed, request["request_id"])
            yield GenerationTask(request["request_id"], messages, n=request["n"], seed=seed, first=request["first"])
    except ValueError as error:
        raise UserError(f"Recipe {settings.name}: {as_clause(str(error))}.") from None


def measurement_requests(settings: JudgeSettings, items: pl.DataFrame) -> pl.DataFrame:
    """What to ask the judge about labelled pairs: both orders of each, or both responses of each in the single form."""
    return benchmark_rating_requests(items) if settings.judgments.form == "single" else benchmark_requests(items)


def measured_verdicts(
    settings: JudgeSettings, requests: pl.DataFrame, sample: Sample, *, decoding: Decoding, judge: str
) -> pl.DataFrame:
    """The verdicts on `measurement_requests`, with all votes cast.

    Args:
        settings: for how the judge is asked, and for the number of votes.
        requests: what to ask.
        sample: completes tasks.
        decoding: one greedy judgment each, or the recipe's number of votes.
        judge: digest of the judge's weights.

    Returns:
        A table of `accuracy.verdict_table`, or of `single.rating_verdicts`.

    Raises:
        UserError: a judgment failed for good.
    """
    n = 1 if decoding == "greedy" else settings.evaluation.votes
    answers = sample(judge_tasks(settings, requests, n), _sampling(settings, decoding))
    if (failed := answers.filter(pl.col("finish_reason") == "failed")).height:
        raise UserError(
            f"{failed.height} of {answers.height} verdicts could not be had ({failed['error'][0]}): a measurement with "
            "holes means nothing, so materialize it again; only the missing ones are asked for."
        )
    named = {"decoding": decoding, "judge": judge}
    if settings.judgments.form == "single":
        return rating_verdicts(requests, answers, **named)
    return verdict_table(requests, answers, form=settings.verdicts.format, ties=settings.verdicts.ties, **named)


def use_requests(settings: JudgeSettings, questions: pl.DataFrame) -> pl.DataFrame:
    """What to ask the judge about questions of users: as in a measurement, but for the names of the requests.

    A pair with a `pair_id` is asked under that name, so that `<benchmark>/<item_id>` gets the judgments that
    `evaluation` counted. One without is asked under the content of what is shown, so that equal questions get equal
    answers.

    Args:
        settings: for the form of the judgments.
        questions: question (a number), instruction, response_a and response_b, or response alone, reference, pair_id
            (both may be null), both_orders (means nothing in the single form), n (votes; 1 is a single greedy one) and
            stops_early.

    Returns:
        The same columns, request_id and order (AB or BA; A or B where a response is shown by itself); what
        `judging.sample_until_decided` and `judge_tasks` need.
    """
    is_pair = pl.col("response").is_null()
    pairs, alone = questions.filter(is_pair), questions.filter(~is_pair).with_columns(order=pl.lit("A"))
    if settings.judgments.form == "single":
        nothing = pl.lit(None, pl.String)
        shown = one_by_one(pairs).rename({"side": "order"})
        shown = shown.with_columns(response_a=nothing, response_b=nothing, stops_early=False)
    else:
        shown = in_both_orders(pairs).filter((pl.col("order") == "AB") | pl.col("both_orders"))
    requests = pl.concat([shown, alone])
    content = row_ids("question", *requests.select("instruction", "response", "response_a", "response_b"))
    own = pl.concat_str("pair_id", "order", separator="/")
    return requests.with_columns(request_id=pl.coalesce(own, pl.Series(content, dtype=pl.String)))


def votes_until_decided(
    settings: JudgeSettings, requests: pl.DataFrame, sample: Callable[[pl.DataFrame], Sample]
) -> pl.DataFrame:
    """The `judging.VOTE_SCHEMA` on `use_requests`, question by question until its verdict is certain.

    Args:
        settings: for how the judge is asked.
        requests: what to ask.
        sample: given the requests that are still open, completes tasks for them.
    """

    def vote(waiting: pl.DataFrame) -> pl.DataFrame:
        return cast_votes(settings, waiting, sample(waiting))

    return sample_until_decided(requests, vote)


def cast_votes(
    settings: JudgeSettings,
    requests: pl.DataFrame,
    complete: Sample,
    is_wanted: Callable[[int], bool] = lambda question: True,
) -> pl.DataFrame:
    """The next votes on `judging.undecided` requests, as `judging.VOTE_SCHEMA`.

    Args:
        settings: for how the judge is asked.
        requests: what to ask, with the sample indices `first` to `end` - 1.
        complete: completes tasks.
        is_wanted: whether a question still is, asked when the turn of one of its requests comes. Who says no once has
            to stay with it; such requests have no votes.

    Raises:
        UserError: the recipe has no template for a request, or it cannot be rendered.
    """
    batches = [VOTE_SCHEMA.to_frame()]
    for (is_greedy,), part in requests.group_by(pl.col("n") == 1, maintain_order=True):
        tasks, begun = judge_tasks(settings, part, "end", "first"), []
        wanted = Tasks(tasks.samples, _begun(tasks, part["question"], is_wanted, begun))
        completions = complete(wanted, _sampling(settings, "greedy" if is_greedy else "vote"))
        indices = part[begun].select("question", "order", sample_index=pl.int_ranges("first", "end"))
        cast = indices.explode("sample_index", empty_as_null=False).hstack(
            completions.select("text", "finish_reason", "error")
        )
        verdicts = parse_verdicts(cast["text"], settings.verdicts.format, ties=settings.verdicts.ties)
        batches.append(cast.with_columns(verdicts).select(VOTE_SCHEMA.names()))
    return pl.concat(batches)


def _begun(
    tasks: Tasks, questions: Iterable[int], is_wanted: Callable[[int], bool], begun: list[int]
) -> Iterator[GenerationTask]:
    """The tasks of questions that are wanted when their turn comes; notes their places."""
    for place, (question, task) in enumerate(zip(questions, tasks, strict=True)):
        if is_wanted(question):
            begun.append(place)
            yield task


def _sampling(settings: JudgeSettings, decoding: Decoding) -> SamplingParameters:
    """Greedy judgments end as votes do."""
    votes = settings.evaluation.sampling
    return votes.model_copy(update={"temperature": 0.0, "top_p": 1.0}) if decoding == "greedy" else votes
