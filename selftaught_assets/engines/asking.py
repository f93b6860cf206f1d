"""Asking the judge, the one way of it: for `judgments`, `evaluation`, promotion, `Judge`, `selftaught judge`, HTTP.

All of them show the same messages under the same seeds, decode alike, and count votes by the same rules. So what is
measured is what serves. A request of the same name has the same random streams and, asked of the same model, the same
keys in the journal: what `evaluation` has sampled is found by `selftaught judge`, which shares its journal.

A judgment without a verdict is asked for it where the recipe says so (`verdicts.elicit`): a closing continues it, and
the judge's own distribution over the verdicts says how it ends. From then on it is a judgment like any other.

They differ in when they stop. A measurement casts all votes, since it reports shares, and fails where one is missing;
in use a question ends once its verdict is certain, which is then that of all votes, and one that cannot be answered
leaves the others their answers.
"""

from collections.abc import Callable, Iterable, Iterator

import polars as pl

from selftaught_assets.engines.journalled import GenerationTask, Tasks
from selftaught_assets.errors import UserError, as_clause
from selftaught_assets.method.identity import derive_seed, row_ids
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
from selftaught_assets.method.verdicts import parse_verdicts, says_verdict, up_to_verdict, verdict_choices
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


def sample_judgments(
    settings: JudgeSettings,
    requests: pl.DataFrame,
    sample: Sample,
    sampling: SamplingParameters,
    *,
    n: int | str,
    first: int | str = 0,
) -> pl.DataFrame:
    """The completions of `judge_tasks`; where the recipe elicits missing verdicts, with these.

    Args:
        settings: for how the judge is asked.
        requests: as in `judge_tasks`, like n and first.
        sample: completes tasks.
        sampling: of the judgments. A verdict is elicited at its temperature.
        n: judgments of each, those before `first` included.
        first: index of the first judgment that is wanted.

    Returns:
        Rows of `sample`. Where verdicts are elicited, `elicited` tells whose: text, finish reason and tokens are then
        those of the judgment with its verdict. One that leaves no room for a verdict stays as it is.
    """
    judgments = sample(judge_tasks(settings, requests, n, first), sampling)
    return _with_verdicts(settings, _each_sample(requests, n, first), judgments, sample, sampling)


def _each_sample(requests: pl.DataFrame, n: int | str, first: int | str) -> pl.DataFrame:
    """The requests once for each sample index that is wanted, which is added."""
    indices = requests.with_columns(n=n, first=first).with_columns(sample_index=pl.int_ranges("first", "n"))
    return indices.explode("sample_index", empty_as_null=False)


def _with_verdicts(
    settings: JudgeSettings, shown: pl.DataFrame, judgments: pl.DataFrame, sample: Sample, sampling: SamplingParameters
) -> pl.DataFrame:
    """The judgments on what was shown, row by row; see `sample_judgments`."""
    verdicts = settings.verdicts
    if verdicts.elicit == "never":
        return judgments
    ended = judgments["finish_reason"].is_in(("stop", "length"))
    if "response" in shown.columns:
        ended &= shown["response"].is_null()  # What has no verdict by itself is rated.
    silent = [row for row in ended.arg_true() if not says_verdict(judgments["text"][row], verdicts.format)]
    if not silent:
        return judgments.with_columns(elicited=pl.lit(False))
    choices = verdict_choices(verdicts.format, ties=verdicts.ties)
    replies = [up_to_verdict(judgments["text"][row], verdicts.closing) for row in silent]
    tasks = _eliciting_tasks(settings, shown[silent], replies, choices)
    told = sample(Tasks(len(silent), tasks, elicits=True), sampling)
    return _completed(judgments, silent, replies, told, choices)


def _completed(
    judgments: pl.DataFrame, silent: list[int], replies: list[str], told: pl.DataFrame, choices: tuple[str, ...]
) -> pl.DataFrame:
    """The judgments with the verdicts of some rows. One that the engine gave up on makes its judgment a failed one."""
    verdicts = told.select(
        pl.Series("row", silent, dtype=pl.UInt32),
        pl.concat_str(pl.Series("reply", replies, dtype=pl.String), "text").alias("whole"),
        pl.col("text").is_in(choices).alias("elicited"),
        pl.col("finish_reason").alias("ended"),
        pl.col("completion_tokens").alias("more"),
        pl.col("error").alias("why"),
    )
    both = judgments.with_row_index("row").join(verdicts, on="row", how="left", maintain_order="left")
    elicited, failed = pl.col("elicited").fill_null(False), (pl.col("ended") == "failed").fill_null(False)
    both = both.with_columns(
        text=pl.when(failed).then(pl.lit("")).when(elicited).then("whole").otherwise("text"),
        finish_reason=pl.when(failed | elicited).then("ended").otherwise("finish_reason"),
        completion_tokens=pl.col("completion_tokens") + pl.col("more").fill_null(0),
        error=pl.coalesce("why", "error"),
        elicited=elicited,
    )
    return both.select(*judgments.columns, "elicited")


def _eliciting_tasks(
    settings: JudgeSettings, shown: pl.DataFrame, replies: list[str], choices: tuple[str, ...]
) -> Iterator[GenerationTask]:
    """The verdict of one judgment each, in a random stream that is not that of the judgment."""
    for request, reply in zip(shown.iter_rows(named=True), replies, strict=True):
        messages = request_messages(settings.templates, request, ties=settings.verdicts.ties)
        name, index = request["request_id"], request["sample_index"]
        seed = derive_seed(settings.seed, "verdict", name)
        yield GenerationTask(name, messages, n=index + 1, seed=seed, first=index, reply=reply, choices=choices)


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
    answers = sample_judgments(settings, requests, sample, _sampling(settings, decoding), n=n)
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
        sampling = _sampling(settings, "greedy" if is_greedy else "vote")
        completions = complete(wanted, sampling)
        shown = _each_sample(part[begun], "end", "first")
        completions = _with_verdicts(settings, shown, completions, complete, sampling)
        told = completions.select("text", "finish_reason", "error", elicited=_elicited(completions))
        cast = shown.select("question", "order", "sample_index").hstack(told)
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


def _elicited(completions: pl.DataFrame) -> pl.Expr:
    return pl.col("elicited") if "elicited" in completions.columns else pl.lit(False)


def _sampling(settings: JudgeSettings, decoding: Decoding) -> SamplingParameters:
    """Greedy judgments end as votes do."""
    votes = settings.evaluation.sampling
    return votes.model_copy(update={"temperature": 0.0, "top_p": 1.0}) if decoding == "greedy" else votes
