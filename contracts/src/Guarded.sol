// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {Refusals} from "./Refusals.sol";
import {SwarmRegistry} from "./SwarmRegistry.sol";
import {Words} from "./Words.sol";

/// @title Guarded
/// @notice A contract whose state only the registry's writers change.
abstract contract Guarded {
    /// @notice Says who the writers are.
    SwarmRegistry public immutable registry;

    constructor(SwarmRegistry registry_) {
        registry = registry_;
    }

    modifier onlyWriter() {
        _requireWriter();
        _;
    }

    function _requireWriter() private view {
        if (!registry.isWriter(msg.sender)) {
            revert Refusals.Refused("not-writer", Words.account(msg.sender));
        }
    }
}
