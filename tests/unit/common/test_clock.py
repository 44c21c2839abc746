import time

from services.common.clock import steady_time


def test_setting_the_clock_does_not_move_it(monkeypatch):
    before = steady_time()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert 0 <= steady_time() - before < 10


def test_it_began_as_the_wall_clock():
    assert abs(steady_time() - time.time()) < 60
