// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {Guarded} from "./Guarded.sol";
import {Refusals} from "./Refusals.sol";
import {SwarmRegistry} from "./SwarmRegistry.sol";
import {Words} from "./Words.sol";

/// @title TaskRegistry
/// @notice Which tasks there are, and which of them can change no more.
///
///            create            finalize
///   (none) ----------> OPEN --------------> FINAL
///     ^                | | ^
///     |     remove     | | | append
///     +----------------+ +-+
///
/// A task needs the outcome of its *prerequisite*, a final task; the first one, ROOTTASK, is there
/// from the start. A name is free again after `remove`; calls about a task therefore say which one
/// they mean by the request that created it, so that one that comes late (the SN was cut off, and
/// another one was asked) does not touch the next task of that name. The text of the lines is only in the events; the storage holds what other
/// contracts and the checks ask for.
contract TaskRegistry is Guarded {
    /// @notice Bytes of a name, an author or an outcome: 160 characters of UTF-8.
    uint256 public constant LONGEST_TEXT = 640;
    /// @notice Bytes of a line of the body.
    uint256 public constant LONGEST_LINE = 1024;
    /// @notice Lines of a body.
    uint256 public constant MOST_LINES = 2000;

    /// @notice Types of tasks: ROOT_TASK is 0, only ROOTTASK has it. RUN_SWARM is 1, others follow.
    uint8 public constant LAST_TYPE = 4;

    struct Task {
        bool exists;
        bool isFinal;
        uint8 taskType;
        uint32 lines;
        bytes16 request; // that created it
    }

    mapping(string name => Task) private _tasks;
    mapping(bytes16 request => bytes32) private _requests; // what create was called with under it

    event TaskCreated(
        string name,
        uint8 taskType,
        string author,
        string prereq,
        string outcome,
        bytes16 request
    );
    event TaskAppended(string name, uint32 first, string[] lines);
    event TaskFinalized(string name);
    event TaskRemoved(string name);
    event TaskRefused(string name, bytes16 by, string code, string detail);

    constructor(SwarmRegistry registry_) Guarded(registry_) {
        _tasks["ROOTTASK"] = Task(true, true, 0, 0, 0);
        emit TaskCreated("ROOTTASK", 0, "HPE", "", "ROOTTASK", 0);
        emit TaskFinalized("ROOTTASK");
    }

    /// @notice Makes a task without lines. Repeating the call is harmless while the task exists.
    /// @param name any text that no task has.
    /// @param taskType 1 to 4.
    /// @param author any text.
    /// @param prereq name of a final task.
    /// @param outcome what the task makes, e.g. an image.
    /// @param request random, never used before.
    function create(
        string calldata name,
        uint8 taskType,
        string calldata author,
        string calldata prereq,
        string calldata outcome,
        bytes16 request
    ) external onlyWriter {
        if (request == 0) revert Refusals.Refused("bad-value", "the request is zero");
        bytes32 call_ = keccak256(msg.data);
        Task storage task = _tasks[name];
        if (task.request == request && _requests[request] == call_) return;
        if (_requests[request] != 0) {
            revert Refusals.Refused(
                "stale-request",
                string.concat("request ", Words.uid(request), " has created a task already")
            );
        }
        _requireText("name", name);
        _requireText("author", author);
        _requireText("outcome", outcome);
        if (taskType == 0 || taskType > LAST_TYPE) {
            revert Refusals.Refused(
                "bad-value",
                string.concat("no such type of task: ", Words.number(taskType))
            );
        }
        if (task.exists) revert Refusals.Refused("name-taken", name);
        if (!_requireTask(prereq).isFinal) {
            revert Refusals.Refused(
                "not-final",
                string.concat("finalize the prerequisite first: ", prereq)
            );
        }
        _requests[request] = call_;
        _tasks[name] = Task(true, false, taskType, 0, request);
        emit TaskCreated(name, taskType, author, prereq, outcome, request);
    }

    /// @notice Adds lines to a task's body, or replaces some.
    /// @param name the task's.
    /// @param request that created it; 0: whichever task has the name.
    /// @param first number of the first of these lines, from 1; at most one more than there are.
    /// @param lines the text; any may be empty.
    function append(
        string calldata name,
        bytes16 request,
        uint32 first,
        string[] calldata lines
    ) external onlyWriter {
        Task storage task = _requireOpen(name, request);
        if (lines.length == 0) revert Refusals.Refused("bad-value", "there are no lines");
        if (first == 0 || first > task.lines + 1) {
            revert Refusals.Refused(
                "bad-value",
                string.concat(
                    "the first line must be 1 to ",
                    Words.number(task.lines + 1),
                    ", it is ",
                    Words.number(first)
                )
            );
        }
        uint256 last = first + lines.length - 1;
        _requireAtMost("number of lines", MOST_LINES, last);
        for (uint256 i = 0; i < lines.length; i++) {
            _requireAtMost("bytes of a line", LONGEST_LINE, bytes(lines[i]).length);
        }
        if (last > task.lines) task.lines = uint32(last);
        emit TaskAppended(name, first, lines);
    }

    /// @notice Makes a task unchangeable, for ever. Harmless if it is already.
    /// @param request as in `append`.
    function finalize(string calldata name, bytes16 request) external onlyWriter {
        Task storage task = _requireSame(name, request);
        if (task.isFinal) return;
        if (task.lines == 0) {
            revert Refusals.Refused("bad-value", string.concat("the task has no body: ", name));
        }
        task.isFinal = true;
        emit TaskFinalized(name);
    }

    /// @notice Removes a task that is not final; its name is free again.
    /// @param request as in `append`.
    function remove(string calldata name, bytes16 request) external onlyWriter {
        _requireOpen(name, request);
        delete _tasks[name];
        emit TaskRemoved(name);
    }

    /// @notice Records that a call about a task was refused; it changes nothing else.
    function refused(
        string calldata name,
        bytes16 by,
        string calldata code,
        string calldata detail
    ) external onlyWriter {
        emit TaskRefused(name, by, code, detail);
    }

    // --- views ------------------------------------------------------------------------------

    /// @notice Whether there is such a task, and whether it can change no more.
    function isFinal(string calldata name) external view returns (bool exists, bool isFinal_) {
        Task storage task = _tasks[name];
        return (task.exists, task.isFinal);
    }

    /// @notice The task's type; 0 also where there is no such task.
    function typeOf(string calldata name) external view returns (uint8) {
        return _tasks[name].taskType;
    }

    /// @notice How many lines its body has.
    function lineCount(string calldata name) external view returns (uint32) {
        return _tasks[name].lines;
    }

    // --- checks -----------------------------------------------------------------------------

    function _requireTask(string calldata name) private view returns (Task storage task) {
        task = _tasks[name];
        if (!task.exists) {
            revert Refusals.Refused("unknown-task", string.concat("there is no task ", name));
        }
    }

    function _requireSame(
        string calldata name,
        bytes16 request
    ) private view returns (Task storage task) {
        task = _requireTask(name);
        if (request != 0 && request != task.request) {
            revert Refusals.Refused(
                "stale-request",
                string.concat("another task has the name by now: ", name)
            );
        }
    }

    function _requireOpen(
        string calldata name,
        bytes16 request
    ) private view returns (Task storage task) {
        task = _requireSame(name, request);
        if (task.isFinal) {
            revert Refusals.Refused("final", string.concat("the task is finalized: ", name));
        }
    }

    function _requireText(string memory what, string calldata value) private pure {
        if (bytes(value).length == 0) {
            revert Refusals.Refused("bad-value", string.concat("the ", what, " is empty"));
        }
        _requireAtMost(string.concat("bytes of the ", what), LONGEST_TEXT, bytes(value).length);
    }

    function _requireAtMost(string memory what, uint256 limit, uint256 value) private pure {
        if (value <= limit) return;
        revert Refusals.Refused(
            "bad-value",
            string.concat(
                what,
                ": at most ",
                Words.number(limit),
                ", not ",
                Words.number(value)
            )
        );
    }
}
