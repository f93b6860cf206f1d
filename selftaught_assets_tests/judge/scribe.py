"""A judge whose engine repeats what it is shown, at once or when it is told to: no tests here."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import date as Date

from selftaught_assets.engines.protocol import Completion, Prompt, Request
from selftaught_assets.judge import Judge
from selftaught_assets.recipe import load_recipe
from selftaught_assets.recipe.engines import TEMPLATE_DATE
from selftaught_assets.storage.journal import MemoryJournal

SETTINGS = load_recipe("demo")


class Scribe:
    """Its judgment is the prompt, and A.

    A prompt with "slow" in it waits until it may go on.
    """

    model_digest = identity = "scribe"
    capacity = 64

    def __init__(self) -> None:
        self.held: dict[str, Request] = {}
        """What it works on."""
        self.seen: list[str] = []
        self.may_go_on = threading.Event()

    def render(self, messages: list[dict[str, str]], date: Date = TEMPLATE_DATE, *_: object) -> Prompt:
        return Prompt(messages[-1]["content"], ())

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        self.held = {request.request_id: request for request in requests}
        self.seen += [request.prompt.text for request in self.held.values()]
        while self.held:
            ready = [one for one in self.held.values() if "slow" not in one.prompt.text or self.may_go_on.is_set()]
            for request in ready:
                del self.held[request.request_id]
                for index in request.sample_indices:
                    yield Completion(request.request_id, index, f"{request.prompt.text} [[A]]", "stop", 1, 1)
            time.sleep(0.001)

    def close(self) -> None:
        pass


def judge_of(scribe: Scribe) -> Judge:
    return Judge("scribe", scribe, SETTINGS, MemoryJournal())


def until(is_so: Callable[[], object]) -> None:
    """Waits for a sign of life."""
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)
