"""Whatever is typed: an answer, never an exception, and nothing else than what was asked."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.errors import SnUnavailableError
from services.swci.adapters.connection import Swarm, Trouble
from services.swci.core.reply import ERROR
from services.swci.core.table import COMMANDS
from services.swci.interpreter import Interpreter
from services.swci.settings import SwciSettings
from tests.component.swci.conftest import BUILD, fresh

NAMES = [
    "..", ".", "%2e%2e", "a%2Fb", "x?wait=1", "x#y", "a&b=c", "*", "'; DROP TABLE x", "$(id)",
    "`id`", "{0}", "%s", "ÿ", "名前", "<script>", '"a b"', "ROOTTASK%00", "0" * 160,
]  # fmt: skip
ABOUT = [
    "GET CONTRACT INFO", "GET CONTRACT STATUS", "PERFDATA", "RESET CONTRACT", "GET TASK INFO",
    "GET TASK BODY", "DELETE TASK", "FINALIZE TASK", "GET TASKRUNNER INFO",
    "GET TASKRUNNER STATUS", "RESET TASKRUNNER", "LIST TASKRUNNER PEERS", "WAIT FOR TASKRUNNER",
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(NAMES)), ids=str)
async def test_odd_names_name_nothing_and_reach_nothing_else(operator, number):
    before = [await operator.good(line) for line in ("LIST TASKS", "LIST CONTRACTS")]
    for line in ABOUT:
        error = await operator.bad(f"{line} {NAMES[number]}")
        assert "SN answered" not in error, "another route took it"
    assert [await operator.good(line) for line in ("LIST TASKS", "LIST CONTRACTS")] == before


@pytest.mark.parametrize("name", [".", ".."])
async def test_a_name_that_is_a_path_is_no_name(operator, name):
    assert 'not "." or ".."' in await operator.bad(f"CREATE CONTRACT {name}")
    operator.write(BUILD.format(name=f"'{name}'"))
    assert "choose another one" in await operator.bad("CREATE TASK FROM t.yaml")


@pytest.mark.parametrize("name", ["%2e%2e", "x?y=1", "a&b", "名前", "a'b", "my%20task"])
async def test_odd_names_that_are_allowed_work_from_end_to_end(operator, name):
    name = f"{name}-{fresh('n')}"
    await operator.good(f"CREATE CONTRACT {name}")
    assert (await operator.pairs(f"GET CONTRACT STATUS {name}"))["CONTRACT_NAME"] == name
    operator.write(BUILD.format(name=f"'{name.replace(chr(39), chr(39) * 2)}'"))
    await operator.good("CREATE TASK FROM t.yaml")
    assert (await operator.pairs(f"GET TASK INFO {name}"))["TASK_NAME"] == name
    await operator.good(f"DELETE TASK {name}")


@pytest.mark.parametrize(
    "line",
    ["GET TASK INFO a\nEXIT", "CREATE CONTRACT a\r\nb", "CREATE CONTRACT a\x1b[2J",
     "SWITCH CONTEXT \x07", "CREATE CONTRACT a\u202eb\u2028", "LIST NODES\x00", "cd a\nb"],
)  # fmt: skip
async def test_control_characters_are_refused_and_shown_escaped(operator, line):
    error = await operator.bad(line)
    assert "control character" in error
    assert error.isprintable()
    assert not operator.interpreter.finished


class NoSn:
    """A swarm in which nothing answers."""

    def __init__(self):
        self.sns = ["sn:1"]

    def __getattr__(self, name):
        async def fail(*_args, **_kwargs):
            raise SnUnavailableError("no SN answers")

        return fail

    async def nodes(self):
        return []

    async def close(self):
        pass


class Nowhere:
    """Connects to it."""

    def __call__(self, sns):
        return Swarm(NoSn(), NoSn())

    async def probe(self, address):
        return None if address.host == "sn" else Trouble("DNS: no", waiting_helps=False)


words = st.one_of(
    st.sampled_from([*NAMES, "c", "sn", "0", "1", "ON", "-la", "../..", "/", "ALL", "PEERS"]),
    st.text(max_size=10),
)
lines = st.tuples(
    st.sampled_from([entry.name for entry in COMMANDS if entry.name != "SLEEP"]),
    st.lists(words, max_size=5),
).map(lambda parts: " ".join([parts[0], *parts[1]]))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(lines | st.text(max_size=60), min_size=1, max_size=6))
def test_fuzzed_sessions_never_raise_and_answer_something(tmp_path_factory, fuzzed):
    folder = tmp_path_factory.getbasetemp()
    made = SwciSettings(swci_usr_dir=folder, swci_wait_retry_seconds=0.01)

    async def session():
        interpreter = Interpreter(made, Nowhere())
        for line in ["CREATE CONTEXT c WITH IP sn", "SWITCH CONTEXT c", *fuzzed]:
            before = interpreter.counter
            reply = await interpreter.execute(line)
            if interpreter.counter == before:
                assert reply.lines == ()
                continue
            assert any(text.strip() for text in reply.lines)
            assert reply.error == reply.lines[0].startswith(ERROR)
            assert all("\n" not in text and "\x1b" not in text for text in reply.lines)
        await interpreter.close()

    asyncio.run(session())
