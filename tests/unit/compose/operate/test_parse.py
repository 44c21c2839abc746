"""The command line of a run command."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.operate.docker_options import BUILT_IN, DockerOption
from compose.operate.errors import UnknownOptionError, UsageError
from compose.operate.options import RUN_COMMANDS, Option
from compose.operate.parse import as_bool, parse

SN, SL, SWCI = RUN_COMMANDS["sn"], RUN_COMMANDS["sl"], RUN_COMMANDS["swci"]


def words(text, command=SN):
    return parse(shlex.split(text), command)


@pytest.mark.parametrize(
    "text", ["--host-ip sn1", "--host-ip=sn1", "--Host-IP sn1", "--HOST-IP=sn1"]
)
def test_ways_to_write_an_option_of_ours(text):
    assert words(text).get("host-ip") == "sn1"


@pytest.mark.parametrize(
    "text",
    ["-e A=b", "-eA=b", "-e=A=b", "--e A=b", "--e=A=b", "--env A=b", "--env=A=b", "--ENV=A=b"],
)
def test_ways_to_write_an_option_of_dockers(text):
    assert words(text).docker == [("env", "A=b")]


@pytest.mark.parametrize("text", ["-dit", "-d -i -t", "-itd", "--detach --interactive --tty"])
def test_a_cluster_is_its_letters(text):
    found = words(text)
    assert found.flag("detach")
    assert found.docker == [("interactive", None), ("tty", None)]


def test_a_cluster_may_end_with_an_option_that_has_a_value():
    found = words("-itv a:/b -dp80:81")
    assert found.docker == [
        ("interactive", None), ("tty", None), ("volume", "a:/b"), ("publish", "80:81"),
    ]  # fmt: skip
    assert found.flag("detach")


def test_short_names_keep_their_case():
    assert words("-p 1:2 -P").docker == [("publish", "1:2"), ("publish-all", None)]


def test_h_is_dockers_hostname():
    assert words("-h box").docker == [("hostname", "box")]


def test_a_value_may_look_like_an_option():
    assert words("--name --sentinel").docker == [("name", "--sentinel")]


@pytest.mark.parametrize(
    ("text", "is_set"),
    [("", False), ("--sentinel", True), ("--sentinel=1", True), ("--sentinel=true", True),
     ("--sentinel=false", False), ("--sentinel=0", False), ("--sentinel --sentinel=no", False)],
)  # fmt: skip
def test_a_flag_of_ours(text, is_set):
    assert words(text).flag("sentinel") is is_set


def test_a_flag_does_not_swallow_the_next_word():
    found = words("--sentinel false")
    assert found.flag("sentinel")
    assert found.words == ["false"]


def test_a_flag_that_is_neither_true_nor_false():
    with pytest.raises(UsageError, match="--sentinel is a flag: 'maybe'"):
        words("--sentinel=maybe")


def test_flags_of_dockers_keep_their_value():
    assert words("--init=false --rm -i=false").docker == [
        ("init", "false"), ("rm", None), ("interactive", "false"),
    ]  # fmt: skip


def test_the_last_value_counts_and_all_are_there():
    found = words("--host-ip a --host-ip b -e A=1 -e B=2")
    assert found.get("host-ip") == "b"
    assert [value for _, value in found.docker] == ["A=1", "B=2"]


def test_words_and_cmd_are_for_the_container_in_their_order():
    assert words("a --cmd \"b 'c d'\" e").words == ["a", "b", "c d", "e"]


def test_cmd_with_an_open_quote():
    with pytest.raises(UsageError, match="--cmd"):
        words('--cmd "b \'c"')


def test_all_after_two_dashes_is_for_the_container():
    assert words("a -- --sentinel -- -x", SWCI).words == ["a", "--sentinel", "--", "-x"]


def test_one_dash_alone_is_a_word():
    assert words("-").words == ["-"]


def test_wait_takes_a_value_only_after_an_equals_sign():
    found = words("--wait 5")
    assert found.own["wait"] == [None]
    assert found.words == ["5"]
    assert words("--wait=5").get("wait") == "5"


@pytest.mark.parametrize("text", ["--host-ip", "-e", "--name", "-dite"])
def test_a_missing_value(text):
    with pytest.raises(UsageError, match="needs a value"):
        words(text)


@pytest.mark.parametrize(
    ("text", "hint"),
    [("--snetinel", "did you mean --sentinel?"), ("--hostip=a", "did you mean --host-ip?"),
     ("--qqqqqqq", "run-sn --help"), ("-serverAddress x", "stand after --"), ("-dZ", "-dZ")],
)  # fmt: skip
def test_an_unknown_option_is_no_argument_of_the_container(text, hint):
    with pytest.raises(UnknownOptionError) as caught:
        words(text)
    assert hint in str(caught.value)


def test_options_of_another_docker():
    docker = {**BUILT_IN, "brand-new": DockerOption("brand-new", True, "N")}
    assert parse(["-Nx"], SN, docker).docker == [("brand-new", "x")]


# --- beside an SL


def test_an_ml_container():
    found = words(
        "--name sl1 --ml-image i --ml-name=ml1 --ml-v a:/b --ml-e=A=1 --ML-Cmd 'x y' --ml-gpus all "
        "--ml-d --ml-privileged tail",
        SL,
    )
    ml = found.sidecars["ml"]
    assert found.docker == [("name", "sl1")]
    assert found.words == ["tail"]
    assert ml.get("image") == "i"
    assert ml.words == ["x", "y"]
    assert ml.flag("detach")
    assert ml.docker == [
        ("name", "ml1"), ("volume", "a:/b"), ("env", "A=1"), ("gpus", "all"), ("privileged", None),
    ]  # fmt: skip


def test_another_container_beside_it():
    found = words("--sidecar Board --board-image b --board-p 1:2 --ml-image m", SL)
    assert found.sidecars["board"].docker == [("publish", "1:2")]
    assert found.sidecars["ml"].get("image") == "m"


@pytest.mark.parametrize("name", ["sn", "a b", "", "env"])
def test_names_of_such_containers(name):
    with pytest.raises(UsageError, match="choose another name"):
        parse(["--sidecar", name], SL)


@pytest.mark.parametrize(
    ("text", "command"), [("--ml-image x", SN), ("--ml-frobnicate 1", SL), ("--ml 1", SWCI)]
)
def test_ml_options_that_do_not_exist(text, command):
    with pytest.raises(UnknownOptionError, match=r"^--ml\S* is an unsupported option\.$"):
        words(text, command)


# --- whatever is written

VALUES = st.text(st.characters(codec="utf-8"), max_size=12)


@st.composite
def options(draw):
    """Some options in some spelling: the words, and what is to come of them."""
    own = [each for each in SL.options().values() if each.name not in ("cmd", "sidecar")]
    spelled, ours, docker = [], [], []
    for known in draw(st.lists(st.sampled_from([*own, *BUILT_IN.values()]), max_size=8)):
        is_own = isinstance(known, Option)
        has_value = bool(known.metavar) if is_own else known.has_value
        value = draw(VALUES) if has_value else None
        optional = is_own and known.is_optional
        name = draw(st.sampled_from([known.name, known.name.upper(), known.name.title()]))
        ways = [[f"--{name}={value}"]] if has_value else [[f"--{name}"]]
        if has_value and not optional:
            ways.append([f"--{name}", value])
        if known.short and has_value:
            ways += [[f"-{known.short}", value], [f"-{known.short}={value}"]]
        elif known.short:
            ways += [[f"-{known.short}"], [f"--{known.short}"]]
        spelled += draw(st.sampled_from(ways))
        (ours if is_own else docker).append((known.name, value))
    return spelled, ours, docker


@given(options(), st.lists(VALUES))
def test_every_spelling_means_the_same(made, rest):
    spelled, ours, docker = made
    found = parse([*spelled, "--", *rest], SL)
    assert found.docker == docker
    assert [(name, v) for name, values in found.own.items() for v in values] == sorted(
        ours, key=lambda each: list(dict.fromkeys(name for name, _ in ours)).index(each[0])
    )
    assert found.words == rest


WORDS = st.one_of(
    VALUES, VALUES.map("--{}".format), VALUES.map("-{}".format),
    st.sampled_from([f"--{name}" for name in (*SL.options(), *BUILT_IN)]),
    st.sampled_from(["--ml-", "--ml-e", "--ml-=", "--=", "--", "-=", "-dit", "--sidecar"]),
)  # fmt: skip


@given(st.lists(WORDS, max_size=10))
def test_any_words_are_read_or_refused(some):
    for command in RUN_COMMANDS.values():
        try:
            found = parse(some, command)
        except UsageError as error:
            assert str(error)
        else:
            taken = sum(map(len, found.own.values())) + len(found.docker) + len(found.words)
            assert taken + sum(len(each.docker) for each in found.sidecars.values()) <= 12 * len(
                some
            )


@given(st.lists(st.sampled_from("ditP"), min_size=1, max_size=6))
def test_a_cluster_of_any_flags(letters):
    together = parse(["-" + "".join(letters)], SN)
    apart = parse([f"-{letter}" for letter in letters], SN)
    assert together == apart


@pytest.mark.parametrize("text", ["1", "YES", "True", "on", "t"])
def test_true(text):
    assert as_bool("x", text)
