"""Containers from options."""

import pytest

from compose.operate.errors import UsageError
from compose.operate.plan import LABEL
from tests.unit.compose.operate.place import env, plan, values, words

SL = ("--host-ip=h", "--sn-ip=s", "--apls-ip=l")


def test_what_every_container_has():
    assert words("swci") == [
        f"--label={LABEL}=swci", "--interactive=true", "--pull=never", "--rm=true",
    ]  # fmt: skip
    assert plan("swci").containers[0].image == "swarm-learning/swci:0.1.0"


def test_a_terminal():
    assert "--tty=true" in words("swci", is_terminal=True)
    assert "--tty=true" not in words("swci", "--tty=false", is_terminal=True)


def test_what_is_given_wins():
    found = words("swci", "-i=false", "--pull=always", "--name=a", "-h", "b")
    assert [word for word in found if "interactive" in word] == ["--interactive=false"]
    assert values(found, "pull") == ["always"]
    assert values(found, "hostname") == ["b"]
    assert found[-3:] == ["--pull=always", "--name=a", "--hostname=b"]


def test_the_name_is_the_hostname():
    assert values(words("swci", "--name=a"), "hostname") == ["a"]


@pytest.mark.parametrize(
    ("given", "more", "image", "may_pull"),
    [
        ((), {}, "swarm-learning/swci:0.1.0", False),
        ((), {"tag": "x"}, "swarm-learning/swci:x", False),
        ((), {"images": "reg/org", "tag": "x"}, "reg/org/swci:x", True),
        (("--image=mine",), {}, "mine", True),
        (("--image=mine", "--pull=never"), {}, "mine", False),
    ],
)
def test_images(given, more, image, may_pull):
    container = plan("swci", *given, **more).containers[0]
    assert container.image == image
    assert container.may_pull is may_pull
    assert ("--pull=never" in container.options) is not may_pull


@pytest.mark.parametrize(
    ("given", "mounted"),
    [
        ("./usr:/x", "/home/me/usr:/x"),
        ("usr/../capath:/x:ro", "/home/me/capath:/x:ro"),
        (".:/x", "/home/me:/x"),
        ("/not/there:/x", "/not/there:/x"),
        ("volume:/x", "volume:/x"),
        ("/anonymous", "/anonymous"),
    ],
)
def test_mounts(given, mounted):
    assert values(words("swci", "-v", given), "volume")[-1] == mounted


def test_a_bad_mount():
    with pytest.raises(UsageError, match=r"bad mount \./no:/x: there is no /home/me/no"):
        words("swci", "-v", "./no:/x")


def test_an_ml_container_beside_an_sl():
    found = plan(
        "sl", *SL, "--ml-image=i", "--ml-name=ml1", "--ml-v=./usr:/m", "--ml-cmd=a b", "-d", "tail",
        is_terminal=True,
    )  # fmt: skip
    sl, ml = found.containers
    assert found.is_detached
    assert sl.words == ("tail",)
    assert values(sl.options, "volume") == ["/tmp/channel"]
    pipes = {
        "SL_REQUEST_CHANNEL": "/tmp/channel/request.channel",
        "SL_RESPONSE_CHANNEL": "/tmp/channel/response.channel",
    }
    assert pipes.items() <= env(sl.options).items()
    assert env(ml.options) == pipes  # and no license server
    assert ml.create("the-sl") == [
        "container", "create", f"--label={LABEL}=ml", "--interactive=true", "--tty=true",
        "--hostname=ml1", *(f"--env={name}={value}" for name, value in pipes.items()),
        "--user=1000:1001", "--name=ml1", "--volume=/home/me/usr:/m", "--volumes-from=the-sl",
        "i", "a", "b",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "user"),
    [((), "1000:1001"), (("--ml-user=7:8",), "7:8"), (("--ml-user=jane",), "jane:2000"),
     (("--ml-u=1007",), "1007:2000"), (("--ml-user=nobody-here",), "nobody-here")],
)  # fmt: skip
def test_whom_an_ml_program_runs_as(given, user):
    ml = plan("sl", *SL, "--ml-image=i", *given).containers[1]
    assert values(ml.options, "user") == [user]


def test_several_containers_beside_an_sl():
    found = plan("sl", *SL, "--ml-image=i", "--sidecar=board", "--board-image=b")
    assert [each.role for each in found.containers] == ["sl", "ml", "board"]


def test_an_ml_container_without_an_image():
    with pytest.raises(UsageError, match="--ml-image IMAGE is missing"):
        plan("sl", *SL, "--ml-name=x")


def test_without_ml_options_there_are_no_pipes():
    found = plan("sl", *SL)
    assert len(found.containers) == 1
    assert "channel" not in " ".join(found.containers[0].options)


@pytest.mark.parametrize(
    ("given", "seconds"), [(("-d",), None), (("-d", "--wait"), 300), (("-d", "--wait=2.5"), 2.5)]
)
def test_waiting(given, seconds):
    assert plan("swci", *given).wait_s == seconds


@pytest.mark.parametrize(
    ("given", "message"),
    [(("--wait",), "goes with --detach"), (("-d", "--wait=soon"), "--wait=soon: seconds"),
     (("-d", "--wait=-1"), "more than 0"), (("-d", "--wait=nan"), "more than 0")],
)  # fmt: skip
def test_waiting_that_makes_no_sense(given, message):
    with pytest.raises(UsageError, match=message):
        plan("swci", *given)
