"""Signals before a service is ready for them, and threads that outlive it."""

import signal
import subprocess
import sys

import pytest

EARLY = """
import signal, sys
from services.common.early import end_on_signals
end_on_signals()
print("listening", flush=True)
signal.pause()
"""
RUN = """
import asyncio, sys, threading, time
from services.common import logs, process
from services.common.errors import RemoteError
async def main():
    if "thread" in sys.argv:
        asyncio.get_running_loop().run_in_executor(None, time.sleep, 3600)
    if "fail" in sys.argv:
        raise RemoteError("it is broken")
    print("ready", flush=True)
    try:
        await asyncio.sleep(3600)
    finally:
        if "slow" in sys.argv:
            print("cleaning", flush=True)
            await asyncio.sleep(3600)
logs.configure()
process.run("SL", main, "swarm.startSL", ["-x", "y\\n"])
"""


def start(code: str, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def until(process: "subprocess.Popen[str]", words: str) -> None:
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(process.stderr.read())


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_start(sent: signal.Signals):
    with start(EARLY) as process:
        until(process, "listening")
        process.send_signal(sent)
        assert process.wait(30) == 0
        assert (
            process.stderr.read().strip().endswith(f"{sent.name} received during the start, ending")
        )


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("words", [(), ("thread",)], ids=["plain", "thread-that-never-returns"])
def test_told_to_stop_is_no_failure(sent: signal.Signals, words: tuple[str, ...]):
    with start(RUN, *words) as process:
        until(process, "ready")
        process.send_signal(sent)
        assert process.wait(30) == 0


def test_a_second_signal_ends_it_at_once():
    with start(RUN, "slow") as process:
        until(process, "ready")
        process.send_signal(signal.SIGTERM)
        until(process, "cleaning")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM


@pytest.mark.parametrize("words", [("fail",), ("fail", "thread")])
def test_an_error_is_a_line_and_a_code_even_if_a_thread_hangs(words: tuple[str, ...]):
    with start(RUN, *words) as process:
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 3
    lines = out.splitlines()
    assert lines[0].endswith("swarm.startSL : WARNING : SL ignores the arguments '-x y\\n'")
    assert lines[1].endswith("swarm.startSL : ERROR : Exiting SL. Reason: it is broken")
