"""SWCI and SWOP as the emulated run scripts start them: prompts, pipes, the image of SL."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.conftest import why_not
from tests.containers.contract_host import NEEDED, PATIENCE, Host
from tests.containers.hpe_scripts import Started, docker

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2400)]

RUNNER = "defaulttaskbb.taskdb.sml.hpe"
PROFILE = """\
groupname: {mark}
taskrunner: defaulttaskbb.taskdb.sml.hpe
policyuri: ~
resourcemgr: {{mgrtype: DOCKER, accessinfo: {{accesstype: FROMENV}}}}
network: {mark}
apls: {{locator: {{host: {mark}-license, port: ~}}}}
apisrv: {{locator: {{host: ~, port: ~, service: ~}}}}
envvars: ~
nodes:
  - slnodedef:
      idx: 0
      identity:
        - attribute: {{aType: KEY, mType: BIND, src: {certs}/sl-1-key.pem, tgt: /id/key.pem}}
        - attribute: {{aType: CERT, mType: BIND, src: {certs}/sl-1-cert.pem, tgt: /id/cert.pem}}
        - attribute: {{aType: CAPATH, mType: BIND, src: {certs}/ca/capath, tgt: /id/capath}}
      slhostname: {mark}-sl
      slenvvars: ~
      privatedata: ~
      usrhostname: {mark}-ml
      usrenvvars: ~
"""
BUILD = """\
Name: {mark}_build
TaskType: MAKE_USER_CONTAINER
Author: test
Prereq: ROOTTASK
Outcome: {mark}-ml
Body: {{BuildContext: ~, BuildType: INLINE, BuildSteps: ["FROM {image}"]}}
"""
RUN = """\
Name: {mark}_run
TaskType: RUN_SWARM
Author: test
Prereq: {mark}_build
Outcome: {mark}_run
Body: {{Command: "-c pass", Entrypoint: python3, WorkingDir: /tmp, Envvars: ~,
       PrivateContent: ~, SharedContent: ~}}
"""
SCRIPT = """\
EXIT ON FAILURE
WAIT FOR IP {mark}-sn1
CREATE CONTEXT t WITH IP {mark}-sn1
SWITCH CONTEXT t
CREATE TASK FROM build.yaml
FINALIZE TASK {mark}_build
CREATE TASK FROM run.yaml
FINALIZE TASK {mark}_run
ASSIGN TASK {mark}_build TO {runner} WITH 1 PEERS
WAIT FOR TASKRUNNER {runner}
RESET TASKRUNNER {runner}
ASSIGN TASK {mark}_run TO {runner} WITH 1 PEERS
WAIT FOR TASKRUNNER {runner}
GET TASKRUNNER STATUS {runner}
EXIT
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory) -> Iterator[Host]:
    if reason := why_not(NEEDED):
        pytest.skip(f"CONTAINER TESTS DID NOT RUN: {reason}")
    made = Host(tmp_path_factory.mktemp("contract"))
    try:
        made.start_license()
        made.start_sn("sn1")
        yield made
    finally:
        made.clear()


class Terminal:
    """`docker attach` at a terminal."""

    def __init__(self, container: str) -> None:
        self._end, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self._process = subprocess.Popen(
            ["docker", "attach", container], stdin=child, stdout=child, stderr=child
        )
        os.close(child)
        self.text = ""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                part = os.read(self._end, 4096)
            except OSError:
                return
            self.text += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", part.decode(errors="replace"))

    def until(self, words: str) -> None:
        """Wait until words are on the screen."""
        deadline = time.monotonic() + PATIENCE
        while words not in self.text:
            assert time.monotonic() < deadline, f"{words!r} not in {self.text!r}"
            time.sleep(0.05)

    def type(self, text: str) -> None:
        """As a user does."""
        os.write(self._end, text.encode())

    def exit_code(self) -> int:
        """Wait until `docker attach` has ended."""
        return self._process.wait(PATIENCE)


def gone(container: str) -> bool:
    return "No such object" in docker("inspect", container, check=False)


