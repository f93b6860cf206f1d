import pytest

from selftaught_assets.judge.guards import BearerToken, RateLimit


def test_the_token_is_admitted_and_nothing_else() -> None:
    token = BearerToken("geheim")
    assert token.admits(b"Bearer geheim")
    assert token.admits(b"bearer geheim")
    for wrong in (b"", b"geheim", b"Bearer", b"Bearer ", b"Bearer geheim2", b"Basic geheim", b"Bearer \xff", b"\xff"):
        assert not token.admits(wrong)


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_let_through_then_so_many_a_second() -> None:
    clock = _Clock()
    limit = RateLimit(rate=2.0, burst=3, clock=clock)
    assert [limit.seconds_to_wait("one") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    clock.now += 0.25
    assert limit.seconds_to_wait("one") == pytest.approx(0.25)
    clock.now += 0.25
    assert [limit.seconds_to_wait("one") for _ in range(2)] == [0.0, 0.5]


def test_clients_do_not_pay_for_each_other() -> None:
    limit = RateLimit(rate=1.0, burst=1, clock=_Clock())
    assert [limit.seconds_to_wait(client) for client in ("one", "two", "one")] == [0.0, 0.0, 1.0]


def test_memory_for_clients_is_bounded() -> None:
    limit = RateLimit(rate=1.0, burst=1, clock=_Clock())
    for client in range(20_000):
        limit.seconds_to_wait(str(client))
    assert len(limit._buckets) == 10_000
    assert limit.seconds_to_wait("19999") == 1.0
