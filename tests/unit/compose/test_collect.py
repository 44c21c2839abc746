"""Which containers are taken, what the summary says, and what the archive is like."""

import hashlib
import json
import os
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from compose.authority import Authority
from compose.operate import collect, collect_run
from compose.operate.collect_bundle import Bundle
from compose.operate.collect_certs import certificates
from compose.operate.collect_redact import Redactor
from compose.operate.collect_select import kind_of, name_of, ours
from compose.operate.collect_summary import Node, last_errors, node_of, versions, write
from compose.operate.collect_texts import is_wanted

NOW = datetime(2026, 11, 26, 1, 2, 3, tzinfo=UTC)


def container(
    name: str, image: str = "x", labels: dict[str, str] | None = None, *volumes_from: str
) -> dict[str, Any]:
    return {
        "Id": name[::-1] * 3, "Name": f"/{name}", "Config": {"Image": image, "Labels": labels},
        "HostConfig": {"VolumesFrom": list(volumes_from) or None},
    }  # fmt: skip


def test_ours_are_found_by_image_label_project_and_volumes() -> None:
    project = {"com.docker.compose.project": "hospital"}
    retagged = {
        "swarm.sources": "1",
        "org.opencontainers.image.title": "Swarm Learning: License server",
    }
    everything = [
        container("sl1", "hub.example/hpe/swarm-learning/sl:2.3.0"),
        container("ml1", "my/user-env:1", None, "sl1:ro"),
        container("ml2", "my/user-env:1", None, ("sl1"[::-1] * 3)[:8]),
        container("apls", "renamed:1", {**retagged, **project}),
        container("db", "postgres:16", project),
        container("user-7", "env:1", {"swarm.role": "ML"}),
        container("mine", "my/training:2"),
        container("web", "nginx:1"),
        container("other", "swarm-learning-notes/app:1"),
    ]
    found = ours(everything, images=["my/training:2"])
    assert [name_of(each) for each in found] == sorted(
        ["apls", "db", "mine", "ml1", "ml2", "sl1", "user-7"]
    )
    kinds = {name_of(each): kind_of(each) for each in found}
    assert kinds == {"apls": "license", "db": "other", "mine": "other", "ml1": "ml", "ml2": "ml",
                     "sl1": "sl", "user-7": "ml"}  # fmt: skip
    assert [name_of(each) for each in ours(everything, names=["ml"])] == ["ml1", "ml2"]


def test_what_failed_and_why() -> None:
    state = {
        "Status": "exited",
        "ExitCode": 137,
        "OOMKilled": True,
        "StartedAt": "2026-11-26T01:00:00Z",
    }
    ended = node_of({"State": state, "RestartCount": 2}, "sl-1", "sl", {})
    ended.last_errors = last_errors(
        "fine\n2026 : ERROR : no memory\nfine\nExiting SL. Reason: x\nbye\n"
    )
    ended.certificates = ["cert.pem (SL-1) expires in 3 days: renew it"]
    text = write([ended, Node("sn-1", "sn", "running", "healthy", 0)], {"host": "h"},
                 ["ledger: no SN runs here"], {"PEM block": 2}, NOW, ["a note"])  # fmt: skip
    assert "exited, exit code 137, OUT OF MEMORY, 2 restarts" in text
    assert "    | 2026 : ERROR : no memory\n    | Exiting SL. Reason: x\n" in text
    assert "do: give it more memory" in text
    for line in (
        "sl-1: cert.pem (SL-1) expires in 3 days",
        "ledger: no SN",
        "2 x PEM block",
        "a note",
    ):
        assert line in text
    assert "sn-1: " not in text  # all is well with it


def test_ill_is_who_runs_and_does_not_answer() -> None:
    ill, ended = Node("a", "sl", "running", "unhealthy"), Node("b", "sl", "exited", "unhealthy", 0)
    assert (ill.failed, ill.verdict) == (True, "running, unhealthy")
    assert (ended.failed, ended.verdict) == (False, "exited, exit code 0")
    assert "does not answer on its port" in write([ill], {}, [], {}, NOW, [])


def test_versions_that_differ_are_told() -> None:
    nodes = [
        Node("a", "sn", version="0.1.0", sources="x"),
        Node("b", "sl", version="0.2.0", sources="x"),
    ]
    (line,) = versions(nodes)
    assert "0.1.0: a; 0.2.0: b" in line
    assert versions(nodes[:1]) == []


