"""Buckets of tokens: what one sender may have, whatever it does and whatever others do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivewire import limits
from hivewire_service import quota
from hivewire_service.quota import BURST_S, COST_BYTES, Quotas, cost_of

RATES = st.floats(0.5, 10_000.0)
STEPS = st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(1.0, 60.0)), max_size=60)
"""Seconds since the message before, and what this one costs."""


@given(RATES, STEPS)
def test_no_time_sees_more_than_the_rate_and_one_burst(rate: float, steps: list[tuple[float, float]]) -> None:
    quotas, now_s, allowed = Quotas(rate), 0.0, []
    for pause_s, cost in steps:
        now_s += pause_s
        if not quotas.take("eve", now_s, cost):
            allowed.append((now_s, cost))
    burst = max(1.0, rate * BURST_S)
    for first, (begun_s, _) in enumerate(allowed):
        spent = 0.0
        for at_s, cost in allowed[first:]:
            # The last one of any stretch may leave a debt.
            assert spent <= burst + rate * (at_s - begun_s) + 1e-6 * (1 + spent)
            spent += cost


@given(RATES, st.lists(st.floats(1.0, 3.0), max_size=60))
def test_who_keeps_to_the_rate_is_never_refused(rate: float, pauses: list[float]) -> None:
    quotas, now_s = Quotas(rate), 0.0
    for factor in pauses:
        now_s += factor / rate
        assert quotas.take("ann", now_s) == 0.0


@given(RATES, STEPS)
def test_who_waits_as_long_as_he_is_told_is_allowed(rate: float, steps: list[tuple[float, float]]) -> None:
    quotas, now_s = Quotas(rate), 0.0
    for pause_s, cost in steps:
        now_s += pause_s
        wait_s = quotas.take("ann", now_s, cost)
        if wait_s:
            now_s += wait_s + 1e-6 * (1 + now_s)
            assert quotas.take("ann", now_s, cost) == 0.0


@pytest.mark.parametrize("per_second", [5_000, 3_000])
@pytest.mark.parametrize("hiccup_s", [0.0, 1.0, 2.0])
def test_heavy_use_is_not_touched(per_second: int, hiccup_s: float) -> None:
    """A busy client, a busy agent, for twenty seconds, also if what they send is held up amid them."""
    quotas = Quotas(limits.COMMANDS_PER_SECOND)
    sent_s = (number / per_second for number in range(20 * per_second))
    stored_s = (max(at_s, 10.0 + hiccup_s) if at_s >= 10.0 else at_s for at_s in sent_s)
    assert not any(quotas.take("busy", at_s, cost_of(700)) for at_s in stored_s)


@given(STEPS)
def test_others_are_not_touched(steps: list[tuple[float, float]]) -> None:
    alone, beside, now_s = Quotas(5.0), Quotas(5.0), 0.0
    for pause_s, cost in steps:
        now_s += pause_s
        for _ in range(20):
            beside.take("eve", now_s)
        assert alone.take("ann", now_s, cost) == beside.take("ann", now_s, cost)


def test_those_that_are_refused_do_not_come_back_at_once() -> None:
    quotas = Quotas(100.0, burst=1)
    assert quotas.take("ann", 0.0) == 0.0
    assert [quotas.take("ann", 0.0) for _ in range(4)] == pytest.approx([0.01, 0.02, 0.03, 0.04])
    waits = [quotas.take("ann", 0.0) for _ in range(10_000)]
    assert max(waits) == limits.RETRY_AFTER_S_MAX


def test_a_message_larger_than_the_bucket_is_allowed_and_paid_for() -> None:
    quotas = Quotas(1.0)
    assert quotas.take("ann", 0.0, cost_of(1024 * 1024)) == 0.0
    assert quotas.take("ann", 0.0) == pytest.approx(1 + 65 - BURST_S)


def test_large_messages_cost_more() -> None:
    assert [cost_of(size) for size in (0, COST_BYTES - 1, COST_BYTES, 10 * COST_BYTES)] == [1, 1, 2, 11]


def test_a_time_before_the_last_begins_anew() -> None:
    quotas = Quotas(1.0, burst=1)
    assert quotas.take("ann", 100.0) == 0.0
    assert quotas.take("ann", 100.0) > 0.0
    assert quotas.take("ann", 50.0) == 0.0
    assert quotas.take("ann", 50.0) > 0.0


def test_only_so_many_senders_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota, "SENDERS_MAX", 3)
    quotas = Quotas(1.0, burst=1)
    for sender in ("a", "b", "c"):
        assert quotas.take(sender, 0.0) == 0.0
    assert quotas.take("a", 0.0) > 0.0
    assert quotas.take("d", 0.0) == 0.0
    assert len(quotas._buckets) == 3
    assert quotas.take("a", 0.0) > 0.0
    assert quotas.take("b", 0.0) == 0.0  # it was quiet for the longest time
