"""The checks of a host: facts in, findings out; and what the arguments mean."""

import json
import os
import socket
from pathlib import Path

import pytest

from compose.images import catalogue
from compose.operate import collect_host, preflight, preflight_checks, preflight_facts
from compose.operate.collect_host import VERSION
from compose.operate.preflight_checks import Docker, Image
from compose.operate.preflight_findings import FAIL, OK, WARN, Finding, exit_code, finding_of, table
from compose.operate.preflight_options import parse

GIB = 1 << 30


def levels(findings: list[Finding]) -> list[str]:
    assert all(bool(each.do) == (each.level != OK) for each in findings)
    return [each.level for each in findings]


@pytest.mark.parametrize(
    ("found", "expected", "do"),
    [
        (Docker("26.1.5", "28.2", "2.30.1"), [OK, OK], ""),
        (Docker("19.3.8", "19.3", ""), [FAIL, WARN], "install 20.10"),
        (Docker("26.1.5", "28.2", "2.19.0"), [OK, WARN], "2.20"),
        (
            Docker(error="permission denied while trying to connect"),
            [FAIL],
            "usermod -aG docker anna",
        ),
        (Docker(error="Cannot connect to the Docker daemon"), [FAIL], "systemctl start docker"),
        (Docker(error="no docker command: No such file"), [FAIL], "install Docker Engine"),
    ],
)
def test_docker(found: Docker, expected: list[str], do: str) -> None:
    findings = preflight_checks.docker(found, "anna")
    assert levels(findings) == expected
    assert do in " ".join(each.do for each in findings)


def test_images() -> None:
    here, old = Image("p/sn:1", True, "1", "a"), Image("p/sl:1", True, "0", "a")
    gone = Image("p/swop:1", False)
    assert levels(preflight_checks.images([here, gone], ["p/sn:1"])) == [OK]
    assert levels(preflight_checks.images([here, gone], ["p/swop:1"])) == [FAIL]
    assert levels(preflight_checks.images([here, old], ["p/sn:1"])) == [FAIL]
    assert levels(preflight_checks.images([here, Image("x", True, "1", "b")], [])) == [WARN]


