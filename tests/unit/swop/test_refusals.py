"""What tasks try beyond the plain fields: other names of an image, ways up, volumes of others."""

from dataclasses import replace

import pytest

from services.common.task_body import AuthFile
from services.common.task_definition import parse
from services.swop.core.engine import LABEL_GROUP, LABEL_SWOP, LABEL_TASK
from services.swop.core.policy import DEFAULT_POLICY, Policy, ProcessPolicy
from services.swop.core.profile import parse as parse_profile
from services.swop.core.refusals import check_task, fill_refusals
from tests.unit.common.task_files import BUILD, PULL, RUN
from tests.unit.swop.profiles import FULL

PROFILE = parse_profile(FULL, "p.yaml")[0]


@pytest.mark.parametrize(
    ("own", "outcome"),
    [
        ("me/sl:1", "registry.example/me/sl:1"),
        ("me/sl:1", "localhost:5000/me/sl:1"),
        ("registry.example/me/sl", "me/sl:latest"),
        ("sl", "registry.example/library/sl"),
        ("library/sl:latest", "sl"),
        ("localhost/sl", "localhost/sl:latest"),
        ("hub.myenterpriselicense.example/sl:2.2", "hub.myenterpriselicense.example/sl:2.2"),
    ],
)
def test_no_task_replaces_an_image_of_the_swop_under_another_name(own, outcome):
    task = replace(parse(BUILD, "t.yaml"), outcome=outcome)
    found = check_task(DEFAULT_POLICY, PROFILE, task, own_images=(own,))
    assert found == [
        f"Outcome would replace {outcome if len(outcome) < 49 else found[0][22:70]}, which this "
        "SWOP itself runs; no policy allows it"
    ]


@pytest.mark.parametrize(
    ("own", "outcome"),
    [("me/sl:1", "me/sl:2"), ("example.org/sl", "me/sl"), ("me/sl", "localhost/you/sl")],
)
def test_other_images_may_be_built(own, outcome):
    task = replace(parse(BUILD, "t.yaml"), outcome=outcome)
    assert check_task(DEFAULT_POLICY, PROFILE, task, own_images=(own,)) == []


def test_a_pattern_of_programs_does_not_reach_above_its_folder():
    policy = Policy(binds=("/*",), process=ProcessPolicy(entrypoints=("/site/bin/*",)))
    plain = RUN.replace("/srv/digits/model", "/srv/x")

    def asked(program):
        task = parse(plain, "t.yaml")
        return check_task(
            policy, PROFILE, replace(task, body=replace(task.body, entrypoint=program)),
            isolated=False,
        )  # fmt: skip

    assert asked("/site/bin/train") == []
    [refusal] = asked("/site/bin/../../bin/sh")
    assert refusal.endswith("process.entrypoints of the policy would allow it")


def test_a_way_up_in_an_auth_file_is_refused():
    task = parse(PULL, "t.yaml")
    path = "/platform/swarm/usr/link/../x"
    found = check_task(
        DEFAULT_POLICY, PROFILE, replace(task, body=replace(task.body, auth=AuthFile(path)))
    )
    assert any("Auth would read" in each for each in found)


MADE = {LABEL_GROUP: "g", LABEL_SWOP: "1" * 32, LABEL_TASK: "content"}


@pytest.mark.parametrize(
    ("labels", "policy", "allowed"),
    [
        (None, DEFAULT_POLICY, True),
        (MADE, DEFAULT_POLICY, True),
        ({}, DEFAULT_POLICY, False),
        ({LABEL_SWOP: "1" * 32, "swarm.idx": "0"}, DEFAULT_POLICY, False),
        ({}, Policy(overwrite=("sl-cli-*",)), True),
    ],
    ids=["new", "of-a-task", "by-hand", "of-a-pair", "named"],
)
def test_volumes_that_no_task_made_are_left_alone(labels, policy, allowed):
    found = fill_refusals(policy, "sl-cli-lib", labels)
    assert (found == []) is allowed
    assert all("overwrite of the policy" in each and len(each) <= 160 for each in found)


def test_the_longest_name_of_a_volume_fits_on_the_ledger():
    [found] = fill_refusals(DEFAULT_POLICY, "v" * 160, {})
    assert len(found) <= 160, found
