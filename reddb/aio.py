"""The asynchronous client, under the name that its users import.

async with reddb.aio.connect("red://127.0.0.1:5050") as db: ...
"""

from __future__ import annotations

from reddb.client.aio import AsyncClient, AsyncPreparedStatement, AsyncSession, AsyncTransaction, connect

__all__ = ["AsyncClient", "AsyncPreparedStatement", "AsyncSession", "AsyncTransaction", "connect"]
