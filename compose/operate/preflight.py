"""``preflight``: check this host, identity, swarm and license server before a node starts.

    swarm preflight --role sn --sentinel --host-ip 10.0.0.1 --sn-api-port 30304 --apls-ip 10.0.0.1 \
        --key cert/sn-1-key.pem --cert cert/sn-1-cert.pem --capath cert/ca/capath
    swarm preflight --role sl --sn-ip 10.0.0.1 --sl-fs-port 30305 --needs sl=2 ...

One line for each check: ok, warn or FAIL, and what to do. The exit code is 1 where something would
fail, 2 for bad arguments. Options are those of run-sn and run-sl.
"""

from __future__ import annotations

import getpass
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

from compose.operate import collect_engine as engine
from compose.operate import collect_host
from compose.operate import preflight_checks as checks
from compose.operate import preflight_facts as facts
from compose.operate.collect_certs import certificates
from compose.operate.explain import explain
from compose.operate.preflight_findings import (
    FAIL,
    WARN,
    Finding,
    exit_code,
    finding_of,
    table,
)
from compose.operate.preflight_options import Wanted, parse

REMOTE_SECONDS = 120.0


def main(argv: list[str]) -> int:
    """Run the checks.

    Args:
        argv: arguments, without the command's name.

    Returns:
        0 when all is well, 1 when something would fail; 2 for bad arguments.
    """
    wanted = parse(argv, __doc__ or "", role_of)
    findings = [*_host(wanted), *_docker(wanted), *_remote(wanted)]
    if wanted.json:
        print(json.dumps([each.as_json() for each in findings], indent=1))
    else:
        print(table(findings))
    return exit_code(findings)


def role_of(cert: str) -> str:
    """The role that a certificate's common name begins with; empty where there is none."""
    try:
        found = certificates(Path(cert).read_bytes())
    except OSError:
        return ""
    return found[0].common_name.split("-")[0].lower() if found else ""


def _host(wanted: Wanted) -> list[Finding]:
    findings = [checks.clock_kept(collect_host.clock_synchronised())]
    available = collect_host.memory().get("MemAvailable")
    findings.append(checks.memory(available, wanted.needs))
    findings += [checks.port(each, facts.holder_of(each)) for each in wanted.ports]
    if wanted.host_ip and not wanted.network:
        findings.append(
            checks.resolved(wanted.host_ip, facts.addresses(wanted.host_ip), own=True)
        )  # fmt: skip
    if not wanted.network:  # else names are those of the network
        findings += [checks.resolved(n, facts.addresses(n)) for n in wanted.services]
    findings.append(checks.proxies(facts.proxy_variables(), wanted.hosts))
    findings.append(
        checks.security(collect_host.first_line(Path("/sys/fs/selinux/enforce")) == "1")
    )
    return findings


def _docker(wanted: Wanted) -> list[Finding]:
    if wanted.embedded:
        return [checks.disk(".", _free("."))]
    found = facts.docker()
    findings = checks.docker(found, getpass.getuser())
    if found.error:
        return findings
    data = facts.data_folder()
    findings.append(checks.disk(data, _free(data)))
    needed = [wanted.image_of(kind) for kind in wanted.needs]
    findings += checks.images(facts.images(wanted.prefix, wanted.tag), needed)
    findings.append(checks.mtu(*facts.mtu()))
    findings.append(checks.leftovers(facts.leftovers(), facts.running("sl")))
    return findings


def _free(place: str) -> int | None:
    usage = collect_host.disk(place)
    return usage["free"] if usage else None


def _remote(wanted: Wanted) -> list[Finding]:
    """The checks that need cryptography: here where it is installed, else in the tools image."""
    if not (wanted.key or wanted.cert):
        return [Finding(WARN, "identity", "not checked: no --key and --cert",
                        "name the files that the node gets, as for run-sn")]  # fmt: skip
    here = not wanted.network and _has_packages()
    words = [sys.executable, "-m"] if here else [*engine.command(), *_container(wanted)]
    environment = {**os.environ, "PYTHONPATH": str(collect_host.ROOT)} if here else None
    try:
        done = subprocess.run(
            [*words, "compose.preflight", "--json", *wanted.remote()], env=environment,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=REMOTE_SECONDS, check=False,
        )  # fmt: skip
        return [finding_of(each) for each in json.loads(done.stdout)]
    except subprocess.TimeoutExpired:
        why = f"no end within {REMOTE_SECONDS:.0f} s"
    except (OSError, ValueError, TypeError) as exc:
        said = locals().get("done")
        why = explain(said.stderr.decode("utf-8", "replace")) if said is not None else str(exc)
    text, _, help_ = why.partition(". ")
    help_ = help_ or f"see that {wanted.image_of('tools')} runs, which looks at them"
    return [Finding(FAIL, "identity and swarm", f"could not be checked: {text}", help_)]


def _has_packages() -> bool:
    """Whether this Python can do those checks: a checkout with its packages does."""
    if not (collect_host.ROOT / "compose" / "preflight" / "__main__.py").is_file():
        return False
    return all(importlib.util.find_spec(name) for name in ("cryptography", "pydantic_settings"))


def _container(wanted: Wanted) -> list[str]:
    """The tools image on this host's network or the swarm's, with the files at their own paths."""
    words = ["run", "--rm", "--pull=never"]  # it gets keys: nobody may put theirs in its place
    words += [f"--network={wanted.network or 'host'}", "--user=0:0"]
    words += [f"--mount=type=bind,src={each},dst={each},readonly" for each in wanted.files]
    return [*words, wanted.image_of("tools")]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
