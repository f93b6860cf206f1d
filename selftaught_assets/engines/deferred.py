"""An engine that loads its model when the first completion is asked for: a stage whose journal has all never loads one.

Belongs here: rendering, which needs the tokenizer alone, and the moment of loading. Not here: which engine is loaded
(factory.py).
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from datetime import date as Date

from selftaught_assets.engines import chat, precision
from selftaught_assets.engines.protocol import TEMPLATE_DATE, Completion, Engine, Prompt, Request
from selftaught_assets.storage.models import ModelReference


class DeferredEngine:
    """Stands for an engine whose completions belong to the model and the dtype that it computes in."""

    def __init__(
        self,
        model: ModelReference,
        dtype: str,
        capacity: int,
        load: Callable[[], AbstractContextManager[Engine]],
        context: int | None = None,
    ) -> None:
        """Loads the tokenizer.

        Args:
            model: that will complete.
            dtype: that it will compute in.
            capacity: of the engine, as it will say itself.
            load: lends the engine.
            context: tokens that a prompt has to stay below, where that is known before the engine is loaded.

        Raises:
            UserError: the tokenizer cannot be loaded.
        """
        self.model_digest = model.digest
        self.identity = precision.identity(model.digest, dtype)
        self.capacity = capacity
        self._tokenizer = chat.load_tokenizer(model.base)
        self._load = load
        self._context = context
        self._loaded = ExitStack()
        self._engine: Engine | None = None

    def render(self, messages: list[dict[str, str]], date: Date = TEMPLATE_DATE) -> Prompt:
        """Applies the model's chat template, with the turn handed to the assistant; content stays plain text."""
        return chat.render(self._tokenizer, messages, date)

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Loads the model if it is not, and completes the requests as its engine does.

        Requests that are all too long for the model need none.

        Raises:
            UserError: the model cannot be loaded, or the engine refuses the requests.
        """
        requests = list(requests)
        if self._context is not None and all(len(asked.prompt.token_ids) >= self._context for asked in requests):
            return (
                Completion(asked.request_id, index, "", "prompt_too_long", len(asked.prompt.token_ids), 0)
                for asked in requests
                for index in asked.sample_indices
            )
        if self._engine is None:
            self._engine = self._loaded.enter_context(self._load())
        return self._engine.generate(requests)

    def close(self) -> None:
        """Gives the memory back."""
        self._engine = None
        self._loaded.close()
