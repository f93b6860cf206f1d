"""Many requests in flight at a server, and what becomes of one that fails.

Belongs here: the samples of one call, from request to completion. Not here: tries and pauses (client.py), the
wording of requests (messages.py) and what is checked before anything is sampled (engine.py).

A failure is a request's own only if the server answers others. Where nothing else tells, a trial does: a short prompt
with the same sampling parameters. If that fails as well, the server is at fault: everything stops, and the journal gets
no failures that are none.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence

from selftaught_assets.engines.openai.client import Connection, RefusedError, Server, UnansweredError
from selftaught_assets.engines.openai.messages import Answer, Dialect, overflow, sample_seed
from selftaught_assets.engines.protocol import Completion, FinishReason, Prompt, Request, SamplingParameters
from selftaught_assets.errors import UserError

TextOf = Callable[[Answer, Sequence[str]], str]

_NEVER = -1.0
"""Before any time of an event loop's clock."""


async def complete_all(
    server: Server,
    dialect: Dialect,
    context: int | None,
    trial: Prompt,
    text_of: TextOf,
    samples: Sequence[tuple[Request, int]],
    finished: Callable[[Completion], None],
) -> None:
    """Hands each completion to `finished` as it arrives, exactly one for each (request, sample index).

    Args:
        server: where to ask.
        dialect: how to ask.
        context: tokens of prompt and completion together; None: unknown.
        trial: a short prompt, to tell a request that fails from a server that fails.
        text_of: what an answer says, by its stop strings.
        samples: requests and sample indices.
        finished: called in the event loop's thread.

    Raises:
        UserError: the server refuses every request, or has stopped answering.
    """
    waiting = iter(samples)
    async with server.connected() as connection:
        sampling = _Sampling(connection, dialect, context, trial, text_of)

        async def work() -> None:
            for request, index in waiting:
                finished(await sampling.completion(request, index))

        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(min(server.max_rows, len(samples))):
                    workers.create_task(work())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None


class _Sampling:
    """The samples of one call."""

    def __init__(
        self, connection: Connection, dialect: Dialect, context: int | None, trial: Prompt, text_of: TextOf
    ) -> None:
        self._connection = connection
        self._dialect = dialect
        self._context = context
        self._trial = trial
        self._text_of = text_of
        self._on_trial = asyncio.Lock()
        self._answered_at: dict[SamplingParameters, float] = {}
        """When the server last answered a request with these parameters, by the event loop's clock."""

    async def completion(self, request: Request, index: int) -> Completion:
        """The completion of one sample: its text, or why there is none."""
        if self._dialect.api == "completions" and self._room(request.prompt) <= 0:
            return _without_text(request, index, "prompt_too_long")
        try:
            answer = await self._answer(request, index)
        except RefusedError as refusal:
            if self._is_too_long(request.prompt, refusal):
                return _without_text(request, index, "prompt_too_long")
            await self._require_answers(request.sampling, since=0.0)
            return _without_text(request, index, "failed", _sentence(refusal))
        except UnansweredError as failure:
            await self._require_answers(request.sampling, since=failure.asked_at)
            return _without_text(request, index, "failed", _sentence(failure))
        if answer.finish_reason == "content_filter":
            return _without_text(request, index, "failed", "The server withheld the completion (content_filter).")
        if answer.problem is not None:
            return _without_text(request, index, "failed", f"The server's answer has no text: {answer.problem}.")
        ours = self._dialect.api == "completions"
        prompt_tokens = len(request.prompt.token_ids) if ours else answer.prompt_tokens
        return Completion(
            request.request_id,
            index,
            self._text_of(answer, request.sampling.stop),
            answer.finish_reason,
            prompt_tokens,
            answer.completion_tokens,
            min(answer.cached_tokens, prompt_tokens),
        )

    async def _answer(self, request: Request, index: int) -> Answer:
        """Asks with as many tokens as there is room for; once more where the server tells that there is less."""
        seed, sampling = sample_seed(request, index), request.sampling
        room = self._room(request.prompt)
        max_tokens = min(sampling.max_tokens, room) if room > 0 else sampling.max_tokens
        try:
            return await self._asked(request.prompt, sampling, seed, max_tokens)
        except RefusedError as refusal:
            told = overflow(refusal.status, refusal.said)
            if told is None or told.context is None:
                raise
            room = told.context - (told.prompt_tokens or len(request.prompt.token_ids))
            if not 0 < room < max_tokens:
                raise
            return await self._asked(request.prompt, sampling, seed, room)

    async def _asked(self, prompt: Prompt, sampling: SamplingParameters, seed: int, max_tokens: int) -> Answer:
        body = self._dialect.body(prompt, sampling, seed, max_tokens)
        answer = await self._connection.ask(self._dialect.path, self._dialect.read, body)
        self._answered_at[sampling] = asyncio.get_running_loop().time()
        return answer

    async def _require_answers(self, sampling: SamplingParameters, since: float) -> None:
        """Makes sure that the server has answered a request with these parameters since then, or answers one now.

        Raises:
            UserError: it does not.
        """
        async with self._on_trial:
            if self._answered_at.get(sampling, _NEVER) >= since:
                return
            try:
                await self._answer(Request("trial", self._trial, sampling, seed=0, sample_indices=(0,)), 0)
            except (RefusedError, UnansweredError) as error:
                raise UserError(
                    f"The server at {self._connection.address} answers no request, not even a short one "
                    f"({error}): see to it and run again; what was sampled is kept."
                ) from None

    def _room(self, prompt: Prompt) -> int:
        """Tokens that a completion can have, as far as the server tells its context."""
        return sys.maxsize if self._context is None else self._context - max(len(prompt.token_ids), 1)

    def _is_too_long(self, prompt: Prompt, refusal: RefusedError) -> bool:
        """Whether a refusal means the length: the server says so, or the prompt as we count it leaves no room."""
        if overflow(refusal.status, refusal.said) is not None:
            return True
        return refusal.status == 400 and self._room(prompt) <= 0


def _sentence(clause: Exception) -> str:
    text = str(clause)
    return f"{text[0].upper()}{text[1:]}."


def _without_text(request: Request, index: int, reason: FinishReason, error: str | None = None) -> Completion:
    return Completion(request.request_id, index, "", reason, len(request.prompt.token_ids), 0, error=error)
