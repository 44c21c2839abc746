"""Slowing down who guesses, on a clock that the test turns."""

from hypothesis import given
from hypothesis import strategies as st

from services.license.core import throttle
from services.license.core.throttle import ADDRESS, FORGET_S, PAIR, USER, Throttle


def guess(made, times, now, user="admin", address="1.2.3.4"):
    """Guess as fast as allowed; the time after it."""
    for _ in range(times):
        wait = made.begin(user, address, now)
        if wait:
            now += wait
            assert made.begin(user, address, now) == 0
    return now


def test_the_first_are_free_then_it_doubles_up_to_a_limit():
    made = Throttle()
    now = guess(made, PAIR.free, 0.0)
    assert now == 0
    waits = []
    for _ in range(14):
        wait = made.begin("admin", "1.2.3.4", now)
        waits.append(wait)
        now += wait
        assert made.begin("admin", "1.2.3.4", now) == 0
    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == PAIR.longest_s


def test_a_refused_try_does_not_prolong_the_wait():
    made = Throttle()
    now = guess(made, PAIR.free, 0.0)
    assert [made.begin("admin", "1.2.3.4", now) for _ in range(100)] == [1.0] * 100


def test_many_at_once_gain_nothing():
    made = Throttle()
    granted = [made.begin("admin", "1.2.3.4", 0.0) for _ in range(100)].count(0.0)
    assert granted == PAIR.free


def test_success_forgives_the_pair():
    made = Throttle()
    guess(made, PAIR.free - 1, 0.0)
    assert made.begin("admin", "1.2.3.4", 0.0) == 0
    made.succeeded("Admin", "1.2.3.4")
    assert made.begin("admin", "1.2.3.4", 0.0) == 0


def test_a_good_password_of_ones_own_does_not_excuse_guesses_at_others():
    made = Throttle()
    now, granted = 0.0, 0
    for number in range(ADDRESS.free * 3):
        if made.begin("mallory", "1.2.3.4", now) == 0:
            made.succeeded("mallory", "1.2.3.4")
        granted += made.begin(f"victim{number}", "1.2.3.4", now) == 0
    assert granted == ADDRESS.free


def test_guesses_from_many_addresses_slow_down_but_do_not_shut_out():
    made = Throttle()
    for number in range(USER.free + 10):
        made.begin("admin", f"10.0.0.{number}", 0.0)
    assert 0 < made.begin("admin", "9.9.9.9", 0.0) <= USER.longest_s


def test_where_the_user_signed_in_before_nobody_elses_guesses_count():
    made = Throttle()
    made.begin("admin", "9.9.9.9", 0.0)
    made.succeeded("admin", "9.9.9.9")
    for number in range(USER.free + 10):
        made.begin("admin", f"10.0.0.{number}", 0.0)
    assert made.begin("admin", "9.9.9.9", 0.0) == 0


def test_it_is_forgotten_after_an_hour():
    made = Throttle()
    now = guess(made, 15, 0.0)
    assert made.begin("admin", "1.2.3.4", now) > 0
    assert guess(made, PAIR.free, now + FORGET_S) == now + FORGET_S


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(throttle, "MOST_KEYS", 50)
    made = Throttle()
    for number in range(500):
        made.begin(f"u{number}", f"10.0.{number // 250}.{number % 250}", 0.0)
        made.succeeded(f"v{number}", "1.1.1.1")
    assert len(made._counts) <= 50
    assert len(made._known) <= 50


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.floats(0, 5000), st.booleans())
    )
)
def test_nobody_waits_longer_than_the_limit(steps):
    made, now = Throttle(), 0.0
    for user, address, passed, right in steps:
        now += passed
        wait = made.begin(user, address, now)
        assert 0 <= wait <= PAIR.longest_s
        if wait == 0 and right:
            made.succeeded(user, address)
        elif wait:
            now += wait
            assert made.begin(user, address, now) == 0
