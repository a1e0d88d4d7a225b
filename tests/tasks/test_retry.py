from hypothesis import given
from hypothesis import strategies as st

from seawall.tasks.retry import Retry


@given(st.integers(1, 10_000))
def test_delays_double_with_jitter_up_to_a_cap(failures: int) -> None:
    full = min(300.0, 2.0 ** min(failures - 1, 60))
    assert full / 2 <= Retry().delay(failures) <= full


def test_jobs_that_failed_together_do_not_come_back_together() -> None:
    assert len({Retry().delay(3) for _ in range(50)}) > 40
