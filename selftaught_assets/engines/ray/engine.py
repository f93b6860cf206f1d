"""The ray engine: actors that hold one of the other engines each, on one machine or on many.

Randomness belongs to the samples, so it makes no difference which actor completes what, or how often: the tables are
those of the actors' engine, and so is the journal, which the driver alone writes.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import date as Date
from typing import TYPE_CHECKING

from selftaught_assets.engines import chat
from selftaught_assets.engines.protocol import Completion, Prompt, Request
from selftaught_assets.engines.ray.cluster import actor_environment, connected
from selftaught_assets.engines.ray.portions import Finished, Handful, Ledger, Opened, Refused, cut_into_portions
from selftaught_assets.engines.ray.stream import Stream
from selftaught_assets.errors import UserError
from selftaught_assets.recipe.engines import TEMPLATE_DATE, RaySettings
from selftaught_assets.storage.models import ModelReference

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PORTIONS_PER_ACTOR = 2
"""One at work, and one that waits for whichever actor is free first."""


class RayEngine:
    """Actors at work. Use `open_engine`, which ends them."""

    def __init__(
        self,
        stream: Stream,
        tokenizer: "PreTrainedTokenizerBase",
        opened: Opened,
        replicas: int,
        at_the_end: ExitStack,
    ) -> None:
        self.model_digest = opened.model_digest
        self.identity = opened.identity
        self.capacity = replicas * opened.capacity
        self._stream = stream
        self._tokenizer = tokenizer
        self._replicas = replicas
        self._at_the_end = at_the_end

    def render(self, messages: list[dict[str, str]], date: Date = TEMPLATE_DATE) -> Prompt:
        """Applies the model's chat template, with the turn handed to the assistant; content stays plain text."""
        return chat.render(self._tokenizer, messages, date)

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yields completions by the handful, in any order, exactly one for each (request, sample index).

        Raises:
            UserError: an actor's engine refuses the requests, or actors are killed over and over.
        """
        portions = cut_into_portions(list(requests), capacity=self.capacity // self._replicas, replicas=self._replicas)
        ledger = Ledger(portions)
        try:
            while self._hand_out(ledger):
                number, message = self._stream.next_answer()
                match message:
                    case Handful(completions):
                        yield from ledger.received(number, completions)
                    case Finished():
                        ledger.finished(number)
                        self._stream.clear(number)
                    case Refused(sentence) if number in ledger.at_work:
                        raise UserError(sentence)
        finally:
            for number in ledger.at_work:
                self._stream.clear(number)

    def close(self) -> None:
        """Ends the actors, and the cluster if it is a local one."""
        self._at_the_end.close()

    def _hand_out(self, ledger: Ledger) -> bool:
        """Keeps every actor supplied; says whether anything is at work."""
        while len(ledger.at_work) < _PORTIONS_PER_ACTOR * self._replicas:
            portion = ledger.next_portion()
            if portion is None:
                break
            ledger.handed_out(self._stream.lay(portion), portion)
        return bool(ledger.at_work)


def load_engine(settings: RaySettings, model: ModelReference) -> RayEngine:
    """Connects to the cluster, starts the actors there, and waits for the first that has opened its engine.

    Raises:
        UserError: as `connected`, or as the actors' engine does where it is opened.
    """
    tokenizer = chat.load_tokenizer(model.base)
    paths = replace(model, base=model.base.absolute(), adapter=model.adapter and model.adapter.absolute())
    with ExitStack() as stack:
        stack.enter_context(connected(settings))
        stream = Stream(settings, paths, actor_environment(settings))
        stack.callback(stream.close)
        stream.lay(())
        answer = stream.next_answer().message
        if isinstance(answer, Refused):
            raise UserError(answer.sentence)
        return RayEngine(stream, tokenizer, answer, settings.replicas, stack.pop_all())
