// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// @title Words
/// @notice Turns values into text for the detail of a refusal. Only used on the way to a revert, so
/// its gas does not matter.
library Words {
    bytes16 private constant DIGITS = "0123456789abcdef";

    /// @notice A number in decimal.
    function number(uint256 value) internal pure returns (string memory) {
        uint256 length = 1;
        for (uint256 rest = value / 10; rest != 0; rest /= 10) length++;
        bytes memory out = new bytes(length);
        for (uint256 at = length; at != 0; value /= 10) out[--at] = DIGITS[value % 10];
        return string(out);
    }

    /// @notice A digest: 64 hex digits.
    function digest(bytes32 value) internal pure returns (string memory) {
        return _hex(value, 32);
    }

    /// @notice A node id: 32 hex digits.
    function uid(bytes16 value) internal pure returns (string memory) {
        return _hex(bytes32(value), 16);
    }

    /// @notice An account: 40 hex digits.
    function account(address value) internal pure returns (string memory) {
        return _hex(bytes32(bytes20(value)), 20);
    }

    /// @notice Text of at most 31 characters, padded with zero bytes.
    function text(bytes32 value) internal pure returns (string memory) {
        uint256 length = 0;
        while (length < 32 && value[length] != 0) length++;
        bytes memory out = new bytes(length);
        for (uint256 i = 0; i < length; i++) out[i] = value[i];
        return string(out);
    }

    /// @notice "on" or "off".
    function onOff(bool value) internal pure returns (string memory) {
        return value ? "on" : "off";
    }

    function _hex(bytes32 value, uint256 size) private pure returns (string memory) {
        bytes memory out = new bytes(2 * size);
        for (uint256 i = 0; i < size; i++) {
            out[2 * i] = DIGITS[uint8(value[i]) >> 4];
            out[2 * i + 1] = DIGITS[uint8(value[i]) & 15];
        }
        return string(out);
    }
}
