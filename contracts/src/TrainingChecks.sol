// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {Refusals} from "./Refusals.sol";
import {TrainingState} from "./TrainingState.sol";
import {Words} from "./Words.sol";

/// @title TrainingChecks
/// @notice What a call must fulfil, and the words that refuse it: a part of TrainingContract.
abstract contract TrainingChecks is TrainingState {
    function _requireGeneration(uint32 generation) internal view {
        Refusals.equal("wrong-generation", "generation", _generation, generation);
    }

    function _requireNotCompleted() internal view {
        if (_phase == Phase.COMPLETED) {
            revert Refusals.Refused(
                "completed",
                string.concat("the training ended with round ", Words.number(_mergedRound))
            );
        }
    }

    function _requireEnrolled(
        uint32 generation,
        bytes16 peer
    ) internal view returns (Peer storage p) {
        _requireGeneration(generation);
        p = _peers[generation][peer];
        if (!p.enrolled) revert Refusals.Refused("not-enrolled", Words.uid(peer));
    }

    function _requireLeader(
        uint32 generation,
        uint32 round,
        uint32 term,
        bytes16 leader
    ) internal view {
        _requireGeneration(generation);
        Refusals.equal("wrong-round", "round", _round, round);
        Refusals.equal("stale-term", "term", _term, term);
        if (leader == _leader && leader != 0) return;
        string memory present =
            _leader == 0 ? "nobody leads" : string.concat("the leader is ", Words.uid(_leader));
        revert Refusals.Refused(
            "not-leader",
            string.concat(present, "; the call is by ", Words.uid(leader))
        );
    }

    function _requireMerging() internal view {
        if (_phase != Phase.MERGING) _refusePhase("MERGING");
    }

    function _refusePhase(string memory needed) internal view {
        string[5] memory names = ["UNINITIALIZED", "CHECKIN", "QUORUM", "MERGING", "COMPLETED"];
        revert Refusals.Refused(
            "wrong-phase",
            string.concat("needs ", needed, ", the contract is in ", names[uint8(_phase)])
        );
    }

    /// Refuses unless the list is exactly the participants not dropped, ascending; says whether any
    /// of them has a weightage.
    function _requireContributors(
        bytes16[] calldata contributors
    ) internal view returns (bool weighted) {
        if (contributors.length != _checkIns) {
            revert Refusals.Refused(
                "contributors-differ",
                string.concat(
                    Words.number(_checkIns),
                    " participants are not dropped, ",
                    Words.number(contributors.length),
                    " contributors were given"
                )
            );
        }
        bytes16 last = 0;
        for (uint256 i = 0; i < contributors.length; i++) {
            Peer storage p = _peers[_generation][contributors[i]];
            if (contributors[i] <= last || !_counts(p)) {
                revert Refusals.Refused(
                    "contributors-differ",
                    string.concat(
                        Words.uid(contributors[i]),
                        " is out of order, no participant, or dropped"
                    )
                );
            }
            last = contributors[i];
            if (p.weightage != 0) weighted = true;
        }
    }

    function _termsDiffer(
        uint32 minPeers,
        bytes32 method,
        bool adaptive,
        uint8 attestations
    ) internal view returns (string memory words) {
        if (minPeers != _minPeers) {
            words = _both("min peers", Words.number(_minPeers), Words.number(minPeers));
        }
        if (method != _method) {
            words = string.concat(
                words,
                _both("merge method", Words.text(_method), Words.text(method))
            );
        }
        if (adaptive != _adaptive) {
            words = string.concat(
                words,
                _both("adaptive sync", Words.onOff(_adaptive), Words.onOff(adaptive))
            );
        }
        if (attestations != _attestations) {
            words = string.concat(
                words,
                _both(
                    "attestations of a merge",
                    Words.number(_attestations),
                    Words.number(attestations)
                )
            );
        }
    }

    function _both(
        string memory what,
        string memory ours,
        string memory given
    ) internal pure returns (string memory) {
        return string.concat(what, ": the contract has ", ours, ", the peer ", given, ". ");
    }

    function _staleBase(bytes32 base) internal view returns (string memory) {
        return
            string.concat(
                "the merged model of round ",
                Words.number(_mergedRound),
                " is ",
                Words.digest(_merged),
                ", the check-in is based on ",
                Words.digest(base)
            );
    }
}
