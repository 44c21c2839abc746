// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {Refusals} from "./Refusals.sol";
import {TaskRunnerState} from "./TaskRunnerState.sol";
import {Words} from "./Words.sol";

/// @title TaskRunnerPeers
/// @notice How listeners, peers and the state of a run change, and what calls about them must
/// fulfil: a part of TaskRunner.
abstract contract TaskRunnerPeers is TaskRunnerState {
    // --- changes ----------------------------------------------------------------------------

    /// Adds the SWOP to the listeners, or takes it out.
    function _seat(bytes16 swop, Swop storage s, bool listens) internal {
        if (listens) {
            if (s.place != 0) return;
            _listeners.push(swop);
            s.place = uint32(_listeners.length);
            return;
        }
        bytes16 last = _listeners[_listeners.length - 1];
        _listeners[s.place - 1] = last;
        _swops[last].place = s.place;
        _listeners.pop();
        s.place = 0;
    }

    /// Makes these the SWOP's peers. Those of them that it had, and that did not fail, stay as they
    /// are; the others are ACTIVE.
    function _takePeers(bytes16 swop, Swop storage s, bytes16[] calldata peers) internal {
        uint32 attempt = s.attempt + 1;
        for (uint256 i = 0; i < peers.length; i++) {
            Peer storage p = _peers[_run][peers[i]];
            if (peers[i] == 0) revert Refusals.Refused("bad-value", "a peer's id is zero");
            if (p.swop == 0) {
                p.swop = swop;
                _active++;
            } else if (p.swop != swop || p.attempt != s.attempt) {
                revert Refusals.Refused(
                    "duplicate-peer",
                    string.concat(Words.uid(peers[i]), " was enrolled already in this run")
                );
            } else if (p.state == PeerState.ERROR) {
                _set(s, p, PeerState.ACTIVE, "");
            }
            p.attempt = attempt;
        }
        bytes16[] storage old = _peersOf[_run][swop];
        for (uint256 i = 0; i < old.length; i++) {
            Peer storage p = _peers[_run][old[i]];
            if (p.attempt != attempt) _count(s, p.state, false);
        }
        s.attempt = attempt;
        _peersOf[_run][swop] = peers;
    }

    /// What the SWOP's peers are while nobody hears of it, and once it is back.
    function _flipPeers(bytes16 swop, Swop storage s, bool toLost) internal {
        bytes16[] storage all = _peersOf[_run][swop];
        PeerState state = toLost ? PeerState.ERROR : PeerState.ACTIVE;
        string memory why = toLost ? "SWOP lost" : "SWOP is back";
        for (uint256 i = 0; i < all.length; i++) {
            Peer storage p = _peers[_run][all[i]];
            if (toLost ? p.state != PeerState.ACTIVE : !p.lost) continue;
            if (!toLost) _requireListening(swop, s);
            _set(s, p, state, why);
            p.lost = toLost;
            emit Reported(_run, swop, all[i], uint8(state), why);
        }
    }

    function _set(Swop storage s, Peer storage p, PeerState state, string memory said) internal {
        _count(s, p.state, false);
        _count(s, state, true);
        p.state = state;
        p.lost = false;
        p.said = _digest(said);
    }

    function _digest(string memory said) internal pure returns (bytes32) {
        return bytes(said).length == 0 ? bytes32(0) : keccak256(bytes(said));
    }

    function _count(Swop storage s, PeerState state, bool more) private {
        if (state == PeerState.ACTIVE) {
            _active = more ? _active + 1 : _active - 1;
        } else if (state == PeerState.COMPLETE) {
            _completed = more ? _completed + 1 : _completed - 1;
        } else {
            _failed = more ? _failed + 1 : _failed - 1;
            s.failed = more ? s.failed + 1 : s.failed - 1;
        }
    }

    // --- the state --------------------------------------------------------------------------

    /// Brings the state in line with the peers. COMPLETE and IDLE stay.
    function _settle() internal {
        if (_state != State.IDLE && _state != State.COMPLETE) _move(_outcome());
    }

    function _move(State state) internal {
        if (_state == state) return;
        _state = state;
        emit StateChanged(_run, uint8(state));
    }

    function _outcome() private view returns (State) {
        if (_completed >= _needed) return State.COMPLETE;
        uint256 hoped = uint256(_active) + _completed;
        if (_failed != 0 && hoped < _needed && hoped + _prospects() < _needed) return State.ERROR;
        return _enrolled[_run].length == 0 ? State.ASSIGNED : State.RUNNING;
    }

    /// How many more peers the listeners that are alive may still bring.
    function _prospects() private view returns (uint256 sum) {
        for (uint256 i = 0; i < _listeners.length; i++) {
            bytes16 swop = _listeners[i];
            Swop storage s = _swops[swop];
            uint256 brings = 0;
            if (s.enrolledIn == _run) {
                if (s.retryIn == _run) brings = s.failed;
            } else if (_mode != Mode.TARGET || s.targetIn == _run) {
                brings = _share(_type, s);
            }
            if (brings != 0 && !nodes.isLost(swop)) sum += brings;
        }
    }

    /// How many peers the SWOP brings to a task of this type.
    function _share(uint8 taskType, Swop storage s) internal view returns (uint32) {
        return taskType == RUN_SWARM ? s.nodes : 1;
    }

    // --- checks -----------------------------------------------------------------------------

    /// Refuses unless the run is the present one.
    function _requireRun(uint32 run) internal view {
        Refusals.equal("wrong-run", "run", _run, run);
        if (_state == State.IDLE) {
            revert Refusals.Refused(
                "wrong-run",
                _run == 0
                    ? "no task was ever assigned"
                    : string.concat("run ", Words.number(run), " was reset")
            );
        }
    }

    function _requireListening(bytes16 swop, Swop storage s) internal view {
        if (s.place != 0) return;
        revert Refusals.Refused(
            "not-listening",
            string.concat("SWOP ", Words.uid(swop), " must listen to the taskrunner first")
        );
    }

    /// Refuses unless the SWOP may enrol for the first time in this run.
    function _requireWanted(bytes16 swop, Swop storage s) internal view {
        if (s.targetIn == _run) return;
        if (_mode == Mode.TARGET) {
            revert Refusals.Refused(
                "not-target",
                string.concat("the task is not for SWOP ", Words.uid(swop))
            );
        }
        if (_type != RUN_SWARM && _active + _completed >= _needed) {
            revert Refusals.Refused(
                "not-needed",
                string.concat("the task has its ", Words.number(_needed), " SWOPs already")
            );
        }
    }

    /// Refuses unless these are what the SWOP must bring.
    function _requirePeers(bytes16 swop, Swop storage s, bytes16[] calldata peers) internal view {
        uint256 share = _share(_type, s);
        if (peers.length != share || share == 0) {
            revert Refusals.Refused(
                "bad-value",
                string.concat(
                    "the SWOP must bring ",
                    Words.number(share),
                    " (at least 1) peers, not ",
                    Words.number(peers.length)
                )
            );
        }
        if (_type != RUN_SWARM && peers[0] != swop) {
            revert Refusals.Refused("bad-value", "in such a task the peer is the SWOP itself");
        }
    }

    function _stateName() internal view returns (string memory) {
        string[5] memory names = ["IDLE", "ASSIGNED", "RUNNING", "COMPLETE", "ERROR"];
        return names[uint8(_state)];
    }

    /// Whether the list is what the SWOP is enrolled with.
    function _areItsPeers(bytes16 swop, bytes16[] calldata peers) internal view returns (bool) {
        bytes16[] memory own = _peersOf[_run][swop];
        return keccak256(abi.encode(own)) == keccak256(abi.encode(peers));
    }
}
