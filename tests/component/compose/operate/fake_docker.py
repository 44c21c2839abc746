#!/usr/bin/env python3
"""A `docker` that keeps its containers in a file, for tests of the `swarm` command.

It knows what that command asks for and refuses all else. `test_run_commands.py` runs the same cases
on it and on a real engine.
"""

import fcntl
import hashlib
import json
import subprocess
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
NO_TIME, SOME_TIME = "0001-01-01T00:00:00Z", "2026-01-02T03:04:05.6Z"


def say(*words, end="\n", file=None):
    (file or sys.stdout).write(" ".join(map(str, words)) + end)


def fail(text):
    sys.exit(f"Error response from daemon: {text}")


def container(state, name):
    for each in state["containers"]:
        if each["Id"].startswith(name) or each["Name"] == f"/{name}":
            return each
    return None


def create(state, words):
    options = []
    while words and words[0].startswith("--"):
        name, _, value = words.pop(0)[2:].partition("=")
        options.append((name, value))
    image, *command = words
    given = dict(options)
    if image not in state["images"]:
        say(f"Unable to find image '{image}' locally", file=sys.stderr)
        fail(f"No such image: {image}")
    name = given.get("name") or f"nice_name_{len(state['made'])}"
    other = container(state, name)
    if other:
        fail(f'Conflict. The container name "/{name}" is already in use by container '
             f'"{other["Id"]}". You have to remove (or rename) that container')  # fmt: skip
    made = hashlib.sha256(str(len(state["made"])).encode()).hexdigest()
    state["made"].append(made)
    ports = {}
    for option, value in options:
        if option == "publish":
            outside, _, inside = value.partition(":")
            ports[f"{inside}/tcp"] = [{"HostIp": "0.0.0.0", "HostPort": outside}]
    labels = dict(value.split("=", 1) for option, value in options if option == "label")
    network = given.get("network", "bridge")
    state["containers"].append({
        "Id": made, "Name": f"/{name}", "Image": "sha256:" + "0" * 64, "RestartCount": 0,
        "State": {"Status": "created", "Running": False, "ExitCode": 0, "Error": "",
                  "StartedAt": NO_TIME},
        "Config": {
            "Image": image, "Labels": labels, "Cmd": command, "User": given.get("user", ""),
            "Hostname": given.get("hostname", made[:12]),
            "Env": [value for option, value in options if option == "env"],
        },
        "HostConfig": {"AutoRemove": given.get("rm") in ("", "true"), "NetworkMode": network,
                       "VolumesFrom": [v for name, v in options if name == "volumes-from"] or None},
        "NetworkSettings": {"Ports": ports, "Networks": {network: {"IPAddress": ""}}},
        "log": "", "files": {},
    })  # fmt: skip
    say(made)


def start(state, words):
    attached = "--attach" in words
    each = container(state, words[-1])
    network = each["HostConfig"]["NetworkMode"]
    if network not in state["networks"]:
        broken(each, f"network {network} not found")
    for bound in each["NetworkSettings"]["Ports"].values():
        port = bound[0]["HostPort"]
        for other in state["containers"]:
            theirs = other["NetworkSettings"]["Ports"].values()
            if other["State"]["Running"] and any(b[0]["HostPort"] == port for b in theirs):
                broken(each, "driver failed programming external connectivity on endpoint x: "
                       f"Bind for 0.0.0.0:{port} failed: port is already allocated")  # fmt: skip
    each["State"] |= {"StartedAt": SOME_TIME, "Status": "running", "Running": True}
    each["NetworkSettings"]["Networks"][network]["IPAddress"] = "10.0.0.9"
    command = each["Config"]["Cmd"]
    if command[:1] == ["sh"]:  # it is over at once
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        each["log"] = done.stdout
        each["State"] |= {"Status": "exited", "Running": False, "ExitCode": done.returncode}
        if each["HostConfig"]["AutoRemove"]:
            state["containers"].remove(each)
    if not attached:
        say(words[-1])
        return 0
    say(each["log"], end="")
    return each["State"]["ExitCode"]


def broken(each, text):
    each["State"]["Error"] = text
    raise SystemExit(f"Error response from daemon: {text}\nError: failed to start containers: x")


