"""A user's program, as good or bad as told: `python fake_program.py BEHAVIOUR [INDEX]`."""

import os
import signal
import subprocess
import sys
from pathlib import Path


def wait_for_pipe() -> Path:
    path = Path(os.environ["SL_REQUEST_CHANNEL"])
    while not path.exists():
        signal.sigtimedwait([], 0.02)
    return path


def talk(*words: str) -> None:
    with wait_for_pipe().open("w") as pipe:
        for word in words:
            print(word, file=pipe, flush=True)


def main(behaviour: str, index: str) -> None:
    if behaviour == "crash-2":
        behaviour = "crash" if index == "2" else "ok"
    if behaviour == "crash":
        sys.exit("ValueError: the user's own bug")
    elif behaviour == "ok":
        talk("hello", "bye")
    elif behaviour == "no-train-end":
        talk("hello")
    elif behaviour == "hang":
        child = subprocess.Popen(["sleep", "1000"])
        Path(os.environ["SCRATCH_DIR"], "child").write_text(str(child.pid))
        with wait_for_pipe().open("w") as pipe:
            print("hello", file=pipe, flush=True)
            signal.pause()
    elif behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with wait_for_pipe().open("w") as pipe:
            print("hello", file=pipe, flush=True)
            while True:
                signal.pause()
    else:
        assert behaviour == "never-connects"


if __name__ == "__main__":
    main(*sys.argv[1:])
