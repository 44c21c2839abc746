"""What is started, with which environment and ports."""

import sys
from pathlib import Path

import pytest

from compose.plan import PRIVATE_TMP, Kind, Layout, Planner, Ports, Request
from services.common.errors import ConfigError

PORTS = Ports(5814, (30303, 30403, 30503), (30304, 30404, 30504), (30305, 30306))
UIDS = {"sn-1": "a" * 32, "sn-2": "d" * 32, "sn-3": "e" * 32, "sl-1": "b" * 32, "sl-2": "c" * 32}


def planner(tmp_path, *, inherited=None, **options):
    request = Request(**{"nodes": 2, "min_peers": 2, "program": ("python", "t.py"), **options})
    layout = Layout(Path("/run"), Path("/dev/shm/x"), tmp_path)
    return Planner(request, layout, PORTS, UIDS, inherited or {"PATH": "/bin"}, Path("/home/u"))


def test_sentinel_and_license_server(tmp_path):
    plans = planner(tmp_path)
    sn, licenses = plans.sn(1), plans.license()
    assert sn.command == (sys.executable, "-m", "services.sn")
    assert sn.environment["SN_I_AM_SENTINEL"] == "true"
    assert sn.environment["SN_API_SERVER_PORT"] == "30304"
    assert sn.environment["SN_P2P_LISTEN_PORT"] == "30303"
    assert sn.environment["SWARM_NODE_UID"] == sn.uid == "a" * 32
    assert sn.environment["SWARM_ID_KEY"] == f"{tmp_path}/sn-1-key.pem"
    assert sn.environment["SWARM_ID_CAPATH"] == f"{tmp_path}/ca/capath"
    assert sn.environment["SWARM_LICENSE_AUTOPASSJ_SERVER_PRIMARY_PORT"] == "5814"
    assert sn.ports == {"p2p": 30303, "api": 30304}
    assert licenses.environment["LICENSE_PORT"] == "5814"
    assert licenses.uid == ""


def test_the_other_sns_join_the_sentinel(tmp_path):
    (tmp_path / "sn-2-cert.pem").touch()
    inherited = {"PATH": "/bin", "SENTINEL_API_SERVICE": "elsewhere:443"}
    plans = planner(tmp_path, sns=3, inherited=inherited)
    assert plans.sns == ["sn-1", "sn-2", "sn-3"]
    first, second, third = (plans.sn(index) for index in (1, 2, 3))
    assert "SENTINEL_NODE_IP" not in first.environment
    assert second.environment["SN_I_AM_SENTINEL"] == "false"
    assert second.environment["SENTINEL_NODE_IP"] == "127.0.0.1"
    assert second.environment["SENTINEL_API_SERVER_PORT"] == "30304"
    assert "SENTINEL_API_SERVICE" not in second.environment
    assert (second.name, second.uid) == ("sn-2", "d" * 32)
    assert second.ports == {"p2p": 30403, "api": 30404}
    assert second.environment["SN_API_SERVER_PORT"] == "30404"
    assert second.environment["SN_P2P_LISTEN_PORT"] == "30403"
    assert second.environment["SWARM_ID_CERT"] == f"{tmp_path}/sn-2-cert.pem"
    assert third.environment["SWARM_ID_CERT"] == f"{tmp_path}/sn-1-cert.pem"  # has none of its own
    folders = {one.environment["SN_DATA_DIR"] for one in (first, second, third)}
    assert folders == {f"/run/nodes/sn-{index}/chain" for index in (1, 2, 3)}


def test_a_foreign_client_gets_its_sls_folder_where_hpe_looks_for_it(tmp_path):
    own, foreign = planner(tmp_path).ml(2), planner(tmp_path, foreign=True).ml(2)
    assert foreign.command == (*PRIVATE_TMP, "/dev/shm/x/sl-2/handover", *own.command)
    assert foreign.environment == own.environment
    assert foreign.environment["SL_WEIGHTS_DIR"] == "/dev/shm/x/sl-2/handover"
    sl = planner(tmp_path, foreign=True).sl(2)
    assert sl.environment["SL_WEIGHTS_DIR"] == "/dev/shm/x/sl-2/handover"


def test_the_sls_are_spread_over_the_sns(tmp_path):
    plans = planner(tmp_path, sns=3, nodes=5)
    plans.ports = Ports(1, PORTS.sn_p2p, PORTS.sn_api, (1, 2, 3, 4, 5))
    preferred = [plans.sl(index).environment["SN_API_SERVER_PORT"] for index in range(1, 6)]
    assert preferred == ["30304", "30404", "30504", "30304", "30404"]


def test_both_halves_of_a_pair_share_their_channel_and_no_other_pairs(tmp_path):
    plans = planner(tmp_path)
    names = ("SL_REQUEST_CHANNEL", "SL_RESPONSE_CHANNEL", "SL_WEIGHTS_DIR")
    channels = [
        {plan.environment[name] for name in names}
        for plan in (plans.sl(1), plans.ml(1), plans.sl(2), plans.ml(2))
    ]
    assert channels[0] == channels[1]
    assert channels[2] == channels[3]
    assert not channels[0] & channels[2]
    assert len(channels[0]) == 3


