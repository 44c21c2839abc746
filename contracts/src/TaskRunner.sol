// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {NodeRegistry} from "./NodeRegistry.sol";
import {Refusals} from "./Refusals.sol";
import {SwarmRegistry} from "./SwarmRegistry.sol";
import {TaskRegistry} from "./TaskRegistry.sol";
import {TaskRunnerAssignments} from "./TaskRunnerAssignments.sol";
import {TaskRunnerState} from "./TaskRunnerState.sol";
import {Words} from "./Words.sol";

/// @title TaskRunner
/// @notice The authority on one task at a time: which SWOPs listen, who takes part in the present
/// run, and how each of its peers fares.
///
///          assign              first enrol
///   IDLE ----------> ASSIGNED -------------> RUNNING -----------------> COMPLETE
///    ^                                        |   ^    needed completed
///    |                                        |   |
///    |                   too many failed,     v   | a peer is ACTIVE again,
///    +---- reset ----    nobody else can    ERROR   or somebody else may enrol
///      (from anywhere)   come
///
/// A *run* is one assignment, counted from 1. A *peer* is an SL/ML pair in a RUN_SWARM task, else the
/// SWOP itself. Calls of SWOPs name the run: a late one is refused, a repeated one is harmless.
///
/// A fold over the events rebuilds this state. What an event does not say itself:
/// - Assigned forgets targets, peers and enrolments of the run before, as RunnerReset does.
/// - SwopEnrolled replaces the SWOP's list of peers. Those that it had, and that were not in ERROR,
///   keep their state; the others are ACTIVE.
/// - Targeted lets a SWOP that is enrolled try again: until SwopEnrolled, or until a Reported
///   leaves none of its peers in ERROR.
/// - The loss of a SWOP is Quit and, for each ACTIVE peer, Reported "SWOP lost".
/// - StateChanged follows what caused it.
contract TaskRunner is TaskRunnerAssignments {
    /// @notice SL/ML pairs of one SWOP, and SWOPs that listen at once: the costliest calls, which walk
    /// through the peers of a SWOP or through the listeners, stay below 10 million gas.
    uint32 public constant MOST_NODES = 250;
    uint32 public constant MOST_LISTENERS = 1000;
    /// @notice Bytes of a description: 160 characters of UTF-8.
    uint256 public constant LONGEST_DESCRIPTION = 640;

    constructor(
        SwarmRegistry registry_,
        NodeRegistry nodes_,
        TaskRegistry tasks_
    ) TaskRunnerState(registry_, nodes_, tasks_) {}

    // --- SWOPs come and go ------------------------------------------------------------------

    /// @notice A SWOP offers its work. Harmless if it does already, with as many nodes.
    /// @param swop its node id.
    /// @param nodeCount SL/ML pairs of its profile.
    function listen(bytes16 swop, uint32 nodeCount) external onlyWriter {
        if (nodes.isLost(swop)) {
            revert Refusals.Refused(
                "unknown-node",
                string.concat("node ", Words.uid(swop), " is not registered, is lost or has left")
            );
        }
        if (nodeCount > MOST_NODES) {
            revert Refusals.Refused(
                "bad-value",
                string.concat("at most ", Words.number(MOST_NODES), " nodes per SWOP")
            );
        }
        Swop storage s = _swops[swop];
        if (s.place != 0 && s.nodes == nodeCount) return;
        if (s.place == 0 && _listeners.length == MOST_LISTENERS) {
            revert Refusals.Refused(
                "bad-value",
                string.concat("at most ", Words.number(MOST_LISTENERS), " SWOPs per taskrunner")
            );
        }
        _seat(swop, s, true);
        s.nodes = nodeCount;
        emit Listening(_run, swop, nodeCount);
        _settle();
    }

    /// @notice A SWOP offers its work no more; its peers stay as they are. Harmless if it does not.
    function quit(bytes16 swop, string calldata reason) external onlyWriter {
        Swop storage s = _swops[swop];
        if (s.place == 0) return;
        _seat(swop, s, false);
        emit Quit(_run, swop, reason);
        _settle();
    }

    /// @notice Takes out a SWOP whose node is lost: it does not listen, its ACTIVE peers failed.
    function reap(bytes16 swop) external onlyWriter {
        if (!nodes.isLost(swop)) {
            revert Refusals.Refused(
                "not-lost",
                string.concat("node ", Words.uid(swop), " is alive")
            );
        }
        Swop storage s = _swops[swop];
        if (s.place != 0) {
            _seat(swop, s, false);
            emit Quit(_run, swop, "lost");
        }
        if (_state != State.IDLE && s.enrolledIn == _run) _flipPeers(swop, s, true);
        _settle();
    }

    // --- an operator ------------------------------------------------------------------------

    /// @notice Opens a run, or (mode TARGET) lets one more SWOP join the present run, or one that
    /// failed try again. Repeating the call is harmless until the run is reset.
    /// @param task name of a final task.
    /// @param mode a Mode.
    /// @param peers mode PEERS: how many must complete.
    /// @param target mode TARGET: the SWOP.
    /// @param request random, never used before.
    function assign(
        string calldata task,
        uint8 mode,
        uint32 peers,
        bytes16 target,
        bytes16 request
    ) external onlyWriter {
        bytes28 call_ = bytes28(keccak256(msg.data));
        Done storage done = _done[request];
        if (done.call == call_ && done.run == _run && _state != State.IDLE) return;
        if (request == 0) revert Refusals.Refused("bad-value", "the request is zero");
        if (done.run != 0) {
            revert Refusals.Refused(
                "stale-request",
                string.concat("it was carried out already, in run ", Words.number(done.run))
            );
        }
        if (mode > uint8(Mode.TARGET)) {
            revert Refusals.Refused(
                "bad-value",
                string.concat("no such mode: ", Words.number(mode))
            );
        }
        if (_state == State.IDLE) {
            _begin(task, Mode(mode), peers, target, request);
        } else {
            if (Mode(mode) != Mode.TARGET || _state == State.COMPLETE || !_isPresent(task)) {
                revert Refusals.Refused(
                    "busy",
                    string.concat(
                        "task ",
                        _task,
                        " is ",
                        _stateName(),
                        ": use RESET TASKRUNNER before assigning another one"
                    )
                );
            }
            _join(target, request);
        }
        _done[request] = Done(_run, call_);
    }

    /// @notice Ends the run: the taskrunner is IDLE and remembers only who listens. Harmless if it
    /// was reset already.
    function reset(uint32 run, string calldata by) external onlyWriter {
        Refusals.equal("wrong-run", "run", _run, run);
        if (_state == State.IDLE) return;
        emit RunnerReset(run, by);
        _move(State.IDLE);
        _task = "";
        _type = 0;
        _mode = Mode.PEERS;
        _needed = 0;
        _active = 0;
        _completed = 0;
        _failed = 0;
    }

    // --- a run ------------------------------------------------------------------------------

    /// @notice A SWOP takes part in the run, or tries again.
    /// @param run the present run.
    /// @param swop the SWOP's node id.
    /// @param peers RUN_SWARM: ids of the SLs that it is about to start, as many as it has nodes;
    /// else only its own.
    function enrol(uint32 run, bytes16 swop, bytes16[] calldata peers) external onlyWriter {
        _requireRun(run);
        Swop storage s = _swops[swop];
        bool again = s.enrolledIn == run;
        bool retry = again && s.retryIn == run && s.failed != 0;
        if (again && !retry) {
            if (!_areItsPeers(swop, peers)) {
                revert Refusals.Refused(
                    "enrolled",
                    string.concat(
                        "SWOP ",
                        Words.uid(swop),
                        " has other peers in this run; ASSIGN TASK ... TARGET lets it try again"
                    )
                );
            }
            _flipPeers(swop, s, false);
            _settle();
            return;
        }
        if (_state == State.COMPLETE) {
            revert Refusals.Refused("wrong-state", "the task is COMPLETE");
        }
        _requireListening(swop, s);
        if (!again) _requireWanted(swop, s);
        _requirePeers(swop, s, peers);
        if (!again) {
            _enrolled[run].push(swop);
            s.enrolledIn = run;
            s.failed = 0;
        }
        s.retryIn = 0;
        _takePeers(swop, s, peers);
        emit SwopEnrolled(run, swop, peers);
        _settle();
    }

    /// @notice How a peer fares. COMPLETE and ERROR are final, unless it failed because its SWOP was
    /// lost; its description may change. Repeating it is harmless.
    /// @param run the present run.
    /// @param swop the SWOP's node id.
    /// @param peer one of the peers with which it is enrolled.
    /// @param state a PeerState.
    /// @param description why, for a person.
    function report(
        uint32 run,
        bytes16 swop,
        bytes16 peer,
        uint8 state,
        string calldata description
    ) external onlyWriter {
        _requireRun(run);
        Swop storage s = _swops[swop];
        Peer storage p = _peers[run][peer];
        if (swop == 0 || p.swop != swop || p.attempt != s.attempt) {
            revert Refusals.Refused(
                "not-enrolled",
                string.concat(Words.uid(peer), " is no peer of SWOP ", Words.uid(swop))
            );
        }
        if (state > uint8(PeerState.ERROR)) {
            revert Refusals.Refused(
                "bad-value",
                string.concat("no such state: ", Words.number(state))
            );
        }
        if (bytes(description).length > LONGEST_DESCRIPTION) {
            revert Refusals.Refused(
                "bad-value",
                string.concat(
                    "the description has more than ",
                    Words.number(LONGEST_DESCRIPTION),
                    " bytes"
                )
            );
        }
        bool same = p.state == PeerState(state);
        if (same && !p.lost && p.said == _digest(description)) return;
        if (!same && p.state != PeerState.ACTIVE && !p.lost) {
            revert Refusals.Refused(
                "wrong-state",
                string.concat("peer ", Words.uid(peer), " has ended already")
            );
        }
        _set(s, p, PeerState(state), description);
        if (s.failed == 0) s.retryIn = 0;
        emit Reported(run, swop, peer, state, description);
        _settle();
    }

    /// @notice Records that a call was refused; it changes nothing else.
    function refused(
        bytes16 by,
        string calldata code,
        string calldata detail
    ) external onlyWriter {
        emit RunnerRefused(_run, by, code, detail);
    }
}
