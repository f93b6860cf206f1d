"""vLLM in this process: every sample is a request of its own, handed to a base model that is loaded.

The samples of a prompt are requests with equal prompts, one after the other. vLLM's prefix cache computes their
prompt once, and each has a seed of its own, so that any of them can be asked for again without the others.
"""

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from datetime import date as Date
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from selftaught_assets.engines import chat, protocol
from selftaught_assets.engines.drawing import stream_keys
from selftaught_assets.engines.protocol import Choice, Completion, Prompt, Request
from selftaught_assets.engines.vllm.base import VllmBase, load_base
from selftaught_assets.errors import UserError
from selftaught_assets.recipe.engines import TEMPLATE_DATE, SamplingParameters, VllmSettings
from selftaught_assets.storage.models import ModelReference

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams

_IN_FLIGHT = 2
"""Requests that vLLM has at a time, in units of the rows that it decodes together: so none of its rows waits for us."""


class _Sample(NamedTuple):
    request: Request
    index: int
    seed: int
    """Of its random stream."""


class VllmEngine:
    """A base model that vLLM has loaded, and one adapter on it. Use `open_engine`, which ends its processes."""

    def __init__(self, base: VllmBase, model: ModelReference) -> None:
        self.model_digest = model.digest
        self.identity = protocol.identity(model.digest, base.dtype)
        self.capacity = base.max_rows
        self._base = base
        self._adapter = base.adapter(model)
        self.end_tokens = chat.end_tokens(base.tokenizer, chat.configured_end(model.base))
        self._parameters: dict[tuple[SamplingParameters, tuple[Choice, ...]], SamplingParams] = {}
        self._empty_prompt = (chat.empty_prompt_token(base.tokenizer, self.end_tokens),)

    def render(
        self, messages: list[dict[str, str]], date: Date = TEMPLATE_DATE, reply: str = "", choices: Sequence[str] = ()
    ) -> Prompt:
        """Applies the model's chat template, with the turn handed to the assistant; content stays plain text."""
        return chat.render(self._base.tokenizer, messages, date, reply, choices)

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yields each completion as it finishes, in any order, exactly one for each (request, sample index).

        Raises:
            UserError: vLLM refuses the sampling parameters, or its processes ended.
        """
        from vllm.exceptions import VLLMValidationError
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            yield from self._completions(sample for request in requests for sample in _samples(request))
        except VLLMValidationError as error:
            raise UserError(f"vLLM cannot sample with the recipe's settings: {error}") from None
        except EngineDeadError:
            raise UserError(
                "vLLM died while sampling, most often because memory ran out (its own log says why): lower "
                "`engine.max_rows` or `engine.memory_share` and run again; completed samples are kept."
            ) from None

    def close(self) -> None:
        """Ends vLLM's processes, which gives the memory back."""
        self._base.close()

    def _completions(self, samples: Iterator[_Sample]) -> Iterator[Completion]:
        engine, in_flight = self._base.engine, {}
        try:
            while True:
                for sample in islice(samples, _IN_FLIGHT * self.capacity - len(in_flight)):
                    if len(sample.request.prompt.token_ids) >= self._base.context:
                        yield _too_long(sample)
                    else:
                        in_flight[self._ask(sample)] = sample
                if not in_flight:
                    return
                for output in engine.step():
                    yield self._completion(in_flight.pop(output.request_id), output)
        finally:
            engine.abort_request(list(in_flight))

    def _ask(self, sample: _Sample) -> str:
        """Hands a sample to vLLM, and returns the name of its request."""
        from vllm.inputs.engine import tokens_input

        name = str(next(self._base.request_names))
        prompt = tokens_input(list(sample.request.prompt.token_ids or self._empty_prompt))
        asked = sample.request.sampling, sample.request.prompt.choices
        if asked not in self._parameters:
            self._parameters[asked] = self._checked(*asked)
        parameters = copy(self._parameters[asked])
        parameters.seed = sample.seed
        self._base.engine.add_request(name, prompt, parameters, lora_request=self._adapter)
        return name

    def _checked(self, sampling: SamplingParameters, choices: Sequence[Choice]) -> "SamplingParams":
        """Parameters in vLLM's terms, without a seed: checking them takes longer than handing over a sample."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            stop=list(sampling.stop),
            stop_token_ids=list(self.end_tokens),
            allowed_token_ids=[choice.token for choice in choices] or None,
            detokenize=bool(sampling.stop),
            output_kind=RequestOutputKind.FINAL_ONLY,
            skip_clone=True,
        )

    def _completion(self, sample: _Sample, output: "RequestOutput") -> Completion:
        (generated,) = output.outputs
        request, tokens = sample.request, list(generated.token_ids)
        prompt_tokens = len(request.prompt.token_ids)
        shared = min(output.num_cached_tokens or 0, prompt_tokens)
        usage = prompt_tokens, len(tokens), shared
        if generated.finish_reason not in ("stop", "length"):
            error = f"vLLM ended it with the reason {generated.finish_reason!r}."
            return Completion(request.request_id, sample.index, "", "failed", *usage, error)
        if request.prompt.choices:
            (text,) = (choice.text for choice in request.prompt.choices if [choice.token] == tokens)
            return Completion(request.request_id, sample.index, text, "stop", *usage)
        (text,) = chat.completion_texts(self._base.tokenizer, [tokens], self.end_tokens, request.sampling.stop)
        return Completion(request.request_id, sample.index, text, generated.finish_reason, *usage)


def load_engine(settings: VllmSettings, model: ModelReference) -> VllmEngine:
    """Loads a base model for one model alone.

    Raises:
        UserError: as `load_base`, or vLLM does not serve the model's adapter.
    """
    base = load_base(settings, [model])
    try:
        return VllmEngine(base, model)
    except UserError:
        base.close()
        raise


def _samples(request: Request) -> Iterator[_Sample]:
    keys = stream_keys([request.seed] * len(request.sample_indices), request.sample_indices)
    for index, key in zip(request.sample_indices, keys, strict=True):
        yield _Sample(request, index, int(key >> 1))  # vLLM takes 63 bits.


def _too_long(sample: _Sample) -> Completion:
    length = len(sample.request.prompt.token_ids)
    return Completion(sample.request.request_id, sample.index, "", "prompt_too_long", length, 0)
