"""Connection URLs.

red://host[:port]      a server; the port defaults to 5050
file:path              a data folder, opened in this process
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from reddb import errors
from reddb.wording import shown

PORT = 5050
_FORMS = "red://host:port or file:path"


@dataclass(frozen=True, slots=True)
class ServerAddress:
    host: str
    port: int


def parse_url(url: str) -> ServerAddress | str:
    """The server's address, or the path of a data folder. Raises INVALID_URL."""
    if not isinstance(url, str):
        raise errors.INVALID_URL.error(f"url is a string, not {shown(url)}", hint=_FORMS)
    scheme, colon, rest = url.partition(":")
    if scheme == "file" and colon:
        path = rest.removeprefix("//")
        if not path:
            raise errors.INVALID_URL.error(f"{url!r} names no folder", hint="file:./data")
        return path
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise errors.INVALID_URL.error(f"{url!r} is no URL: {error}", hint=_FORMS) from error
    if parts.scheme != "red" or not parts.hostname:
        raise errors.INVALID_URL.error(f"{url!r} is not of a known form", hint=_FORMS)
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username:
        raise errors.INVALID_URL.error(f"{url!r} has parts that mean nothing yet", hint=_FORMS)
    return ServerAddress(parts.hostname, PORT if port is None else port)
