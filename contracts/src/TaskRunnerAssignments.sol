// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {Refusals} from "./Refusals.sol";
import {TaskRunnerPeers} from "./TaskRunnerPeers.sol";
import {Words} from "./Words.sol";

/// @title TaskRunnerAssignments
/// @notice How a run begins, and how further targets join it: a part of TaskRunner.
abstract contract TaskRunnerAssignments is TaskRunnerPeers {
    function _begin(
        string calldata task,
        Mode mode,
        uint32 peers,
        bytes16 target,
        bytes16 request
    ) internal {
        uint8 taskType = _requireTask(task);
        uint32 run = _run + 1;
        uint32 needed;
        if (mode == Mode.PEERS) {
            if (peers == 0) revert Refusals.Refused("bad-value", "the task needs at least 1 peer");
            needed = peers;
        } else if (mode == Mode.ALL) {
            needed = _shareOfAll(taskType);
        } else {
            needed = _requireTarget(taskType, target);
            _swops[target].targetIn = run;
        }
        _run = run;
        _task = task;
        _type = taskType;
        _mode = mode;
        _needed = needed;
        emit Assigned(
            run,
            task,
            taskType,
            uint8(mode),
            needed,
            mode == Mode.TARGET ? target : bytes16(0),
            request
        );
        _move(State.ASSIGNED);
    }

    function _join(bytes16 target, bytes16 request) internal {
        Swop storage s = _swops[target];
        uint32 share = _requireTarget(_type, target);
        if (s.enrolledIn == _run) {
            if (s.failed == 0) {
                revert Refusals.Refused(
                    "enrolled",
                    string.concat("SWOP ", Words.uid(target), " takes part, and nothing failed")
                );
            }
            s.retryIn = _run;
        } else if (_mode == Mode.TARGET && s.targetIn != _run) {
            _needed += share;
        }
        s.targetIn = _run;
        emit Targeted(_run, target, _needed, request);
        _settle();
    }

    function _isPresent(string calldata task) internal view returns (bool) {
        return keccak256(bytes(task)) == keccak256(bytes(_task));
    }

    /// The type of the task; refuses one that cannot run.
    function _requireTask(string calldata task) private view returns (uint8 taskType) {
        (bool exists, bool isFinal) = tasks.isFinal(task);
        if (!exists) {
            revert Refusals.Refused("unknown-task", string.concat("there is no task ", task));
        }
        if (!isFinal) {
            revert Refusals.Refused("not-final", string.concat("finalize the task first: ", task));
        }
        taskType = tasks.typeOf(task);
        if (taskType == 0) {
            revert Refusals.Refused("bad-value", string.concat("nothing to run in ", task));
        }
    }

    /// How many peers the target brings; refuses one that cannot take part.
    function _requireTarget(uint8 taskType, bytes16 target) private view returns (uint32 share) {
        Swop storage s = _swops[target];
        string memory lacks;
        if (s.place == 0) {
            lacks = " does not listen to the taskrunner";
        } else if (nodes.isLost(target)) {
            lacks = " is lost or has left";
        } else {
            share = _share(taskType, s);
            if (share != 0) return share;
            lacks = " has no nodes in its profile";
        }
        revert Refusals.Refused("no-swop", string.concat("SWOP ", Words.uid(target), lacks));
    }

    /// How many peers all listeners that are alive bring together.
    function _shareOfAll(uint8 taskType) private view returns (uint32 sum) {
        for (uint256 i = 0; i < _listeners.length; i++) {
            if (!nodes.isLost(_listeners[i])) sum += _share(taskType, _swops[_listeners[i]]);
        }
        if (sum == 0) {
            revert Refusals.Refused(
                "no-swop",
                "no SWOP that is alive and has nodes listens to the taskrunner"
            );
        }
    }
}
