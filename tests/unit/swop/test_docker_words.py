"""What Docker says, in our words: its errors, and the output of a build; without Docker."""

from typing import Any

import docker.errors
import pytest
import requests

from services.swop.adapters.docker_build import LONGEST_LINE, BuildError, BuildOutput
from services.swop.adapters.docker_errors import (
    LONGEST,
    EngineUnreachableError,
    sentence,
    translate,
)

WORDS = {
    "driver failed programming external connectivity on endpoint n (0f): "
    "Bind for 0.0.0.0:30305 failed: port is already allocated": "port 30305 of this host is in use",
    "Error starting userland proxy: listen tcp4 0.0.0.0:16000: bind: "
    "address already in use": "port 16000 of this host is in use",
    "failed to set up container networking: Address already in use": "IP address is in use",
    'invalid mount config for type "bind": '
    "bind source path does not exist: /a b": "mount source /a b is missing",
    'could not select device driver "" with capabilities: [[gpu]]': "no NVIDIA GPUs",
    "No such image: user-env:latest": "image user-env:latest is not on this host",
    "network host-1-net not found": "network host-1-net is missing",
    'OCI runtime create failed: exec: "pyton3": executable file not found': "program pyton3 cannot",
    "pull access denied for x/y, repository does not exist": "image x/y may not be pulled",
    "write /var/lib/docker/tmp/x: no space left on device": "this host's disk is full",
    "socket-proxy: HostConfig.Privileged is not allowed": "proxy refused: HostConfig.Privileged",
    "socket-proxy: bind source path does not exist: /x": "mount source /x is missing",
    "something\nelse  entirely": "Docker refused: something else entirely",
}


@pytest.mark.parametrize("index", range(len(WORDS)))
def test_sentences(index: int):
    said, expected = list(WORDS.items())[index]
    assert expected in sentence(said)
    assert "\n" not in sentence(said)


def test_sentences_are_bounded():
    assert len(sentence("x" * 10_000)) == LONGEST + len("Docker refused: ")
    assert len(sentence("network " + "x" * 10_000 + " not found")) <= LONGEST + 20


def _api_error(status: int, explanation: str) -> docker.errors.APIError:
    response = requests.Response()
    response.status_code = status
    return docker.errors.APIError("x", response=response, explanation=explanation)


def test_who_is_to_blame():
    url = "unix:///s"
    down = _api_error(503, "socket-proxy: Docker does not answer at /s: Connection refused")
    assert isinstance(translate(down, url), EngineUnreachableError)
    assert not isinstance(translate(_api_error(409, "Conflict."), url), EngineUnreachableError)
    stuck = translate(requests.exceptions.ReadTimeout(), url)
    assert isinstance(stuck, EngineUnreachableError)
    assert "stuck" in str(stuck)
    broken = requests.exceptions.ConnectionError(("Connection aborted.", ConnectionResetError()))
    assert isinstance(translate(broken, url), EngineUnreachableError)
    full = translate(OSError(28, "No space left on device", "/logs/x"), url)
    assert str(full) == "on this host: No space left on device: /logs/x"
    old = translate(docker.errors.InvalidVersion("API versions below 1.24 are no longer"), url)
    assert "this Docker is too old" in str(old)


def _build(*messages: dict[str, Any]) -> tuple[BuildOutput, list[str]]:
    lines: list[str] = []
    output = BuildOutput(lines.append)
    for message in messages:
        output.take(message)
    return output, lines


def test_output_of_a_build():
    output, lines = _build(
        {"stream": "Step 1/2 : FROM x"}, {"stream": "\n"},
        {"status": "Pulling", "progressDetail": {}},
        {"status": "Downloading", "progressDetail": {"current": 1}},
        {"stream": " ---> abc\nStep 2/2 : RUN a \\\n  b\n"},
        {"stream": "par"}, {"stream": "tial\r\n"},
        {"aux": {"ID": "sha256:1"}},
    )  # fmt: skip
    output.finish()
    assert lines == [
        "Step 1/2 : FROM x", "Pulling", " ---> abc", "Step 2/2 : RUN a \\", "  b", "partial",
    ]  # fmt: skip


def test_a_failed_step_is_named_with_its_last_lines():
    with pytest.raises(BuildError) as raised:
        _build(
            {"stream": "Step 3/9 : RUN pip install --upgrade   x.whl && " + "y" * 200 + "\n"},
            *({"stream": f"line {n}\n"} for n in range(20)),
            {"errorDetail": {"code": 3, "message": "m"}, "error": "returned a non-zero code: 3"},
        )
    text = str(raised.value)
    assert text.startswith("build failed at step 3/9 (RUN pip install --upgrade x.whl && y")
    assert text.endswith(
        "…): ended with code 3; last lines: line 15 | line 16 | line 17 | line 18 | line 19"
    )
    assert len(text) <= LONGEST
    assert raised.value.step.startswith("3/9 : RUN pip")


def test_a_failure_without_a_code_keeps_dockers_words():
    with pytest.raises(BuildError, match=r"at step 2/2 \(COPY x /\): COPY failed: no x"):
        _build({"stream": "Step 2/2 : COPY x /\n"}, {"error": "COPY failed: no x"})
    with pytest.raises(BuildError, match="at its start: BuildSteps are wrong"):
        _build({"error": "dockerfile parse error on line 1: unknown instruction: FROMM"})


def test_lines_without_end_are_broken():
    _, lines = _build(
        *({"stream": "x" * 1000} for _ in range(100)), {"stream": "y" * 10_000 + "\n"}
    )
    assert max(map(len, lines)) == LONGEST_LINE
    assert "".join(lines) == "x" * 100_000 + "y" * 10_000


def test_a_build_that_broke_off():
    output, _ = _build({"stream": "Step 1/2 : FROM x\n"})
    with pytest.raises(BuildError, match=r"broke off at step 1/2 \(FROM x\)"):
        output.finish()
