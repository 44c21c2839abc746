"""The policy about containers, whoever asks."""

from dataclasses import replace

import pytest

from services.swop.core.engine import (
    ContainerOptions,
    ContainerSpec,
    Gpus,
    Mount,
    MountKind,
    Role,
)
from services.swop.core.policy import DEFAULT_POLICY, parse_policy
from services.swop.core.refusals import refusals

ML = ContainerSpec(Role.ML, "demo-u-0", "user-env-digits")
SL = ContainerSpec(Role.SL, "demo-s-0", "registry.example.org/swarm/sl:1")


@pytest.mark.parametrize(
    ("options", "asks", "opening"),
    [
        (ContainerOptions(privileged=True), "privileged true", "privileged: true"),
        (ContainerOptions(ipc="host"), "ipc host", "ipc: [host]"),
        (ContainerOptions(ipc="container:sl1"), "ipc container:sl1", "ipc: ['container:*']"),
        (ContainerOptions(cap_add=("ALL",)), "cap-add ALL", "cap_add: [ALL]"),
        (
            ContainerOptions(security_opt=("seccomp=unconfined",)),
            "security-opt seccomp=unconfined",
            "security_opt: [seccomp=*]",
        ),
        (ContainerOptions(devices=("/dev/kfd",)), "device /dev/kfd", "devices: [/dev/kfd]"),
        (ContainerOptions(group_add=("video",)), "group-add video", "group_add: [video, render]"),
    ],
)
def test_container_options(options, asks, opening):
    spec = replace(ML, options=options)
    key = opening.partition(":")[0]
    assert refusals(DEFAULT_POLICY, spec) == [
        f"usrcontaineropts of the profile asks for {asks};"
        f" container.{key} of the policy would allow it"
    ]
    assert refusals(parse_policy(f"container: {{{opening}}}", "p"), spec) == []


@pytest.mark.parametrize(
    "options",
    [
        ContainerOptions(gpus=Gpus(count=-1)),
        ContainerOptions(shm_size="16G", ipc="private"),
        ContainerOptions(security_opt=("no-new-privileges",)),
    ],
)
def test_harmless_options(options):
    assert refusals(DEFAULT_POLICY, replace(ML, options=options)) == []


def test_gpus_can_be_forbidden():
    spec = replace(ML, options=ContainerOptions(gpus=Gpus(count=1)))
    assert len(refusals(parse_policy("container: {gpus: no}", "p"), spec)) == 1


@pytest.mark.parametrize("network", ["host", "container:sn1"])
@pytest.mark.parametrize("spec", [ML, SL], ids=["ml", "sl"])
def test_networks_of_the_host(network, spec):
    spec = replace(spec, network=network)
    assert refusals(DEFAULT_POLICY, spec) == [
        f"network of the profile is {network}, the host's or another container's;"
        " container.host_network of the policy would allow it"
    ]
    assert refusals(parse_policy("container: {host_network: yes}", "p"), spec) == []
    assert refusals(DEFAULT_POLICY, replace(spec, network="host-1-net")) == []


def test_what_the_profile_mounts_needs_no_root_but_gives_no_power():
    def spec(source):
        return replace(SL, mounts=(Mount(MountKind.BIND, source, "/x"),))

    assert refusals(DEFAULT_POLICY, spec("/site/cert/sl-1-key.pem")) == []
    assert refusals(DEFAULT_POLICY, spec("/run/spire/sockets")) == []
    assert refusals(DEFAULT_POLICY, spec("/srv/../run/docker.sock")) == [
        "SL would mount /srv/../run/docker.sock of the host, which gives power over it;"
        " no policy allows it"
    ]


def test_images_that_run():
    narrow = replace(DEFAULT_POLICY, images=("user-env-*:latest",))
    assert refusals(narrow, ML) == []
    assert refusals(narrow, SL) == []  # the SWOP chose it
    assert refusals(narrow, replace(ML, image="other:1")) == [
        "Outcome of the prerequisite names the image other:1; images of the policy would allow it"
    ]
