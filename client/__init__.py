"""The other end of the wire: a synchronous and an asynchronous client, and the shell.

May import the wire, the floor and the grammar; never the engine, the server or faiss.
"""
