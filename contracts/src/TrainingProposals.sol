// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {TrainingRounds} from "./TrainingRounds.sol";

/// @title TrainingProposals
/// @notice What becomes of a merge that others must attest: a part of TrainingContract.
///
/// As many attestations as the terms say decide, whichever way is first: for the leader's merge, or
/// for one other merge on which the attesters agree. Until then, and if neither comes about, the
/// leader's time runs.
abstract contract TrainingProposals is TrainingRounds {
    /// Names what a peer attests, and in which term; never zero.
    function _statement(
        uint32 round,
        uint32 term,
        bytes32 digest,
        uint64 size
    ) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(round, term, digest, size));
    }

    /// Ends the round.
    function _publish(Proposal memory made, bytes16[] memory contributors) internal {
        bytes16 leader = _leader;
        _lastPublish = made.call;
        _merged = made.digest;
        _close();
        emit Published(
            made.generation,
            made.round,
            made.term,
            leader,
            made.digest,
            made.size,
            contributors,
            made.nextInterval
        );
    }

    function _propose(Proposal memory made, bytes16[] memory contributors) internal {
        _proposal = made;
        emit Proposed(
            made.generation,
            made.round,
            made.term,
            _leader,
            made.digest,
            made.size,
            contributors,
            made.nextInterval
        );
    }

    /// Counts an attestation of the leader's merge; the last one publishes it.
    function _agree() internal {
        uint8 agreed = _proposal.agreed + 1;
        _proposal.agreed = agreed;
        if (agreed < _attestations) return;
        _publish(_proposal, _ascending(participants()));
    }

    /// Counts who attested the same other merge; the last one exposes the leader.
    function _disagree(bytes32 statement, bytes32 computed, uint64 computedSize) internal {
        bytes16[] storage all = _seats[_generation];
        uint256 same = 0;
        for (uint256 i = 0; i < all.length; i++) {
            if (_peers[_generation][all[i]].attested == statement) same++;
        }
        if (same < _attestations) return;
        _peers[_generation][_leader].exposed = true;
        emit Exposed(
            _generation,
            _round,
            _term,
            _leader,
            _proposal.digest,
            _proposal.size,
            computed,
            computedSize
        );
        _replaceLeader("leader exposed", 0);
    }

    /// Sorted, by a heap: that costs less than to keep the sorted list of the proposal, also where
    /// there are many.
    function _ascending(bytes16[] memory list) private pure returns (bytes16[] memory) {
        uint256 size = list.length;
        for (uint256 root = size / 2; root != 0; ) _sink(list, --root, size);
        while (size > 1) {
            size--;
            (list[0], list[size]) = (list[size], list[0]);
            _sink(list, 0, size);
        }
        return list;
    }

    /// Makes a heap of `root` and what is below it, with the largest on top.
    function _sink(bytes16[] memory list, uint256 root, uint256 size) private pure {
        bytes16 uid = list[root];
        while (true) {
            uint256 child = 2 * root + 1;
            if (child >= size) break;
            if (child + 1 < size && list[child] < list[child + 1]) child++;
            if (list[child] <= uid) break;
            list[root] = list[child];
            root = child;
        }
        list[root] = uid;
    }
}
