"""What the server was told to do by its command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reddb import limits


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What `reddb serve` was told."""

    data: Path
    cores: int
    host: str
    port: int
    machine_bytes: int  # of memory, of which buffers take a part
    builder_bytes: int = 0
    builders: int = limits.CORES_MAX
    hung_after_s: int = limits.HUNG_AFTER_S
    archive_dir: Path | None = None

    def described(self) -> dict[str, int | str | None]:
        """The same by the names of `SERVER_SETTINGS`."""
        return {
            "data": str(self.data.resolve()),
            "cores": self.cores,
            "host": self.host,
            "port": self.port,
            "builders": self.builders,
            "builder_memory_mib": self.builder_bytes // limits.MIB,
            "hung_after_s": self.hung_after_s,
            "archive_dir": None if self.archive_dir is None else str(self.archive_dir.resolve()),
        }
