import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.errors import Hinted
from seawall.policies.gcra import SECOND, Limiter, Rate, Table

RATES = st.builds(
    lambda count, word, burst: Rate.parse(f"{count}/{word} burst {burst}"),
    st.integers(1, 50),
    st.sampled_from(["second", "minute", "hour", "day"]),
    st.integers(1, 50),
)


@pytest.mark.parametrize(
    ("text", "count", "period", "burst", "window"),
    [
        ("100/minute", 100, 60, 100, 60),
        ("10/second burst 20", 10, 1, 20, 2),
        ("5/hour burst 1", 5, 3600, 1, 720),
        ("1/day", 1, 86_400, 1, 86_400),
        ("10/second burst 5", 10, 1, 5, 1),
    ],
)
def test_a_rate_is_read(text: str, count: int, period: int, burst: int, window: int) -> None:
    rate = Rate.parse(text)
    assert (rate.count, rate.period, rate.burst, rate.window) == (count, period, burst, window)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("100/min", "did you mean '100/minute'?"),
        ("100/Minute", "did you mean '100/minute'?"),
        ("5/sec burst 3", "did you mean '5/second burst 3'?"),
        ("5/hours", "did you mean '5/hour'?"),
        ("100 per minute", "write '100/minute'"),
        ("100/minute burst", "write '100/minute'"),
        ("100/minute  burst 5", "write '100/minute'"),
        ("100/minute burst 5 ", "write '100/minute'"),
        ("-1/minute", "write '100/minute'"),
        ("1.5/minute", "write '100/minute'"),
        ("\u0661/minute", "write '100/minute'"),
        ("", "write '100/minute'"),
        ("0/minute", "count from 1"),
        ("5/minute burst 0", "count from 1"),
        ("2000000/second", "stay below"),
    ],
)
def test_anything_else_is_refused_with_the_right_spelling(text: str, hint: str) -> None:
    with pytest.raises(Hinted) as error:
        Rate.parse(text)
    assert hint in error.value.hint


def test_the_burst_at_once_then_one_an_interval() -> None:
    limiter = Limiter([Rate.parse("2/second burst 3")], 10)
    assert [limiter.hit("a", 0) for _ in range(5)] == [True, True, True, False, False]
    assert not limiter.hit("a", SECOND // 2 - 1)
    assert limiter.hit("a", SECOND // 2)
    assert not limiter.hit("a", SECOND // 2)
    # A long rest earns the burst again, and not more.
    assert [limiter.hit("a", 100 * SECOND) for _ in range(4)] == [True, True, True, False]


def test_clients_are_counted_apart() -> None:
    limiter = Limiter([Rate.parse("1/hour")], 10)
    assert limiter.hit("a", 0)
    assert limiter.hit("b", 0)
    assert not limiter.hit("a", 0)


def test_what_one_rate_refuses_costs_nothing_at_the_other() -> None:
    hourly, fast = Rate.parse("3/hour"), Rate.parse("1/second")
    limiter = Limiter([hourly, fast], 10)
    assert [limiter.hit("a", 0) for _ in range(9)] == [True] + 8 * [False]
    assert hourly.standing(limiter.ahead("a", 0)[0])[0] == 2
    assert [limiter.hit("a", n * SECOND) for n in (1, 2, 3)] == [True, True, False]


@given(
    rate=RATES,
    gaps=st.lists(st.integers(0, 3 * SECOND), min_size=1, max_size=200),
)
def test_it_is_the_token_bucket_that_everyone_knows(rate: Rate, gaps: list[int]) -> None:
    """Beside a bucket of ``burst`` tokens that is refilled one an interval, in exact numbers."""
    limiter = Limiter([rate], 10)
    tokens = full = rate.burst * rate.interval
    now = 0
    for gap in gaps:
        now += gap
        tokens = min(full, tokens + gap)
        left, more = rate.standing(limiter.ahead("a", now)[0])
        assert left == tokens // rate.interval
        assert more == (0 if tokens == full else rate.interval - tokens % rate.interval)
        passed = limiter.hit("a", now)
        assert passed is (tokens >= rate.interval)
        tokens -= rate.interval if passed else 0


@given(rate=RATES, gaps=st.lists(st.integers(0, SECOND), min_size=1, max_size=100))
def test_whoever_waits_as_told_is_served(rate: Rate, gaps: list[int]) -> None:
    limiter = Limiter([rate], 10)
    now = 0
    for gap in gaps:
        now += gap
        if not limiter.hit("a", now):
            _, more = rate.standing(limiter.ahead("a", now)[0])
            assert not limiter.hit("a", now + more - 1)
            now += more
            assert limiter.hit("a", now)


@given(
    size=st.integers(2, 20),
    asked=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2 * SECOND)), max_size=300),
)
def test_the_table_is_bounded_and_forgets_only_when_it_must(
    size: int, asked: list[tuple[int, int]]
) -> None:
    rate = Rate.parse("1/second burst 3")
    small, vast = Limiter([rate], size), Limiter([rate], 10**6)
    now, seen = 0, set[str]()
    for client, gap in asked:
        now += gap
        seen.add(f"{client}")
        passed = small.hit(f"{client}", now)
        assert len(small.table) <= size
        reference = vast.hit(f"{client}", now)
        if len(seen) <= size // 2:
            assert passed == reference
        elif reference:
            # To forget is to be generous, never to refuse.
            assert passed


def test_an_active_client_is_remembered_through_a_flood_of_others() -> None:
    limiter = Limiter([Rate.parse("5/hour")], 100)
    for _ in range(5):
        limiter.hit("busy", 0)
    for other in range(10_000):
        limiter.hit(f"{other}", 0)
        if other % 10 == 0:
            assert not limiter.hit("busy", 0)


def test_what_has_run_out_is_dropped_without_a_flood() -> None:
    limiter = Limiter([Rate.parse("1/second")], 1000)
    for client in range(300):
        limiter.hit(f"{client}", client * 10 * SECOND)
    assert len(limiter.table) <= 4


def test_distinct_clients_without_end_take_no_more_memory_than_the_table_allows() -> None:
    limiter = Limiter([Rate.parse("100/minute")], 10_000)
    tracemalloc.start()
    try:
        for client in range(100_000):
            limiter.hit(f"client {client}", client)
        early, _ = tracemalloc.get_traced_memory()
        for client in range(100_000, 300_000):
            limiter.hit(f"client {client}", client)
        late, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert late < early * 1.5
    assert peak < 10_000 * 600


def test_a_table_of_one_still_works() -> None:
    table = Table(1, [Rate.parse("1/second")])
    table.add("a", [1], 0)
    table.add("b", [2], 0)
    assert table.get("b", 0) == [2]
    assert table.get("c", 0) is None
