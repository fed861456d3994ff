"""The native protocol without sockets: bytes to messages and back, the same code on both sides.

May import the floor only.
"""