def test_swci_attached_at_a_terminal(host: Host, tmp_path: Path):
    """Script, prompt, Ctrl-C, EXIT; then the container is gone, as run-swci wants it."""
    (tmp_path / "swci-init").write_text(f"WAIT FOR IP {host.name('sn1')}\nPWD\n")
    swci = host.at_terminal.run_swci(*host.common("swci", "swci1"), "--usr-dir", str(tmp_path))
    try:
        host.until_line(swci.id, "/platform/swarm/usr")
        terminal = Terminal(swci.id)
        terminal.until("SWCI:2 >")  # at once, because the terminal has a size now
        terminal.type("\x03")
        terminal.type(f"CREATE CONTEXT c WITH IP {host.name('sn1')}\r")
        terminal.until("CONTEXT CREATED : c")
        terminal.until("SWCI:3 >")
        terminal.type("EXIT\r")
        assert terminal.exit_code() == 0
        host.until(lambda: gone(swci.id), "it is removed")
    finally:
        host.remove(swci.id)


def test_swci_without_a_terminal_reads_lines(host: Host):
    """Stdin is open, as the scripts leave it, and nobody is attached yet."""
    swci = host.scripts.run_swci(*host.common("swci", "swci2"))
    try:
        host.until(lambda: host.state(swci.id, "Running") == "true", "it runs")
        done = subprocess.run(
            ["docker", "attach", swci.id], input="PWD\nEXIT\n", capture_output=True, text=True,
            timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "/platform/swarm/usr" in done.stdout
        host.until(lambda: gone(swci.id), "it is removed")
    finally:
        host.remove(swci.id)


@pytest.mark.parametrize("tty", [True, False])
def test_swci_ends_on_sigterm(host: Host, tty: bool):
    scripts = host.at_terminal if tty else host.scripts
    swci = scripts.run_swci(*host.common("swci", f"swci{tty:d}"), "--rm=false")
    try:
        host.until(lambda: "SWCI NODE" in host.logs(swci.id) or "#" in host.logs(swci.id), "banner")
        host.stop(swci.id)
        assert host.exit_code(swci.id) == 0, host.logs(swci.id)
    finally:
        host.remove(swci.id)


@pytest.fixture
def swop(host: Host, tmp_path: Path) -> Iterator[tuple[Started, Path]]:
    usr = tmp_path / "usr"
    usr.mkdir()
    values = {
        "mark": host.mark, "certs": host.certs, "image": host.scripts.image("swci"),
        "runner": RUNNER,
    }  # fmt: skip
    texts = {"profile.yaml": PROFILE, "build.yaml": BUILD, "run.yaml": RUN, "script": SCRIPT}
    for name, text in texts.items():
        (usr / name).write_text(text.format(**values))
    started = host.scripts.run_swop(
        *host.common("swop", "swop"), "--usr-dir", str(usr), "--profile-file-name", "profile.yaml",
        "--sn-ip", host.name("sn1"), "-e", "SWOP_KEEP_CONTAINERS=True",
    )  # fmt: skip
    try:
        yield started, usr
    finally:
        host.stop(started.id)
        host.remove(started.id)


def test_swop_takes_the_image_of_sl_from_the_info_file(host: Host, swop: tuple[Started, Path]):
    """Under HPE's names; the user's program ends without a swarm session, which is no failure."""
    container, usr = swop
    host.until_line(container.id, "API-Server is UP!")
    log = host.logs(container.id)
    assert "swarm.swop : INFO : SL Nodes validation is started" in log
    assert f"Attempting to contact API-Server at : {host.name('sn1')}:30304" in log
    swci = host.scripts.run_swci(
        *host.common("swci", "swci3"), "--usr-dir", str(usr), "--init-script-name", "script",
        "--rm=false",
    )  # fmt: skip
    try:
        code = host.exit_code(swci.id)
        assert code == 0, host.logs(swci.id) + host.logs(container.id)
        assert "TASK_STATE : COMPLETE" in host.logs(swci.id)
    finally:
        host.remove(swci.id)
    log = host.logs(container.id)
    assert "Extracted container id and image info from /tmp/container_info_file file" in log
    assert f"SWOPRunTask: SL Image Name : {host.scripts.image('sl')}" in log
    assert host.stops_in_time(container.id)
    assert host.exit_code(container.id) == 0
