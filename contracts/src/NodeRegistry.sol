// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {Guarded} from "./Guarded.sol";
import {Refusals} from "./Refusals.sol";
import {SwarmRegistry} from "./SwarmRegistry.sol";
import {Words} from "./Words.sol";

/// @title NodeRegistry
/// @notice Who is in the swarm, and when each node was last heard of.
///
///            register              lost
///   UNKNOWN ----------> ALIVE <----------> LOST
///                        | ^      alive      |
///                  leave | | register        | leave
///                        v |                 |
///                        LEFT <--------------+
///
/// What a node announces (endpoint, container, certificate, ...) is only in the events; the storage
/// holds what other contracts ask for. SNs send `alive` and `lost` for many nodes at once: ids that
/// are unknown or have left are passed over, so that one of them never spoils a batch, and the
/// events name only the nodes that were concerned.
contract NodeRegistry is Guarded {
    enum Status {
        UNKNOWN,
        ALIVE,
        LOST,
        LEFT
    }

    struct Node {
        Status status;
        uint64 lastSeen;
    }

    mapping(bytes16 uid => Node) private _nodes;

    event NodeRegistered(
        bytes16 uid,
        uint8 kind,
        bool sentinel,
        string endpoint,
        string container,
        string version,
        bytes16 parent,
        bytes32 fingerprint
    );
    event NodesAlive(bytes16[] uids);
    event NodesLost(bytes16[] uids);
    event NodeLeft(bytes16 uid, string reason);

    constructor(SwarmRegistry registry_) Guarded(registry_) {}

    /// @notice A node announces itself, or announces itself anew: the last announcement holds.
    /// @param uid the node's id.
    /// @param kind the node's kind; the numbers are the SN's own.
    /// @param sentinel whether it is the SN that made the genesis block.
    /// @param endpoint "host:port" that others dial.
    /// @param container name of its container, or empty.
    /// @param version its software's version.
    /// @param parent id of the SN it registered with.
    /// @param fingerprint SHA-256 of its certificate.
    function register(
        bytes16 uid,
        uint8 kind,
        bool sentinel,
        string memory endpoint,
        string memory container,
        string memory version,
        bytes16 parent,
        bytes32 fingerprint
    ) external onlyWriter {
        if (uid == 0) revert Refusals.Refused("bad-value", "the node id is zero");
        _nodes[uid] = Node(Status.ALIVE, uint64(block.timestamp));
        emit NodeRegistered(uid, kind, sentinel, endpoint, container, version, parent, fingerprint);
    }

    /// @notice These nodes sent their i-am-alive; nodes that were lost are back.
    function alive(bytes16[] calldata uids) external onlyWriter {
        bytes16[] memory concerned = new bytes16[](uids.length);
        uint256 count = 0;
        for (uint256 i = 0; i < uids.length; i++) {
            Node storage node = _nodes[uids[i]];
            if (node.status != Status.ALIVE && node.status != Status.LOST) continue;
            node.status = Status.ALIVE;
            node.lastSeen = uint64(block.timestamp);
            concerned[count++] = uids[i];
        }
        if (count != 0) emit NodesAlive(_first(concerned, count));
    }

    /// @notice These nodes missed their heartbeats.
    function lost(bytes16[] calldata uids) external onlyWriter {
        bytes16[] memory concerned = new bytes16[](uids.length);
        uint256 count = 0;
        for (uint256 i = 0; i < uids.length; i++) {
            Node storage node = _nodes[uids[i]];
            if (node.status != Status.ALIVE) continue;
            node.status = Status.LOST;
            concerned[count++] = uids[i];
        }
        if (count != 0) emit NodesLost(_first(concerned, count));
    }

    /// @notice A node leaves the swarm. Harmless if it has left already.
    function leave(bytes16 uid, string calldata reason) external onlyWriter {
        Node storage node = _nodes[uid];
        if (node.status == Status.LEFT) return;
        if (node.status == Status.UNKNOWN) revert Refusals.Refused("unknown-node", Words.uid(uid));
        node.status = Status.LEFT;
        emit NodeLeft(uid, reason);
    }

    /// @notice Whether the node is lost, has left, or was never registered.
    function isLost(bytes16 uid) external view returns (bool) {
        return _nodes[uid].status != Status.ALIVE;
    }

    /// @notice Chain time of the node's last sign of life, Unix seconds; 0 if never registered.
    function lastSeen(bytes16 uid) external view returns (uint64) {
        return _nodes[uid].lastSeen;
    }

    function _first(bytes16[] memory list, uint256 count) private pure returns (bytes16[] memory) {
        assembly ("memory-safe") {
            mstore(list, count) // the array only ever gets shorter
        }
        return list;
    }
}
