"""Code without end is ended, in any thread, and nothing else is."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from jinja2 import StrictUndefined, TemplateError

from selftaught_assets.method import limits
from selftaught_assets.method.limits import BoundedSandbox, EndlessError, limited


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SECONDS", 0.2)
    monkeypatch.setattr(limits, "_LOOK_EVERY", 0.02)


def _loop() -> None:
    while True:
        try:
            sum(range(100))
        except Exception:  # noqa: BLE001  What runs may take every failure for one of its own.
            continue


def _grow() -> None:
    held = []
    while True:
        held.append(b"x" * 20 * 1024**2)


def test_a_loop_is_ended_and_what_follows_is_undisturbed() -> None:
    with pytest.raises(ValueError, match=r"takes more than 0 s or 512 MiB, as if it never ended"):
        limited(_loop)
    assert limited(sum, [1, 2]) == 3


def test_a_loop_in_another_thread_is_ended_while_others_go_on() -> None:
    with ThreadPoolExecutor(3) as threads:
        loops = [threads.submit(limited, _loop) for _ in range(2)]
        quick = threads.submit(lambda: [limited(str, number) for number in range(20_000)][-1])
        assert quick.result() == "19999"
        assert [type(loop.exception()) for loop in loops] == [EndlessError] * 2


def test_memory_that_grows_without_end_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SECONDS", 60.0)
    monkeypatch.setattr(limits, "MOST_BYTES", 200 * 1024**2)
    with pytest.raises(ValueError, match="takes more than"):
        limited(_grow)


def test_memory_that_another_thread_takes_is_not_held_against_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_BYTES", 1024**2)
    held: list[bytes] = []
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(limited, time.sleep, 0.3)
        while not waiting.done():
            held.append(b"x" * 1024**2)
            time.sleep(0.01)
        waiting.result()


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'ab' * 1000000 }}",
        "{{ [0] * 10000000 }}",
        "{{ 10000000 * 'a' }}",
        "{{ '%09999999d' % 1 }}",
        "{{ 'a'.replace('a', 'b' * 9999).replace('b', 'c' * 9999) }}",
        "{{ ('a' * 9999) | replace('a', 'b' * 9999) }}",
        "{{ ('b' * 9999).join('a' * 9999) }}",
        "{{ ('a' * 9999) | join('b' * 9999) }}",
        "{{ [1] | tojson(indent=1000000000) }}",
        "{{ 'a'.center(1000000000) }}",
        "{{ lipsum(n=100000000) }}",
        "{{ 9 ** 9 ** 9 }}",
    ],
)
def test_what_grows_without_end_in_one_step_is_refused_at_once(template: str) -> None:
    with pytest.raises(TemplateError):
        BoundedSandbox(undefined=StrictUndefined).from_string(template).render()


def test_what_chat_templates_do_is_allowed() -> None:
    template = "{{ '-' * 3 }}{{ ['a'] * 2 }}{{ 7 % 2 }}{{ ','.join('ab') }}{{ [1] | tojson(indent=4) }}{{ 'a'|join }}"
    assert BoundedSandbox().from_string(template).render() == "---['a', 'a']1a,b[\n    1\n]a"


def test_waiting_is_not_held_against_a_call() -> None:
    limited(time.sleep, 0.5)


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
def test_what_a_call_raises_is_raised(error: type[BaseException]) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(error):
        limited(fail)


def test_nothing_arrives_after_a_call_that_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that end at about the moment at which they would be ended."""
    monkeypatch.setattr(limits, "SECONDS", 0.005)
    monkeypatch.setattr(limits, "_LOOK_EVERY", 0.001)

    def busy(seconds: float) -> bool:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass
        return True

    ended = []
    for step in range(100):
        try:
            ended.append(limited(busy, 0.004 + step * 0.00004))
        except ValueError:
            ended.append(False)
        sum(range(1_000))
    assert True in ended


def test_a_process_that_was_forked_watches_for_itself() -> None:
    limited(str, 1)
    child = os.fork()
    if child == 0:
        try:
            limited(_loop)
        except ValueError:
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_there_is_one_watcher() -> None:
    limited(str, 1)
    limited(str, 2)
    assert [thread.name for thread in threading.enumerate()].count("limits") == 1


def test_a_call_costs_microseconds() -> None:
    def seconds(call: Callable[[], object]) -> float:
        begun = time.thread_time()
        for _ in range(5_000):
            call()
        return time.thread_time() - begun

    assert min(seconds(lambda: limited(int)) for _ in range(3)) / 5_000 < 50e-6