@pytest.mark.parametrize("rsa", [True, False])
def test_certificates_are_read_without_a_library(rsa: bool) -> None:
    start, end = NOW - timedelta(days=20), NOW + timedelta(days=10)
    authority = Authority.make("CA-9", start, end, use_rsa=rsa)
    issued = authority.issue("SL-3", start, end)
    ca, leaf = certificates(
        authority.issued.cert_pem() + b"noise\n" + issued.key_pem() + issued.cert_pem()
    )
    assert (ca.common_name, leaf.common_name) == ("CA-9", "SL-3")
    assert (leaf.not_before, leaf.not_after) == (start, end)
    assert leaf.verdict(NOW) == "expires in 10 days: renew it"
    assert leaf.verdict(NOW - timedelta(days=8)) == ""
    assert "expired on 2026-12-06" in leaf.verdict(NOW + timedelta(days=11))
    assert "not valid before" in leaf.verdict(NOW - timedelta(days=21))


def test_the_archive_is_private_and_safe_to_unpack(tmp_path: Path) -> None:
    redactor = Redactor(["hunter2hunter2"])
    bundle = Bundle(tmp_path / "swarm_logs_h_1.tar.gz", redactor)
    bundle.text("../../etc/passwd", "a")
    bundle.text("/abs/olute", "hunter2hunter2")
    bundle.json("containers/we ird\n/../inspect.json", {"Env": ["X_TOKEN=hunter2hunter2"]})
    bundle.part("a part", lambda: 1 // 0)
    bundle.close("summary")
    assert bundle.path.stat().st_mode & 0o777 == 0o600
    assert bundle.problems == ["a part: ZeroDivisionError: integer division or modulo by zero"]
    with tarfile.open(bundle.path) as archive:
        members = archive.getmembers()
        content = {m.name: archive.extractfile(m).read() for m in members}  # type: ignore[union-attr]
    assert all(m.isfile() and m.mode == 0o600 and not m.name.startswith("/") for m in members)
    assert all(
        ".." not in m.name.split("/") and m.name.startswith("swarm_logs_h_1/") for m in members
    )
    assert not any(b"hunter2" in each for each in content.values())
    manifest = json.loads(content.pop("swarm_logs_h_1/manifest.json"))["sha256"]
    digests = {n.partition("/")[2]: hashlib.sha256(c).hexdigest() for n, c in content.items()}
    assert manifest == digests


def test_no_file_of_the_archive_replaces_another(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path / "swarm_logs_h_1.tar.gz", Redactor(["hunter2hunter2"]))
    for name in ("sn1/log.txt", "sn1./log.txt", "SN1/log.txt", "a b", "a_b"):
        bundle.text(name, name)
    bundle.text("hunter2hunter2.txt", "x")
    bundle.close("summary")
    with tarfile.open(bundle.path) as archive:
        names = [each.partition("/")[2] for each in archive.getnames()]
    assert names == [
        "sn1/log.txt", "sn1/log-2.txt", "SN1/log-3.txt", "a_b", "a_b-2", "summary.txt",
        "manifest.json",
    ]  # fmt: skip
    assert bundle.problems == ["<removed>.txt was left out: a known secret was still in it"]


def test_an_archive_that_cannot_be_written_whole_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(self: tarfile.TarFile, member: tarfile.TarInfo, content: object = None) -> None:
        if member.name.endswith("host.json"):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    monkeypatch.setenv("PATH", "")
    assert collect.main(["--output", str(tmp_path)]) == 1
    assert "no archive was written: [Errno 28] No space left" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_still_holds_a_known_secret_is_left_out(tmp_path: Path) -> None:
    class Careless(Redactor):
        def text(self, text: str) -> str:
            return text

    bundle = Bundle(tmp_path / "swarm_logs_h_1.tar.gz", Careless(["hunter2hunter2"]))
    bundle.text("log.txt", "x hunter2hunter2 y")
    bundle.close("")
    assert bundle.problems == ["log.txt was left out: a known secret was still in it"]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("usr/swci/taskdefs/run.yaml", True), ("usr/swci-init", True), ("cert/sn-1-key.pem", False),
     ("usr/certs/readme.txt", False), ("usr/.env", False), ("usr/id_rsa", False),
     ("usr/data/patients.csv", False), ("usr/setup-code", False),
     ("usr/.docker/config.json", False)],
)  # fmt: skip
def test_files_that_are_looked_into(name: str, wanted: bool) -> None:
    assert is_wanted(name) == wanted


