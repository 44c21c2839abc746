// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {Words} from "./Words.sol";

/// @title Refusals
/// @notice The one error that all our contracts revert with, and the refusals that name two values.
/// The codes are stable: programs compare them, and the SN passes them on as they are. The list is
/// in contracts/README.md.
library Refusals {
    /// @notice A call was refused.
    /// @param code a stable word for programs, e.g. "stale-term".
    /// @param detail what differs, for a person, with both values where that helps.
    error Refused(string code, string detail);

    /// @notice Refuses unless both are equal: a call about the wrong generation, round or term.
    /// @param code the refusal's code.
    /// @param what the thing that is counted, e.g. "round".
    /// @param ours the contract's value.
    /// @param given the call's value.
    function equal(
        string memory code,
        string memory what,
        uint256 ours,
        uint256 given
    ) internal pure {
        if (ours == given) return;
        revert Refused(
            code,
            string.concat(
                "the contract is at ",
                what,
                " ",
                Words.number(ours),
                ", the call at ",
                Words.number(given)
            )
        );
    }
}
