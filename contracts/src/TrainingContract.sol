// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {NodeRegistry} from "./NodeRegistry.sol";
import {Refusals} from "./Refusals.sol";
import {SwarmRegistry} from "./SwarmRegistry.sol";
import {TrainingChecks} from "./TrainingChecks.sol";
import {TrainingProposals} from "./TrainingProposals.sol";
import {TrainingState} from "./TrainingState.sol";
import {Words} from "./Words.sol";

/// @title TrainingContract
/// @notice The authority on one training: who takes part, which round is open, who leads it, and
/// which merged model each round ended with. It holds digests, never models.
///
///                  enrol              quorum               freeze
///   UNINITIALIZED -------> CHECKIN -----------> QUORUM ---------------> MERGING
///         ^                 ^ | ^                ^ |                     | | |
///         |                 | | |                | | leader replaced:    | | |
///         | reset:          | | |                | | term+1              | | |
///         | generation+1    | | |                +-+---------------------+ | |
///         |                 | | |                  |                       | |
///     any phase             | | +------------------+-----------------------+ |
///                           | |        Reopened: no quorum any more          |
///                           | |                                              |
///                           +-|----------------------------------------------+
///                             |        publish: round+1, term 0
///                             v
///                         COMPLETED    once no live peer has anything new to contribute: after a
///                                      publish, a drop, a leave, a reap or a report of the leader
///
/// A *round* ends with exactly one published merge; within a round the *term* counts its leaders.
/// Every call names the generation, the round and, where a leader acts, the term it is about. So
/// repeating a call is harmless and a late one is refused.
///
/// Where merges must be attested, what a leader publishes is a proposal: MERGING goes on until as
/// many contributors as the terms say made the same merge (then it counts), or agree on another one
/// (then the leader is exposed and replaced).
///
/// A check-in is *fresh* if its peer's ML program trains, or closed in this very round. Closed
/// peers go on contributing, but a round needs a fresh check-in: without one there is nothing new
/// to merge.
///
/// A fold over the events rebuilds this state. What an event does not say itself:
/// - Enrolled makes a peer live and TRAINING, also one that is enrolled already.
/// - Left takes the peer's check-in away, at once in CHECKIN and QUORUM. In MERGING it stays, and
///   goes when the merge ends without a result, that is at the next LeaderElected or Reopened.
/// - LeaderElected, Reopened and Published end a proposal.
/// - LeaderElected and Reopened forget the drops. Where Reopened follows from a drop ("below min
///   peers", "nothing new to merge") the check-ins of the dropped peers go, too.
/// - Published opens round+1 with no check-ins, no leader and term 0.
contract TrainingContract is TrainingChecks, TrainingProposals {
    constructor(SwarmRegistry registry_, NodeRegistry nodes_) TrainingState(registry_, nodes_) {}

    // --- peers come and go ------------------------------------------------------------------

    /// @notice A peer joins, or its ML program started again.
    /// @param generation the contract's generation; 0 for whatever is current.
    /// @param peer the peer's node id.
    /// @param minPeers check-ins that make a quorum; the first peer's binds the others.
    /// @param method merge method in ASCII; the first peer's binds the others.
    /// @param adaptive adaptive sync; the first peer's binds the others.
    /// @param mayLead whether this peer may lead rounds.
    /// @param leaderTimeout seconds after which a term may be ended; the first peer's holds.
    /// @param attestations of a merge by others than its leader, before it counts; the first peer's
    /// binds the others.
    function enrol(
        uint32 generation,
        bytes16 peer,
        uint32 minPeers,
        bytes32 method,
        bool adaptive,
        bool mayLead,
        uint32 leaderTimeout,
        uint8 attestations
    ) external onlyWriter {
        if (generation != 0) _requireGeneration(generation);
        _requireNotCompleted();
        if (nodes.isLost(peer)) {
            revert Refusals.Refused(
                "unknown-node",
                string.concat("node ", Words.uid(peer), " is not registered, is lost or has left")
            );
        }
        if (_phase == Phase.UNINITIALIZED) {
            _fixTerms(minPeers, method, adaptive, leaderTimeout, attestations);
        } else if (
            minPeers != _minPeers ||
            method != _method ||
            adaptive != _adaptive ||
            attestations != _attestations
        ) {
            revert Refusals.Refused(
                "terms-differ",
                _termsDiffer(minPeers, method, adaptive, attestations)
            );
        }
        if (!_seat(peer, mayLead)) return;
        emit Enrolled(
            _generation,
            _round,
            peer,
            minPeers,
            method,
            adaptive,
            mayLead,
            _leaderTimeout,
            attestations
        );
        if (_phase == Phase.CHECKIN) _elect("quorum", 0); // its check-in may have lacked a leader
    }

    /// @notice A peer ends before the training does. Harmless if it is not live.
    function leave(uint32 generation, bytes16 peer, string calldata reason) external onlyWriter {
        Peer storage p = _requireEnrolled(generation, peer);
        if (p.live && _phase != Phase.COMPLETED) {
            _depart(peer, p, reason, "leader left", "peer left");
        }
    }

    /// @notice Takes out a peer whose node is lost. Harmless if it is not live.
    function reap(uint32 generation, bytes16 peer) external onlyWriter {
        Peer storage p = _requireEnrolled(generation, peer);
        if (!nodes.isLost(peer)) {
            revert Refusals.Refused(
                "not-lost",
                string.concat("node ", Words.uid(peer), " is alive")
            );
        }
        if (p.live && _phase != Phase.COMPLETED) {
            _depart(peer, p, "lost", "leader lost", "peer lost");
        }
    }

    // --- a round ----------------------------------------------------------------------------

    /// @notice A peer's parameters for the open round are on its file server.
    /// @param generation the contract's generation.
    /// @param peer the peer's node id.
    /// @param round the open round.
    /// @param base digest of the merged model it trained from; 0 in round 1.
    /// @param digest the file's digest.
    /// @param size the file's bytes.
    /// @param weightage 1 to 100; 0 only from an INACTIVE peer.
    /// @param state a PeerState; once closed, only enrol leads back to TRAINING.
    /// @param measured on the merged model of the round before, if at all.
    function checkIn(
        uint32 generation,
        bytes16 peer,
        uint32 round,
        bytes32 base,
        bytes32 digest,
        uint64 size,
        uint32 weightage,
        uint8 state,
        Perf calldata measured
    ) external onlyWriter {
        Peer storage p = _requireEnrolled(generation, peer);
        _requireNotCompleted();
        Refusals.equal("wrong-round", "round", _round, round);
        if (base != _merged) revert Refusals.Refused("stale-base", _staleBase(base));
        bool news = !_isSame(p, digest, size, weightage, state);
        if (news && _phase == Phase.MERGING) {
            revert Refusals.Refused(
                "wrong-phase",
                "the round is closed to check-ins; check in to the next one"
            );
        }
        if (!p.live) {
            _revive(peer, p);
            emit Returned(generation, round, peer);
        }
        if (news) {
            _record(p, digest, size, weightage, state);
            emit CheckedIn(generation, round, peer, base, digest, size, weightage, state, measured);
        }
        if (_phase == Phase.CHECKIN) _elect("quorum", 0);
    }

    /// @notice The leader closes the round to further check-ins. Repeating it is harmless.
    function freeze(
        uint32 generation,
        uint32 round,
        uint32 term,
        bytes16 leader
    ) external onlyWriter {
        _requireLeader(generation, round, term, leader);
        if (_phase == Phase.MERGING) return;
        assert(_phase == Phase.QUORUM);
        _phase = Phase.MERGING;
        emit Frozen(generation, round, term, leader, participants());
    }

    /// @notice The leader drops a participant from its merge. Repeating it is harmless.
    function drop(
        uint32 generation,
        uint32 round,
        uint32 term,
        bytes16 leader,
        bytes16 peer,
        string calldata reason
    ) external onlyWriter {
        _requireLeader(generation, round, term, leader);
        _requireMerging();
        Peer storage p = _requireEnrolled(generation, peer);
        if (peer == leader) {
            revert Refusals.Refused("not-participant", "a leader cannot drop itself");
        }
        if (p.checkedIn != round) revert Refusals.Refused("not-participant", Words.uid(peer));
        if (!_counts(p)) return;
        if (_isProposed()) {
            revert Refusals.Refused("contradicts", "the leader has proposed a merge with this peer");
        }
        _count(p, false);
        p.droppedIn = term;
        emit Dropped(generation, round, term, peer, reason);
        if (_checkIns < _minPeers || _fresh == 0) {
            string memory why = _checkIns < _minPeers ? "below min peers" : "nothing new to merge";
            _regather(true);
            _reopen(why);
        } else if (_lacksAttesters()) {
            _replaceLeader("too few attesters", 0);
        }
        _completeIfDone();
    }

    /// @notice The leader ends the round with its merged model; where merges must be attested, it
    /// proposes it, and the last attestation ends the round. Repeating it is harmless.
    /// @param generation the contract's generation.
    /// @param round the open round.
    /// @param term the present term: a leader that was replaced is refused.
    /// @param leader the leader's node id.
    /// @param digest the merged file's digest.
    /// @param size the merged file's bytes.
    /// @param contributors the participants not dropped, in ascending order.
    /// @param nextInterval adaptive sync: every peer's next interval in batches; 0 for its own.
    function publish(
        uint32 generation,
        uint32 round,
        uint32 term,
        bytes16 leader,
        bytes32 digest,
        uint64 size,
        bytes16[] calldata contributors,
        uint32 nextInterval
    ) external onlyWriter {
        bytes32 call_ = keccak256(msg.data);
        if (call_ == _lastPublish && generation == _generation) return;
        _requireLeader(generation, round, term, leader);
        _requireMerging();
        if (_isProposed()) {
            if (call_ == _proposal.call) return;
            revert Refusals.Refused("contradicts", "the leader has proposed another merge");
        }
        _requireFile(digest, size);
        if (!_requireContributors(contributors) && _merged != 0 && digest != _merged) {
            revert Refusals.Refused(
                "bad-value",
                "all contributors have weightage 0: the merged model must stay the last one"
            );
        }
        Proposal memory made = Proposal(
            generation,
            round,
            term,
            nextInterval,
            size,
            0,
            digest,
            call_
        );
        if (_attestations == 0) {
            _publish(made, contributors);
            _completeIfDone();
        } else {
            _propose(made, contributors);
        }
    }

    /// @notice A contributor made the leader's merge once more; this is what it got. The last one
    /// that is needed ends the round, or the leader's term. Repeating it is harmless.
    /// @param generation the contract's generation.
    /// @param round the open round.
    /// @param term the present term.
    /// @param peer the contributor's node id; not the leader's.
    /// @param digest the merged file's digest, as the peer computed it.
    /// @param size its bytes.
    function attest(
        uint32 generation,
        uint32 round,
        uint32 term,
        bytes16 peer,
        bytes32 digest,
        uint64 size
    ) external onlyWriter {
        Peer storage p = _requireEnrolled(generation, peer);
        bytes32 statement = _statement(round, term, digest, size);
        if (p.attested == statement) return;
        Refusals.equal("wrong-round", "round", _round, round);
        Refusals.equal("stale-term", "term", _term, term);
        if (!_isProposed()) {
            revert Refusals.Refused("wrong-phase", "no merge waits for attestations");
        }
        if (peer == _leader || !p.live || !_counts(p)) {
            revert Refusals.Refused("not-participant", Words.uid(peer));
        }
        _requireFile(digest, size);
        if (p.attestedIn == term) {
            revert Refusals.Refused("contradicts", "the peer has attested another merge");
        }
        p.attestedIn = term;
        p.attested = statement;
        bool agrees = digest == _proposal.digest && size == _proposal.size;
        emit Attested(generation, round, term, peer, digest, size, agrees);
        if (agrees) {
            _agree();
        } else {
            _disagree(statement, digest, size);
        }
        _completeIfDone();
    }

    /// @notice A peer asks for the next leader: the present one is lost, or its time is over.
    /// About a leader that was replaced already it is harmless.
    function reportLeader(
        uint32 generation,
        uint32 round,
        uint32 term,
        bytes16 reporter
    ) external onlyWriter {
        _requireEnrolled(generation, reporter);
        Refusals.equal("wrong-round", "round", _round, round);
        if (term < _term) return;
        Refusals.equal("stale-term", "term", _term, term);
        bytes16 leader = _leader;
        if (leader == 0) _refusePhase("QUORUM or MERGING");
        if (nodes.isLost(leader)) {
            _depart(leader, _peers[generation][leader], "lost", "leader lost", "");
            return;
        }
        uint256 deadline = uint256(_quorumAt) + _leaderTimeout;
        if (block.timestamp < deadline) {
            revert Refusals.Refused(
                "not-lost",
                string.concat(
                    "the leader is alive and has ",
                    Words.number(deadline - block.timestamp),
                    " s left"
                )
            );
        }
        _replaceLeader("deadline passed", leader);
        _completeIfDone();
    }

    // --- the ledger -------------------------------------------------------------------------

    /// @notice Loss and metric of a round's merged model, when no check-in follows to carry them.
    function perf(
        uint32 generation,
        bytes16 peer,
        uint32 round,
        Perf calldata measured
    ) external onlyWriter {
        _requireEnrolled(generation, peer);
        if (round == 0 || round > _mergedRound) {
            revert Refusals.Refused(
                "wrong-round",
                string.concat("round ", Words.number(round), " has no merged model")
            );
        }
        emit PerfReported(generation, round, peer, measured);
    }

    /// @notice Records that a peer's call was refused; it changes nothing else. The generation and
    /// the round are those of the call that was refused.
    function refused(
        uint32 generation,
        bytes16 peer,
        uint32 round,
        string calldata code,
        string calldata detail
    ) external onlyWriter {
        emit Refused(generation, round, peer, code, detail);
    }

    /// @notice Makes the contract ready for another training; the ledger keeps the old one.
    function reset(uint32 generation, string calldata by) external onlyWriter {
        _requireGeneration(generation);
        emit Reset(generation, _round, by);
        _generation = generation + 1;
        _round = 0;
        _term = 0;
        _phase = Phase.UNINITIALIZED;
        _leader = 0;
        _minPeers = 0;
        _attestations = 0;
        _leaderTimeout = 0;
        _adaptive = false;
        _quorumAt = 0;
        _mergedRound = 0;
        _clearCounts();
        _method = 0;
        _merged = 0;
    }
}
