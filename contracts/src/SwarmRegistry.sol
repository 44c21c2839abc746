// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {Refusals} from "./Refusals.sol";
import {Words} from "./Words.sol";

/// @title SwarmRegistry
/// @notice Says which accounts may write to the swarm's contracts, and finds contracts by name.
///
/// A *writer* is the account of an SN. Its deployer, the sentinel, is the first one; writers admit
/// further writers. Names are permanent: an entry can be added, never changed or removed.
contract SwarmRegistry {
    /// @notice Kinds of entries.
    uint8 public constant TRAINING = 1;
    uint8 public constant TASKRUNNER = 2;
    uint8 public constant SYSTEM = 3;

    struct Entry {
        uint8 kind;
        address at;
        uint64 created;
    }

    /// @notice Which accounts may change the state of the swarm's contracts.
    mapping(address account => bool) public isWriter;
    uint256 private _writers;
    mapping(string name => Entry) private _entries;

    event WriterAdded(address writer);
    event WriterRemoved(address writer);
    event Registered(string name, uint8 kind, address at, uint64 created);

    constructor() {
        _add(msg.sender);
    }

    modifier onlyWriter() {
        if (!isWriter[msg.sender]) revert Refusals.Refused("not-writer", Words.account(msg.sender));
        _;
    }

    /// @notice Admits an account. Harmless if it is a writer already.
    function addWriter(address writer) external onlyWriter {
        if (!isWriter[writer]) _add(writer);
    }

    /// @notice Takes an account's right to write. Harmless if it has none; the last writer stays.
    function removeWriter(address writer) external onlyWriter {
        if (!isWriter[writer]) return;
        if (_writers == 1) {
            revert Refusals.Refused("bad-value", "the last writer cannot be removed");
        }
        _writers--;
        isWriter[writer] = false;
        emit WriterRemoved(writer);
    }

    /// @notice Gives a contract a name, for ever.
    /// @param name any text but the empty one.
    /// @param kind TRAINING, TASKRUNNER or SYSTEM.
    /// @param at the contract's address.
    function register(string calldata name, uint8 kind, address at) external onlyWriter {
        if (bytes(name).length == 0) revert Refusals.Refused("bad-value", "the name is empty");
        if (kind < TRAINING || kind > SYSTEM) {
            revert Refusals.Refused(
                "bad-value",
                string.concat("no such kind of contract: ", Words.number(kind))
            );
        }
        if (at == address(0)) revert Refusals.Refused("bad-value", "the address is zero");
        if (_entries[name].kind != 0) revert Refusals.Refused("name-taken", name);
        uint64 created = uint64(block.timestamp);
        _entries[name] = Entry(kind, at, created);
        emit Registered(name, kind, at, created);
    }

    /// @notice Finds a contract; kind 0 if nothing has that name.
    /// @return kind TRAINING, TASKRUNNER or SYSTEM.
    /// @return at the contract's address.
    /// @return created chain time of its registration, Unix seconds.
    function lookup(
        string calldata name
    ) external view returns (uint8 kind, address at, uint64 created) {
        Entry storage entry = _entries[name];
        return (entry.kind, entry.at, entry.created);
    }

    function _add(address writer) private {
        isWriter[writer] = true;
        _writers++;
        emit WriterAdded(writer);
    }
}
