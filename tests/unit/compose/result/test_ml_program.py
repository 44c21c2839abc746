"""What the ML program's runner says of a program's end."""

from compose.result.ml_program import how_it_ended, memory_limit, oom_kills


def test_how_a_program_ended():
    assert how_it_ended(1, "", "boom") == "ended with exit code 1: boom"
    assert how_it_ended(-15, "", "") == "was killed by SIGTERM"
    assert how_it_ended(-9, "64 MiB", "x") == (
        "was killed, out of memory: its limit is 64 MiB (ML_MEMORY)"
    )


def test_what_the_kernel_counts():
    assert oom_kills("low 0\noom 3\noom_kill 2\noom_group_kill 0\n") == 2
    assert oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n") == 1
    assert oom_kills("") == 0
    assert memory_limit("67108864\n") == "64 MiB"
    assert memory_limit("max\n") == "the host's memory"
