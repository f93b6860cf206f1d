"""The engine that a recipe asks for: opened at once, or when the first completion is asked for.

A stage whose journal has all completions never loads a model (`DeferredEngine`). Engines are imported inside, since
each brings its own heavy packages; none of them imports this module. The ray engine, whose actors hold one of the
others, is handed `open_engine` for them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from datetime import date as Date
from functools import partial
from importlib.util import find_spec
from itertools import chain

from selftaught_assets.engines import chat, protocol
from selftaught_assets.engines.chat import configured_context
from selftaught_assets.engines.protocol import Completion, Engine, Prompt, Request, dtype_in_actors, dtype_of
from selftaught_assets.errors import UserError
from selftaught_assets.recipe.engines import (
    TEMPLATE_DATE,
    AutoSettings,
    Dtype,
    EngineSettings,
    OpenAISettings,
    RaySettings,
    TransformersSettings,
    VllmSettings,
)
from selftaught_assets.storage.models import ModelReference, confirmed


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
        self.identity = protocol.identity(model.digest, dtype)
        self.capacity = capacity
        self._tokenizer = chat.load_tokenizer(model.base)
        self._load = load
        self._context = context
        self._loaded = ExitStack()
        self._engine: Engine | None = None

    def render(
        self, messages: list[dict[str, str]], date: Date = TEMPLATE_DATE, reply: str = "", choices: Sequence[str] = ()
    ) -> Prompt:
        """Applies the model's chat template, with the turn handed to the assistant; content stays plain text."""
        return chat.render(self._tokenizer, messages, date, reply, choices)

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Loads the model if it is not, and completes the requests as its engine does.

        Requests that are all too long for the model need none.

        Raises:
            UserError: the model cannot be loaded, or the engine refuses the requests.
        """
        requests, too_long = iter(requests), []
        for asked in requests:
            length = len(asked.prompt.token_ids)
            if self._context is None or length < self._context:
                break
            too_long += [
                Completion(asked.request_id, index, "", "prompt_too_long", length, 0) for index in asked.sample_indices
            ]
        else:
            return iter(too_long)
        if self._engine is None:
            self._engine = self._loaded.enter_context(self._load())
        return chain(too_long, self._engine.generate(chain([asked], requests)))

    def close(self) -> None:
        """Gives the memory back."""
        self._engine = None
        self._loaded.close()


OpenEngine = Callable[[ModelReference], AbstractContextManager[Engine]]
"""Lends the engine of a model."""

_REMEDY = "run it again, so that its answers go under its own name"
"""Where a model was replaced between its digest and its loading."""


@contextmanager
def open_engine(settings: EngineSettings, model: ModelReference) -> Iterator[Engine]:
    """Loads the model for sampling; at the end of the block its memory is free again.

    Raises:
        UserError: the model cannot be loaded, its files were replaced since it was referenced, the device is not there,
            or the engine's package is not installed.
    """
    with closing(_load(chosen(settings), model)) as engine:
        confirmed(model, _REMEDY)
        yield engine


@contextmanager
def open_when_needed(settings: EngineSettings, model: ModelReference) -> Iterator[Engine]:
    """As `open_engine`, but a model on this machine is loaded only when the first completion is asked for.

    Raises:
        UserError: the tokenizer cannot be loaded; later, from `generate`, what `open_engine` raises.
    """
    settings = chosen(settings)
    held = settings.engine if isinstance(settings, RaySettings) else settings
    if isinstance(held, OpenAISettings):  # There is nothing to load, and the server had better be there.
        with open_engine(settings, model) as engine:
            yield engine
        return
    replicas = settings.replicas if isinstance(settings, RaySettings) else 1
    load = partial(open_engine, settings, model)
    engine = DeferredEngine(model, held.dtype, replicas * held.max_rows, load, _known_context(held, model))
    with closing(engine):
        yield engine


@contextmanager
def open_in_turn(settings: EngineSettings, models: Sequence[ModelReference]) -> Iterator[OpenEngine]:
    """Lends the engines of several models, one after the other, as `open_when_needed` does.

    An engine that serves adapters (vllm) loads the base that the models have in common at once, for all of them, and
    gives its memory back at the end of this block.

    Raises:
        UserError: as `open_when_needed`.
    """
    settings = chosen(settings)
    if isinstance(settings, VllmSettings) and len({model.base.resolve() for model in models}) == 1:
        from selftaught_assets.engines.vllm.base import load_base
        from selftaught_assets.engines.vllm.engine import VllmEngine

        with closing(load_base(settings, models)) as base:
            for model in models:
                confirmed(model, _REMEDY)
            yield lambda model: nullcontext(VllmEngine(base, model))
    else:
        yield partial(open_when_needed, settings)


def chosen(settings: EngineSettings) -> EngineSettings:
    """The settings with what `auto` stands for in its place: the engine, and the dtype that it computes in."""
    match settings:
        case AutoSettings():
            return chosen(_engine_for_this_machine())
        case RaySettings(engine=TransformersSettings() | VllmSettings() as held):
            return settings.model_copy(update={"engine": _in(dtype_in_actors(settings), held)})
        case TransformersSettings() | VllmSettings():
            return _in(dtype_of(settings), settings)
    return settings


def _engine_for_this_machine() -> TransformersSettings | VllmSettings:
    if find_spec("vllm") is not None:
        import torch

        if torch.cuda.is_available():
            return VllmSettings(name="vllm")
    return TransformersSettings()


def _known_context(settings: TransformersSettings | VllmSettings, model: ModelReference) -> int | None:
    """The tokens that a prompt has to stay below, as far as the recipe or the model's configuration tells them."""
    if isinstance(settings, VllmSettings):
        return settings.context  # Its own limit follows from more than the configuration says.
    return configured_context(model.base)


def _in(dtype: Dtype, settings: TransformersSettings | VllmSettings) -> TransformersSettings | VllmSettings:
    return settings.model_copy(update={"dtype": dtype})


def _load(settings: EngineSettings, model: ModelReference) -> Engine:
    match settings:
        case TransformersSettings():
            from selftaught_assets.engines.embedded.engine import load_engine

            return load_engine(settings, model)
        case VllmSettings():
            from selftaught_assets.engines.vllm import engine as vllm_engine

            return vllm_engine.load_engine(settings, model)
        case OpenAISettings():
            try:
                from selftaught_assets.engines.openai import engine as openai_engine
            except ModuleNotFoundError as error:
                raise UserError(
                    f"The recipe asks for `engine: openai`, which needs the package "
                    f"{str(error.name).partition('.')[0]}: run `pip install 'selftaught-assets[openai]'`."
                ) from None
            return openai_engine.load_engine(settings, model)
        case RaySettings():
            from selftaught_assets.engines.ray import engine as ray_engine

            return ray_engine.load_engine(settings, model, open_engine)