def test_an_sl_finds_its_sn_and_announces_the_port_that_it_listens_on(tmp_path):
    sl = planner(tmp_path).sl(2)
    assert sl.environment["SN_NODE_IP"] == "127.0.0.1"
    assert sl.environment["SN_API_SERVER_PORT"] == "30304"
    assert sl.environment["SL_FS_PORT"] == sl.environment["SL_FS_LISTEN_PORT"] == "30306"
    assert sl.ports == {"fs": 30306}
    assert (sl.name, sl.index, sl.uid) == ("sl-2", 2, "c" * 32)
    assert "SL_WAIT_FOR_FULL_QUORUM_SECONDS" not in sl.environment


def test_quorum_seconds_reach_the_sls(tmp_path):
    sl = planner(tmp_path, quorum_seconds=2.5).sl(1)
    assert sl.environment["SL_WAIT_FOR_FULL_QUORUM_SECONDS"] == "2.5"


def test_an_sl_uses_its_own_certificate_or_its_hosts(tmp_path):
    (tmp_path / "sl-2-cert.pem").touch()
    plans = planner(tmp_path)
    assert plans.sl(1).environment["SWARM_ID_CERT"] == f"{tmp_path}/sl-1-cert.pem"
    assert plans.sl(2).environment["SWARM_ID_CERT"] == f"{tmp_path}/sl-2-cert.pem"
    (tmp_path / "sl-2-cert.pem").unlink()
    assert plans.sl(2).environment["SWARM_ID_CERT"] == f"{tmp_path}/sl-1-cert.pem"


def test_placeholders_of_the_users_program(tmp_path):
    words = ("python", "t.py", "{index}/{nodes}", "{min_peers}", "{node_dir}", "{run_dir}", "{x}")
    ml = planner(tmp_path, program=words).ml(2)
    assert ml.command == (
        "python", "t.py", "2/2", "2", "/run/nodes/ml-2", "/run", "{x}",
    )  # fmt: skip
    assert ml.cwd == Path("/home/u")
    assert ml.ready == ""


def test_environment_of_the_users_program(tmp_path):
    inherited = {
        "PATH": "/bin",
        "MAX_EPOCHS": "7",
        "OMP_NUM_THREADS": "3",
        "SWARM_LOOPBACK": "True",
    }
    env = planner(tmp_path, inherited=inherited).ml(1).environment
    assert env["MAX_EPOCHS"] == "7"
    assert env["OMP_NUM_THREADS"] == "3"
    assert env["NODE_ID"] == "ml-1"
    assert env["MIN_PEERS"] == "2"
    assert env["SCRATCH_DIR"] == env["MODEL_DIR"] == "/run/nodes/ml-1"
    # `python` is the interpreter that we run on
    assert env["PATH"] == f"{Path(sys.executable).parent}:/bin"
    assert not [name for name in env if name.startswith("SWARM_ID_")]


def test_variables_that_point_at_another_swarm_are_not_passed_on(tmp_path):
    inherited = {"SN_API_SERVICE": "elsewhere:443", "SWARM_LOG_LEVEL": "DEBUG"}
    env = planner(tmp_path, inherited=inherited).sl(1).environment
    assert "SN_API_SERVICE" not in env
    assert env["SWARM_LOG_LEVEL"] == "DEBUG"


def test_a_job_is_no_part_of_the_swarm(tmp_path):
    job = planner(tmp_path).job("central", ("python", "t.py", "{node_dir}"))
    assert job.kind is Kind.JOB
    assert job.command[-1] == "/run/nodes/central"
    assert "SL_REQUEST_CHANNEL" not in job.environment


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"nodes": -1}, "--nodes -1"),
        ({"nodes": 65}, "--nodes 65"),
        ({"sns": 0}, "--sns 0"),
        ({"sns": 17}, "--sns 17"),
        ({"min_peers": 3}, "--min-peers 3"),
        ({"min_peers": 0}, "--min-peers 0"),
        ({"contract": "a/b"}, "--contract 'a/b'"),
        ({"quorum_seconds": -1.0}, "--quorum-seconds -1.0"),
        ({"quorum_seconds": float("nan")}, "--quorum-seconds nan"),
        ({"quorum_seconds": float("inf")}, "--quorum-seconds inf"),
    ],
)
def test_what_cannot_work_is_refused(options, word):
    request = Request(**{"nodes": 2, "min_peers": 2, "program": ("x",), **options})
    with pytest.raises(ConfigError, match=word):
        request.check()


def test_a_sound_request_passes():
    Request(5, 4, ("x",), sns=16).check()
    Request(0, quorum_seconds=0.0).check()
