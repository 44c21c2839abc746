// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {Guarded} from "./Guarded.sol";
import {NodeRegistry} from "./NodeRegistry.sol";
import {SwarmRegistry} from "./SwarmRegistry.sol";

/// @title TrainingState
/// @notice What a training contract remembers, says in events and shows: a part of
/// TrainingContract, which explains it.
abstract contract TrainingState is Guarded {
    enum Phase {
        UNINITIALIZED,
        CHECKIN,
        QUORUM,
        MERGING,
        COMPLETED
    }

    /// @notice What stands behind a peer's check-ins: its ML program, or (closed) its SL alone.
    enum PeerState {
        TRAINING,
        SNAPSHOT,
        ACTIVE,
        INACTIVE
    }

    /// @notice Loss and metric (IEEE-754 binary32 bits) of a merged model on a peer's own data.
    struct Perf {
        bool present;
        uint32 loss;
        uint32 metric;
        uint32 epochs;
        uint32 totalEpochs;
    }

    struct Peer {
        bool enrolled;
        bool live;
        bool seated; // is among _seats
        bool mayLead; // as it enrolled; an exposed one does not
        bool exposed; // led a round and published what others did not compute
        PeerState state;
        uint8 weightage; // of its last check-in, like size and digest
        uint32 closedIn; // round in which its ML program closed; while it trains, of no meaning
        uint32 checkedIn; // round of its check-in; not the open round: it has none
        uint32 droppedIn; // term of the open round in which it was dropped, or less
        uint32 attestedIn; // the same for its attestation
        uint64 size;
        bytes32 digest;
        bytes32 attested; // what it attested last: see _statement
    }

    /// @notice The merge that a leader published and that others must attest. It is about its term
    /// alone, so nothing need be cleared.
    struct Proposal {
        uint32 generation;
        uint32 round;
        uint32 term;
        uint32 nextInterval;
        uint64 size;
        uint8 agreed; // how many attested it
        bytes32 digest;
        bytes32 call; // what publish was called with
    }

    /// @notice Who is registered, lost or gone.
    NodeRegistry public immutable nodes;

    // One storage slot each for the two groups; most calls write no others but the peer's.
    uint32 internal _generation = 1;
    uint32 internal _round; // the open one; 0 while UNINITIALIZED
    uint32 internal _term; // 0 before the round's first quorum
    Phase internal _phase;
    bytes16 internal _leader; // 0 outside QUORUM and MERGING

    uint32 internal _minPeers;
    uint32 internal _leaderTimeout; // seconds
    bool internal _adaptive;
    uint64 internal _quorumAt; // chain time of the last election
    uint32 internal _mergedRound; // always _round - 1, except while UNINITIALIZED
    uint24 internal _checkIns; // to the open round, without dropped ones
    uint24 internal _fresh; // of them
    uint8 internal _attestations; // that a merge needs; 0: none

    bytes32 internal _method; // ASCII, padded with zero bytes
    bytes32 internal _merged; // digest of the latest merged model; 0 before the first
    bytes32 internal _lastPublish; // what the last publish was called with
    Proposal internal _proposal; // never written without attestations

    mapping(uint32 generation => mapping(bytes16 uid => Peer)) internal _peers;
    mapping(uint32 generation => bytes16[]) internal _enrolled;

    // All live peers, and in MERGING also those that left with a check-in to merge: whoever calls
    // pays for these, not for all that ever enrolled.
    mapping(uint32 generation => bytes16[]) internal _seats;

    event Enrolled(
        uint32 generation,
        uint32 round,
        bytes16 peer,
        uint32 minPeers,
        bytes32 method,
        bool adaptive,
        bool mayLead,
        uint32 leaderTimeout,
        uint8 attestations
    );
    event CheckedIn(
        uint32 generation,
        uint32 round,
        bytes16 peer,
        bytes32 base,
        bytes32 digest,
        uint64 size,
        uint32 weightage,
        uint8 state,
        Perf perf
    );
    event LeaderElected(
        uint32 generation,
        uint32 round,
        uint32 term,
        bytes16 leader,
        string reason
    );
    event Frozen(
        uint32 generation,
        uint32 round,
        uint32 term,
        bytes16 leader,
        bytes16[] participants
    );
    event Dropped(uint32 generation, uint32 round, uint32 term, bytes16 peer, string reason);
    event Reopened(uint32 generation, uint32 round, string reason);
    event Published(
        uint32 generation,
        uint32 round,
        uint32 term,
        bytes16 leader,
        bytes32 digest,
        uint64 size,
        bytes16[] contributors,
        uint32 nextInterval
    );
    event Proposed(
        uint32 generation,
        uint32 round,
        uint32 term,
        bytes16 leader,
        bytes32 digest,
        uint64 size,
        bytes16[] contributors,
        uint32 nextInterval
    );
    event Attested(
        uint32 generation,
        uint32 round,
        uint32 term,
        bytes16 peer,
        bytes32 digest,
        uint64 size,
        bool agrees
    );
    event Exposed(
        uint32 generation,
        uint32 round,
        uint32 term,
        bytes16 leader,
        bytes32 digest,
        uint64 size,
        bytes32 computed,
        uint64 computedSize
    );
    event Returned(uint32 generation, uint32 round, bytes16 peer);
    event Left(uint32 generation, uint32 round, bytes16 peer, string reason);
    event Refused(uint32 generation, uint32 round, bytes16 peer, string code, string detail);
    event PerfReported(uint32 generation, uint32 round, bytes16 peer, Perf perf);
    event Completed(uint32 generation, uint32 round);
    event Reset(uint32 generation, uint32 round, string by);

    constructor(SwarmRegistry registry_, NodeRegistry nodes_) Guarded(registry_) {
        nodes = nodes_;
    }

    // --- views ------------------------------------------------------------------------------

    /// @notice Where the training stands.
    function summary()
        external
        view
        returns (
            uint32 generation,
            uint8 phase,
            uint32 round,
            uint32 term,
            bytes16 leader,
            uint32 minPeers,
            bytes32 method,
            bool adaptive,
            uint32 leaderTimeout,
            bytes32 mergedDigest,
            uint32 mergedRound,
            uint64 quorumAt,
            uint8 attestations
        )
    {
        generation = _generation;
        phase = uint8(_phase);
        round = _round;
        term = _term;
        leader = _leader;
        minPeers = _minPeers;
        method = _method;
        adaptive = _adaptive;
        leaderTimeout = _leaderTimeout;
        mergedDigest = _merged;
        mergedRound = _mergedRound;
        quorumAt = _quorumAt;
        attestations = _attestations;
    }

    /// @notice The merge that waits for attestations, and how many agreed so far; zeros without one.
    function proposal() external view returns (bytes32 digest, uint64 size, uint32 agreed) {
        if (!_isProposed()) return (0, 0, 0);
        return (_proposal.digest, _proposal.size, _proposal.agreed);
    }

    /// @notice How many peers ever enrolled in this generation.
    function peerCount() external view returns (uint256) {
        return _enrolled[_generation].length;
    }

    /// @notice The id of a peer, in the order of enrolment.
    function peerAt(uint256 index) external view returns (bytes16) {
        return _enrolled[_generation][index];
    }

    /// @notice One peer of this generation. Digest, size and weightage are those of its check-in to
    /// the open round, 0 without one; weightage may be 0 with one. An exposed peer may not lead.
    function peerOf(
        bytes16 uid
    )
        external
        view
        returns (
            bool enrolled,
            bool live,
            bool mayLead,
            uint8 state,
            bytes32 digest,
            uint64 size,
            uint32 weightage,
            bool participant,
            bool dropped
        )
    {
        Peer storage p = _peers[_generation][uid];
        enrolled = p.enrolled;
        live = p.live;
        mayLead = p.mayLead && !p.exposed;
        state = uint8(p.state);
        if (p.checkedIn == _round && _round != 0) {
            digest = p.digest;
            size = p.size;
            weightage = p.weightage;
            dropped = !_counts(p);
            participant = _phase == Phase.MERGING && !dropped;
        }
    }

    /// @notice Whose check-ins the leader is to merge, in the order in which they became live: those
    /// of the frozen round, without dropped ones. None outside MERGING.
    function participants() public view returns (bytes16[] memory list) {
        if (_phase != Phase.MERGING) return list;
        bytes16[] storage all = _seats[_generation];
        list = new bytes16[](_checkIns);
        uint256 count = 0;
        for (uint256 i = 0; i < all.length; i++) {
            if (_counts(_peers[_generation][all[i]])) list[count++] = all[i];
        }
        assert(count == list.length);
    }

    /// Whether the peer has a check-in to the open round that was not dropped.
    function _counts(Peer storage p) internal view returns (bool) {
        return p.checkedIn == _round && (p.droppedIn == 0 || p.droppedIn != _term);
    }

    /// Whether the present leader's merge waits for attestations.
    function _isProposed() internal view returns (bool) {
        return
            _phase == Phase.MERGING &&
            _attestations != 0 &&
            _proposal.term == _term &&
            _proposal.round == _round &&
            _proposal.generation == _generation;
    }
}
