// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {Guarded} from "./Guarded.sol";
import {NodeRegistry} from "./NodeRegistry.sol";
import {SwarmRegistry} from "./SwarmRegistry.sol";
import {TaskRegistry} from "./TaskRegistry.sol";

/// @title TaskRunnerState
/// @notice What a taskrunner remembers, says in events and shows: a part of TaskRunner, which
/// explains it.
abstract contract TaskRunnerState is Guarded {
    enum State {
        IDLE,
        ASSIGNED,
        RUNNING,
        COMPLETE,
        ERROR
    }

    enum PeerState {
        ACTIVE,
        COMPLETE,
        ERROR
    }

    /// @notice Whom a task is assigned to: as many peers as asked for, all that listen, one SWOP.
    enum Mode {
        PEERS,
        ALL,
        TARGET
    }

    /// @notice A SWOP that ever listened. What is of a run holds only while that is the present one.
    struct Swop {
        uint32 place; // among _listeners, from 1; 0: it does not listen
        uint32 nodes; // SL/ML pairs of its profile
        uint32 targetIn; // run in which it is a target
        uint32 retryIn; // run in which it may enrol once more
        uint32 enrolledIn; // run in which it enrolled last
        uint32 failed; // how many of its peers in that run are in ERROR
        uint32 attempt; // how many times it enrolled, in all runs
    }

    /// @notice A peer of a run. It is in its SWOP's list, and counts, while their attempts are equal.
    struct Peer {
        bytes16 swop; // 0: never enrolled
        uint32 attempt;
        PeerState state;
        bool lost; // in ERROR only because its SWOP was lost
        bytes32 said; // digest of its description; 0 while that is empty
    }

    /// @notice An assignment that was carried out.
    struct Done {
        uint32 run;
        bytes28 call; // of the digest of what assign was called with
    }

    /// @notice Type of a task that needs SL/ML pairs; the others need SWOPs.
    uint8 public constant RUN_SWARM = 1;

    /// @notice Who is registered, lost or gone.
    NodeRegistry public immutable nodes;

    /// @notice Which tasks there are.
    TaskRegistry public immutable tasks;

    // One storage slot.
    uint32 internal _run; // the last one; 0 before the first
    State internal _state;
    Mode internal _mode;
    uint8 internal _type; // of the task
    uint32 internal _needed; // peers that must complete
    uint32 internal _active; // peers that count, by state
    uint32 internal _completed;
    uint32 internal _failed;

    string internal _task; // empty while IDLE
    bytes16[] internal _listeners;

    mapping(bytes16 uid => Swop) internal _swops;
    mapping(uint32 run => bytes16[]) internal _enrolled; // SWOPs, in order
    mapping(uint32 run => mapping(bytes16 swop => bytes16[])) internal _peersOf;
    mapping(uint32 run => mapping(bytes16 uid => Peer)) internal _peers;
    mapping(bytes16 request => Done) internal _done;

    event Listening(uint32 run, bytes16 swop, uint32 nodes);
    event Quit(uint32 run, bytes16 swop, string reason);
    event Assigned(
        uint32 run,
        string task,
        uint8 taskType,
        uint8 mode,
        uint32 needed,
        bytes16 target,
        bytes16 request
    );
    event Targeted(uint32 run, bytes16 target, uint32 needed, bytes16 request);
    event SwopEnrolled(uint32 run, bytes16 swop, bytes16[] peers);
    event Reported(uint32 run, bytes16 swop, bytes16 peer, uint8 state, string description);
    event StateChanged(uint32 run, uint8 state);
    event RunnerReset(uint32 run, string by);
    event RunnerRefused(uint32 run, bytes16 by, string code, string detail);

    constructor(
        SwarmRegistry registry_,
        NodeRegistry nodes_,
        TaskRegistry tasks_
    ) Guarded(registry_) {
        nodes = nodes_;
        tasks = tasks_;
    }

    // --- views ------------------------------------------------------------------------------

    /// @notice Where the taskrunner stands. While IDLE all but `run` is empty.
    function summary()
        external
        view
        returns (
            uint32 run,
            uint8 state,
            string memory task,
            uint8 taskType,
            uint8 mode,
            uint32 needed,
            uint32 active,
            uint32 completed,
            uint32 failed
        )
    {
        run = _run;
        state = uint8(_state);
        task = _task;
        taskType = _type;
        mode = uint8(_mode);
        needed = _needed;
        active = _active;
        completed = _completed;
        failed = _failed;
    }

    /// @notice How many SWOPs listen.
    function listenerCount() external view returns (uint256) {
        return _listeners.length;
    }

    /// @notice The id of a SWOP that listens; the order changes when one quits.
    function listenerAt(uint256 index) external view returns (bytes16) {
        return _listeners[index];
    }

    /// @notice One SWOP: whether it listens, with how many SL/ML pairs, and what it is in the present
    /// run: enrolled, a target, and one that may enrol once more.
    function swopOf(
        bytes16 uid
    )
        external
        view
        returns (bool listening, uint32 nodeCount, bool enrolled, bool target, bool retry)
    {
        Swop storage s = _swops[uid];
        bool present = _state != State.IDLE;
        listening = s.place != 0;
        nodeCount = s.nodes;
        enrolled = present && s.enrolledIn == _run;
        target = present && s.targetIn == _run;
        retry = present && s.retryIn == _run;
    }

    /// @notice How many SWOPs enrolled in the present run.
    function enrolledCount() external view returns (uint256) {
        return _state == State.IDLE ? 0 : _enrolled[_run].length;
    }

    /// @notice The id of a SWOP that enrolled in the last run, in the order of enrolment.
    function enrolledAt(uint256 index) external view returns (bytes16) {
        return _enrolled[_run][index];
    }

    /// @notice The peers of a SWOP in the present run.
    function peersOf(bytes16 swop) external view returns (bytes16[] memory list) {
        return _state == State.IDLE ? list : _peersOf[_run][swop];
    }

    /// @notice One peer of the present run; `swop` is 0 where there is no such peer.
    function peerOf(bytes16 uid) external view returns (bytes16 swop, uint8 state, bool lost) {
        Peer storage p = _peers[_run][uid];
        if (_state == State.IDLE || p.attempt != _swops[p.swop].attempt) return (0, 0, false);
        return (p.swop, uint8(p.state), p.lost);
    }
}