def test_disk_memory_clock_selinux_leftovers_mtu() -> None:
    checks = preflight_checks
    found = [checks.disk("/x", free) for free in (None, GIB // 2, 2 * GIB, 50 * GIB)]
    assert levels(found) == [WARN, FAIL, WARN, OK]
    assert levels([checks.memory(m, {"sl": 3, "sn": 1}) for m in (None, 3 * GIB, 4 * GIB)]) == [
        WARN, WARN, OK,
    ]  # fmt: skip
    assert levels([checks.clock_kept(each) for each in (True, False, None)]) == [OK, WARN, WARN]
    assert levels([checks.security(False), checks.security(True)]) == [OK, WARN]
    assert levels([checks.leftovers(*x) for x in ((0, 0), (3, 1), (3, 0))]) == [OK, OK, WARN]
    assert levels([checks.mtu(*x) for x in ((1500, 1500), (1450, 1500), (0, 1500))]) == [
        OK,
        WARN,
        OK,
    ]


def test_proxies() -> None:
    hosts, proxy = ["sn.example", "10.0.0.1"], {"https_proxy": "http://a:b@p:1"}
    assert levels([preflight_checks.proxies({}, hosts)]) == [OK]
    caught = preflight_checks.proxies(proxy, hosts)
    assert levels([caught]) == [WARN]
    assert "set NO_PROXY=10.0.0.1,sn.example" in caught.do
    assert "a:b" not in caught.text + caught.do
    for exceptions in ("10.0.0.1, .example", "10.0.0.0/8,*.example", "*"):
        excepted = {**proxy, "no_proxy": exceptions}
        assert levels([preflight_checks.proxies(excepted, hosts)]) == [OK]


def test_names() -> None:
    resolved = preflight_checks.resolved
    assert levels([resolved("x", None), resolved("x", {"10.0.0.1"})]) == [FAIL, OK]
    assert levels([resolved("x", {"127.0.0.1"}, own=True), resolved("x", {"127.0.0.1"})]) == [
        WARN,
        OK,
    ]
    assert preflight_facts.addresses("nowhere.invalid") is None
    assert preflight_facts.addresses("127.0.0.1") == {"127.0.0.1"}


def test_a_port_that_is_taken_and_by_whom() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        finding = preflight_checks.port(number, preflight_facts.holder_of(number))
    assert levels([finding]) == [FAIL]
    assert f"(pid {os.getpid()})" in finding.text
    assert levels([preflight_checks.port(number, preflight_facts.holder_of(number))]) == [OK]


def test_the_table_and_its_json() -> None:
    findings = [
        Finding(OK, "a", "fine"),
        Finding(WARN, "bcd", "hm", "look"),
        Finding(FAIL, "e", "no", "act"),
    ]
    assert table(findings).splitlines() == [
        "ok    a    fine", "warn  bcd  hm", "           do: look", "FAIL  e    no",
        "           do: act",
        "", "1 ok, 1 to look at, 1 that would fail",
    ]  # fmt: skip
    assert [finding_of(each.as_json()) for each in findings] == findings
    assert (exit_code(findings), exit_code(findings[:2])) == (1, 0)
    for wrong in ({"level": "ok"}, {"level": "x", "subject": "", "text": "", "do": ""}):
        with pytest.raises(ValueError, match="no "):
            finding_of(wrong)


def test_options_are_those_of_run_sn_and_run_sl() -> None:
    sn = parse(
        ["--host-ip=10.0.0.2", "--sentinel-ip=10.0.0.1", "--sn-api-port=30314",
         "--sn-p2p-port=30313", "--apls-ip=10.0.0.9"], "", lambda _: "")  # fmt: skip
    assert (sn.role, sn.needs, sn.ports) == ("sn", {"sn": 1}, (30313, 30314))
    assert sn.addresses["sentinel"] == ("10.0.0.1:30304",)
    assert sn.addresses["p2p"] == ("10.0.0.1:30303",)
    assert sn.addresses["license"] == ("10.0.0.9:5814",)
    assert sn.hosts == ["10.0.0.1", "10.0.0.2", "10.0.0.9"]
    sl = parse(
        ["--cert=x", "--sn-api-service=api.sn.example", "--sn-api-port=1", "--sl-fs-port=30305",
         "--peer=b.example", "--needs=sl=4"], "", lambda _: "sl")  # fmt: skip
    assert (sl.role, sl.needs, sl.ports) == ("sl", {"sl": 4}, (30305,))
    assert sl.addresses["sn"] == ("api.sn.example:443",)
    assert sl.addresses["sl"] == ("b.example:30305",)
    assert sl.remote()[:2] == ["--role", "sl"]


def test_options_of_the_run_commands_that_it_does_not_look_at() -> None:
    license_server = parse(
        ["-d", "--wait", "--name=license1", "--license-port=5815", "-v", "a:/b", "-p", "8443:443",
         "--secondary-apls-ip=b", "--secondary-apls-port=5816", "--cmd", "x y"], "", lambda _: ""
    )  # fmt: skip
    assert (license_server.role, license_server.ports) == ("license", (5815, 8443))
    assert license_server.addresses["license"] == ("b:5816",)
    sl = parse(
        ["--ml-image=x", "--ml-name=ml1", "--ml-e=A=B", "--sl-fs-port=30305", "--network-alias=y",
         "--secondary-apls-port=1", "--publish=127.0.0.1:80:8080/tcp"], "", lambda _: "sl"
    )  # fmt: skip
    assert sl.ports == (80, 30305)


@pytest.mark.parametrize("words", [[], ["--role=x"], ["--role=sn", "--needs=x=1"],
                                   ["--role=sn", "--sn-api-prt=1"],
                                   ["--role=sn", "--publish=70000"]])  # fmt: skip
def test_arguments_that_will_not_do(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        preflight.main(words)
    assert ended.value.code == 2


def test_no_docker_is_said_and_the_rest_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert preflight.main(["--role=sn", "--json", "--host-ip=127.0.0.1"]) == 1
    found = {x["subject"]: x for x in json.loads(capsys.readouterr().out)}
    assert found["docker"]["level"] == FAIL
    assert found["docker"]["do"] == "install Docker Engine"
    assert found["name 127.0.0.1"]["level"] == WARN
    assert "memory" in found


def test_the_version_is_that_of_the_images() -> None:
    assert VERSION == catalogue.VERSION
    assert collect_host.our_version().startswith(VERSION)


@pytest.mark.parametrize(
    ("said", "text", "do"),
    [
        ("docker: Error response from daemon: No such image: our/tools:1.\n"
         "\nRun 'docker run --help' for more information\n", "image our/tools:1", "make images"),
        ("docker: Error response from daemon: network nonet not found.\n"
         "\nRun 'docker run --help' for more information\n", "no network nonet", "network create"),
        ("Traceback\nValueError: odd\n", "ValueError: odd", "tools"),
    ],
)  # fmt: skip
def test_why_the_tools_image_could_not_look(
    said: str, text: str, do: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    command = tmp_path / "docker"
    command.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{said}END\nexit 125\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(preflight, "_has_packages", lambda: False)
    assert preflight.main(["--role=sl", "--key=k", "--cert=c", "--json"]) == 1
    told = [each for each in json.loads(capsys.readouterr().out) if each["level"] == FAIL]
    [found] = [each for each in told if each["subject"] == "identity and swarm"]
    assert text in found["text"]
    assert do in found["do"]
