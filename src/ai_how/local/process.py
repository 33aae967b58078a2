"""What a supervised process is: the data that its settings, its supervisor entry and its launcher share. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """One supervised process.

    ``env_files`` hold its secrets and are read by the launcher. ``files`` are configuration files (path -> text,
    without secrets) written before it starts. ``health`` is a URL that answers below 500 when it works, or
    ``tcp://host:port``; None where running is all that can be asked. ``write_check`` is what
    ``health.write_problem`` asks, for a store that must take writes too.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    env_files: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    health: str | None = None
    write_check: str | None = None
    start_timeout_s: float = 60
    stop_wait_s: float = 10
    restart: bool = True
    version: str = ""

    def to_settings(self) -> dict[str, Any]:
        """As plain JSON, for the plan and for the launcher."""
        return {
            "argv": list(self.argv),
            "env": dict(self.env),
            "env_files": list(self.env_files),
            "files": dict(self.files),
            "ports": dict(self.ports),
            "health": self.health,
            "write_check": self.write_check,
            "start_timeout_s": self.start_timeout_s,
            "stop_wait_s": self.stop_wait_s,
            "restart": self.restart,
            "version": self.version,
        }

    @staticmethod
    def from_settings(name: str, settings: Mapping[str, Any]) -> ProcessSpec:
        """The reverse of ``to_settings``.

        Raises:
            TypeError: settings of another version, with keys missing or unknown.
        """
        values = {**settings, "argv": tuple(settings["argv"]), "env_files": tuple(settings["env_files"])}
        return ProcessSpec(name=name, **values)
