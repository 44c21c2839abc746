"""A QBFT network of Hyperledger Besu validators for the SNs, as a folder. See docs/besu.md."""
