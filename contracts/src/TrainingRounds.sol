// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {Refusals} from "./Refusals.sol";
import {TrainingState} from "./TrainingState.sol";
import {Words} from "./Words.sol";

/// @title TrainingRounds
/// @notice How peers, check-ins, leaders and rounds change: a part of TrainingContract.
abstract contract TrainingRounds is TrainingState {
    // --- peers ------------------------------------------------------------------------------

    function _fixTerms(
        uint32 minPeers,
        bytes32 method,
        bool adaptive,
        uint32 leaderTimeout,
        uint8 attestations
    ) internal {
        if (minPeers == 0 || method == 0 || leaderTimeout == 0) {
            revert Refusals.Refused(
                "bad-value",
                "min peers, merge method or leader timeout is zero"
            );
        }
        if (attestations >= minPeers) {
            revert Refusals.Refused(
                "bad-value",
                string.concat(
                    "min peers must be more than the attestations of a merge, which the leader "
                    "cannot give itself: ",
                    Words.number(minPeers),
                    " min peers, ",
                    Words.number(attestations),
                    " attestations"
                )
            );
        }
        _attestations = attestations;
        _minPeers = minPeers;
        _method = method;
        _adaptive = adaptive;
        _leaderTimeout = leaderTimeout;
        _round = 1;
        _phase = Phase.CHECKIN;
    }

    /// Makes a peer live and training; says whether that changed anything.
    function _seat(bytes16 peer, bool mayLead) internal returns (bool) {
        Peer storage p = _peers[_generation][peer];
        if (p.live && p.mayLead == mayLead && p.state == PeerState.TRAINING) return false;
        if (!p.enrolled) {
            p.enrolled = true;
            _enrolled[_generation].push(peer);
        }
        bool counted = _counts(p);
        if (counted) _count(p, false);
        p.mayLead = mayLead;
        p.state = PeerState.TRAINING;
        _revive(peer, p);
        if (counted) _count(p, true);
        return true;
    }

    /// Makes a peer live.
    function _revive(bytes16 peer, Peer storage p) internal {
        p.live = true;
        if (p.seated) return;
        p.seated = true;
        _seats[_generation].push(peer);
    }

    /// Takes the seats of peers that are not live; the others keep their order.
    function _clearSeats() internal {
        bytes16[] storage all = _seats[_generation];
        uint256 kept = 0;
        for (uint256 i = 0; i < all.length; i++) {
            bytes16 uid = all[i];
            Peer storage p = _peers[_generation][uid];
            if (!p.live) {
                p.seated = false;
                continue;
            }
            if (kept != i) all[kept] = uid;
            kept++;
        }
        while (all.length > kept) all.pop();
    }

    function _depart(
        bytes16 peer,
        Peer storage p,
        string memory reason,
        string memory ifLeader,
        string memory ifReopened
    ) internal {
        p.live = false;
        emit Left(_generation, _round, peer, reason);
        if (_phase != Phase.MERGING) {
            if (_counts(p)) _count(p, false);
            p.checkedIn = 0;
            _clearSeats();
        }
        if (peer == _leader) {
            _replaceLeader(ifLeader, 0);
        } else if (_lacksAttesters()) {
            _replaceLeader("too few attesters", 0);
        } else if (_phase == Phase.QUORUM && !_isQuorum()) {
            _reopen(ifReopened);
        }
        _completeIfDone();
    }

    // --- check-ins --------------------------------------------------------------------------

    function _isSame(
        Peer storage p,
        bytes32 digest,
        uint64 size,
        uint32 weightage,
        uint8 state
    ) internal view returns (bool) {
        return
            p.checkedIn == _round &&
            p.digest == digest &&
            p.size == size &&
            p.weightage == weightage &&
            uint8(p.state) == state;
    }

    function _requireFile(bytes32 digest, uint64 size) internal pure {
        if (digest == 0 || size == 0) {
            revert Refusals.Refused("bad-value", "digest or size is zero");
        }
    }

    function _record(
        Peer storage p,
        bytes32 digest,
        uint64 size,
        uint32 weightage,
        uint8 state
    ) internal {
        _requireFile(digest, size);
        if (state > uint8(PeerState.INACTIVE)) {
            revert Refusals.Refused(
                "bad-value",
                string.concat("no such peer state: ", Words.number(state))
            );
        }
        if (weightage > 100 || (weightage == 0 && state != uint8(PeerState.INACTIVE))) {
            revert Refusals.Refused(
                "bad-value",
                string.concat(
                    "weightage must be 1 to 100 (0 only if inactive), not ",
                    Words.number(weightage)
                )
            );
        }
        if (p.state == PeerState.TRAINING) {
            if (state != uint8(PeerState.TRAINING)) p.closedIn = _round;
        } else if (state == uint8(PeerState.TRAINING)) {
            revert Refusals.Refused(
                "bad-value",
                "the peer has closed; it must enrol to train again"
            );
        }
        p.state = PeerState(state);
        p.weightage = uint8(weightage);
        p.size = size;
        p.digest = digest;
        if (p.checkedIn == _round) return; // it replaces one that is counted: as fresh, too
        p.checkedIn = _round;
        p.droppedIn = 0;
        p.attestedIn = 0;
        _count(p, true);
    }

    function _isFresh(Peer storage p) internal view returns (bool) {
        return p.state == PeerState.TRAINING || p.closedIn == _round;
    }

    /// Counts a check-in, or no longer. To be called while the peer is as it is or was counted.
    function _count(Peer storage p, bool in_) internal {
        if (in_) {
            _checkIns++;
            if (_isFresh(p)) _fresh++;
        } else {
            _checkIns--;
            if (_isFresh(p)) _fresh--;
        }
    }

    function _clearCounts() internal {
        _checkIns = 0;
        _fresh = 0;
    }

    // --- leaders and rounds -----------------------------------------------------------------

    /// Whether too few of those who could attest the open merge are left: contributors other than
    /// the leader that are live, or have attested it already.
    function _lacksAttesters() internal view returns (bool) {
        if (_attestations == 0 || _phase != Phase.MERGING) return false;
        bytes16[] storage all = _seats[_generation];
        uint256 left = 0;
        for (uint256 i = 0; i < all.length; i++) {
            Peer storage p = _peers[_generation][all[i]];
            if (all[i] == _leader || !_counts(p)) continue;
            if (p.live || p.attestedIn == _term) left++;
        }
        return left < _attestations;
    }

    function _isQuorum() internal view returns (bool) {
        return _checkIns >= _minPeers && _fresh != 0;
    }

    /// Begins the next term, if there is a quorum and somebody who can lead it. `barred` leads it
    /// only if nobody else can: otherwise all would wait for a check-in that nobody needs to send.
    function _elect(string memory reason, bytes16 barred) internal returns (bool) {
        if (!_isQuorum()) return false;
        uint32 term = _term + 1;
        bytes16 leader = _choose(term, barred);
        if (leader == 0 && barred != 0) leader = _choose(term, 0);
        if (leader == 0) return false;
        _term = term;
        _phase = Phase.QUORUM;
        _leader = leader;
        _quorumAt = uint64(block.timestamp);
        emit LeaderElected(_generation, _round, term, leader, reason);
        return true;
    }

    /// The smallest hash among those who checked in and may lead, and are not lost.
    function _choose(uint32 term, bytes16 barred) internal view returns (bytes16 leader) {
        bytes16[] storage all = _seats[_generation];
        bytes32 floor = 0;
        while (true) {
            bytes32 least = bytes32(type(uint256).max);
            leader = 0;
            for (uint256 i = 0; i < all.length; i++) {
                bytes16 uid = all[i];
                Peer storage p = _peers[_generation][uid];
                if (uid == barred || !p.live || !p.mayLead || p.exposed || !_counts(p)) continue;
                bytes32 lot = keccak256(
                    abi.encodePacked(address(this), _generation, _round, term, uid)
                );
                if (lot > floor && lot < least) (least, leader) = (lot, uid);
            }
            if (leader == 0 || !nodes.isLost(leader)) return leader;
            floor = least;
        }
    }

    /// Ends the present term without a merge: the next leader, or back to CHECKIN.
    function _replaceLeader(string memory reason, bytes16 barred) internal {
        _reapLost();
        _regather(false);
        if (!_elect(reason, barred)) _reopen(reason);
    }

    function _reapLost() internal {
        bytes16[] storage all = _seats[_generation];
        for (uint256 i = 0; i < all.length; i++) {
            Peer storage p = _peers[_generation][all[i]];
            if (!p.live || !nodes.isLost(all[i])) continue;
            p.live = false;
            emit Left(_generation, _round, all[i], "lost");
        }
    }

    /// Takes away the check-ins of peers no longer live, and on request of dropped ones; counts
    /// the rest.
    function _regather(bool withoutDropped) internal {
        bytes16[] storage all = _seats[_generation];
        _clearCounts();
        for (uint256 i = 0; i < all.length; i++) {
            Peer storage p = _peers[_generation][all[i]];
            if (p.checkedIn != _round) continue;
            if (!p.live || (withoutDropped && !_counts(p))) {
                p.checkedIn = 0;
            } else {
                p.droppedIn = 0;
                _count(p, true);
            }
        }
        _clearSeats();
    }

    function _reopen(string memory reason) internal {
        _phase = Phase.CHECKIN;
        _leader = 0;
        emit Reopened(_generation, _round, reason);
    }

    /// Opens the next round. I1: rounds follow each other without gaps, one publish each.
    function _close() internal {
        assert(_mergedRound + 1 == _round);
        assert(_checkIns >= _minPeers && _fresh != 0);
        _mergedRound = _round;
        _round++;
        _term = 0;
        _phase = Phase.CHECKIN;
        _leader = 0;
        _clearCounts();
        _clearSeats();
    }

    /// The training is over once there is a merged model, somebody is live, and no live peer trains
    /// or has its last training still to contribute.
    function _completeIfDone() internal {
        if (_phase != Phase.CHECKIN || _mergedRound == 0) return;
        bytes16[] storage all = _seats[_generation];
        bool anybody = false;
        for (uint256 i = 0; i < all.length; i++) {
            Peer storage p = _peers[_generation][all[i]];
            if (!p.live) continue;
            if (_isFresh(p)) return;
            anybody = true;
        }
        if (!anybody) return;
        _phase = Phase.COMPLETED;
        emit Completed(_generation, _mergedRound);
    }
}
