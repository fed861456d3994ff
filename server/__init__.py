"""What moves: processes, sockets, timers, the command line.

May import all of the engine, never the client (the command line may, late).
"""