def copy(state, words):
    source, target = words
    name, _, path = target.partition(":")
    files = container(state, name)["files"]
    if source == "-":
        with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
            for member in archive:
                files[f"{path}/{member.name}"] = archive.extractfile(member).read().decode()
    else:
        files[path] = Path(source).read_text()


def inspect(state, words):
    if words[0].startswith("--format="):
        words = ["--format", words[0][len("--format=") :], *words[1:]]
    if words[0] == "--format":
        each = container(state, words[2])
        found = words[1]
        for key, value in (("{{.Id}}", each["Id"]), ("{{.Config.Image}}", each["Config"]["Image"]),
                           ("{{.Image}}", each["Image"])):  # fmt: skip
            found = found.replace(key, value)
        say(found)
        return 0
    found = [container(state, name) for name in words]
    say(json.dumps([each for each in found if each]))
    return 0 if all(found) else 1


def matches(each, chosen):
    key, _, value = chosen.partition("=")
    if key == "label":
        name, _, wanted = value.partition("=")
        return each["Config"]["Labels"].get(name) == wanted
    if key == "publish":
        bound = each["NetworkSettings"]["Ports"].values()
        return any(b[0]["HostPort"] == value for b in bound) and each["State"]["Running"]
    values = {"name": value in each["Name"], "id": each["Id"] == value,
              "status": each["State"]["Status"] == value,
              "network": each["HostConfig"]["NetworkMode"] == value}  # fmt: skip
    return values[key]


def listed(state, words):
    chosen = [word[len("--filter=") :] for word in words if word.startswith("--filter=")]
    for each in state["containers"]:
        if all(matches(each, one) for one in chosen) and (
            "--all" in words or each["State"]["Running"]
        ):
            say(each["Name"][1:] if "--format={{.Names}}" in words else each["Id"])


def stop(state, words):
    each = container(state, words[-1])
    if each["Name"][1:] in state["stubborn"]:
        fail(f"cannot stop container: {words[-1]}: did not receive an exit event")
    each["State"] |= {"Running": False, "Status": "exited", "ExitCode": 143}
    if each["HostConfig"]["AutoRemove"]:
        state["containers"].remove(each)


def remove(state, words):
    for name in words:
        each = None if name.startswith("--") else container(state, name)
        if each and each["Name"][1:] in state["going"]:
            state["containers"].remove(each)  # it is gone at the next look
            fail(f"removal of container {name} is already in progress")
        elif each:
            state["containers"].remove(each)
        elif not name.startswith("--"):
            fail(f"No such container: {name}")


def logs(state, words):
    each = container(state, words[-1])
    say(each["log"] if each else "", end="")


def created(state, words):
    if words == ["--help"]:
        say(state["help"])
    else:
        create(state, words)


def ran(state, words):
    (name,) = [word.split("=")[1].split(":")[0] for word in words if word.startswith("--volume=")]
    say(state["volumes"].get(name, "made"))


def volume(state, words):
    found = [{"Name": name} for name in words if name in state["volumes"]]
    say(json.dumps(found))
    return 0 if found else 1


COMMANDS = {
    ("container", "create"): created,
    ("container", "start"): start,
    ("container", "inspect"): inspect,
    ("container", "cp"): copy,
    ("container", "stop"): stop,
    ("container", "rm"): remove,
    ("container", "logs"): logs,
    ("ps",): listed,
    ("image", "inspect"): lambda state, words: int(words[0] not in state["images"]),
    ("pull",): lambda _, words: fail(f"pull access denied for {words[-1]}"),
    ("run",): ran,
    ("volume", "inspect"): volume,
    ("version",): lambda *_: say("26.1"),
}


def answer(state, words):
    if not state["runs"]:
        sys.exit("Cannot connect to the Docker daemon at unix:///x. Is it running?")
    for length in (2, 1):
        if command := COMMANDS.get(tuple(words[:length])):
            return command(state, words[length:]) or 0
    sys.exit(f"fake docker: cannot do {words}")


def main():
    words = sys.argv[1:]
    with (HERE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with (HERE / "asked").open("a") as asked:
            asked.write(json.dumps(words) + "\n")
        path = HERE / "state.json"
        state = json.loads(path.read_text())
        try:
            return answer(state, words)
        finally:
            path.write_text(json.dumps(state))


if __name__ == "__main__":
    sys.exit(main())
