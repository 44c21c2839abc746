"""The protocol between an ML program and its SL node: messages, framing, model files, digests.

Pure: bytes and arrays in, bytes and arrays out. The only part of this package that services may
import. ``compat/01`` of the project is its specification.
"""