def test_a_run_folder_goes_in_without_its_keys(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "certs").mkdir(parents=True)
    (run / "logs").mkdir()
    now = datetime.now(UTC)
    issued = Authority.make("CA-1", now, now + timedelta(days=30), use_rsa=False).issue(
        "SL-1", now, now + timedelta(days=3)
    )
    issued.write(run / "certs" / "sl-1-key.pem", run / "certs" / "sl-1-cert.pem")
    key = issued.key_pem().decode()
    (run / "state.json").write_text(
        json.dumps({"nodes": [{"name": "sl-1", "state": "failed", "exit_code": 4}]})
    )
    (run / "ledger.json").write_text('{"round": 3}')
    (run / "logs" / "sl-1.log").write_text(
        "old\n" * 100_000 + f"ERROR : boom\n{key.splitlines()[1]}\n"
    )
    (run / "logs" / "leak.txt").symlink_to(run / "certs" / "sl-1-key.pem")
    bundle = Bundle(tmp_path / "swarm_logs_h_1.tar.gz", Redactor())
    (node,) = collect_run.gather(bundle, run, log_bytes=10_000)
    bundle.close("")
    with tarfile.open(bundle.path) as archive:
        content = {m.name: archive.extractfile(m).read() for m in archive.getmembers()}  # type: ignore[union-attr]
    assert {n.partition("/")[2] for n in content} == {
        "run/state.json", "run/ledger.json", "run/logs/sl-1.log", "summary.txt", "manifest.json",
    }  # fmt: skip
    assert not any(key.splitlines()[1].encode() in each for each in content.values())
    log = content["swarm_logs_h_1/run/logs/sl-1.log"]
    assert log.startswith(b"(390") and len(log) < 11_000 and b"ERROR : boom" in log
    assert (node.name, node.failed, node.last_errors) == ("sl-1", True, ["ERROR : boom"])
    assert node.certificates == ["sl-1-cert.pem expires in 2 days: renew it"]


@pytest.mark.timeout(20)
def test_links_pipes_and_devices_in_a_run_folder_are_not_opened(tmp_path: Path) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    for folder in (run / "logs", run / "certs", elsewhere):
        folder.mkdir(parents=True)
    for name in ("a.log", "a.json", "a.yaml"):
        (elsewhere / name).write_text('{"nodes": [{"name": "from elsewhere"}]}')
    (run / "logs" / "sn-1.log").write_text("fine\n")
    (run / "logs" / "folder").symlink_to(elsewhere)
    (run / "logs" / "link.log").symlink_to(elsewhere / "a.log")
    (run / "state.json").symlink_to(elsewhere / "a.json")
    os.mkfifo(run / "logs" / "pipe.log")
    os.mkfifo(run / "certs" / "pipe-key.pem")
    (run / "certs" / "zero-key.pem").symlink_to("/dev/zero")
    (run / "certs" / "sn-1-cert.pem").symlink_to("/dev/zero")
    (run / "a.yaml").symlink_to(elsewhere / "a.yaml")
    bundle = Bundle(tmp_path / "swarm_logs_h_1.tar.gz", Redactor())
    nodes = collect_run.gather(bundle, run, log_bytes=1000)
    collect_run.workspace(bundle, run)
    bundle.close("")
    with tarfile.open(bundle.path) as archive:
        names = {each.partition("/")[2] for each in archive.getnames()}
    assert names == {"run/logs/sn-1.log", "summary.txt", "manifest.json"}
    assert [each.name for each in nodes] == ["sn-1"]


def test_hpes_form_of_the_call_and_an_engine_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = tmp_path / "ws" / "swci" / "taskdefs"
    tasks.mkdir(parents=True)
    (tasks / "pull.yaml").write_text(
        "Name: p\nBody:\n  Auth:\n    Username: me\n    Password: s3cr3ts3cr3t\n"
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://anna:pr0xyw0rd@proxy:3128")
    assert (
        collect.main(["hub.example", f"workspace={tmp_path / 'ws'}", "--output", str(tmp_path)])
        == 0
    )
    out = capsys.readouterr().out
    assert "Docker: no docker command" in out
    (archive,) = tmp_path.glob("swarm_logs_*.tar.gz")
    with tarfile.open(archive) as opened:
        content = {m.name: opened.extractfile(m).read() for m in opened.getmembers()}  # type: ignore[union-attr]
    everything = b"".join(content.values())
    assert b"s3cr3ts3cr3t" not in everything and b"pr0xyw0rd" not in everything
    assert any(name.endswith("workspace/swci/taskdefs/pull.yaml") for name in content)
    assert b"http://<removed>@proxy:3128" in everything


def test_arguments_that_will_not_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--tail", "x"], ["--max-mb", "0"], ["--max-mb", "x"]):
        with pytest.raises(SystemExit) as ended:
            collect.main(words)
        assert ended.value.code == 2
    assert collect.main(["--output", str(tmp_path / "nowhere")]) == 1
    assert "name a folder with --output" in capsys.readouterr().err
