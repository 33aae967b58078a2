"""The part of the site file that says how servers are reached that exist already (provider inventory).

Owns the meaning of these keys. What spans several of them is ``server_rules``'.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ai_how.site.section import Section

HostKey = Annotated[str, Field(pattern=r"^SHA256:[A-Za-z0-9+/]{43}$")]
"""A fingerprint as ``ssh-keygen -lf`` prints it."""


class Ssh(Section):
    """How servers are reached (provider inventory). At the top it is said for all; what a host says itself counts."""

    user: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_.-]{0,31}$")] | None = None
    """Whom to log in as, root or one who may use sudo without a password; or written before the address: admin@host."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """TCP port of its SSH server; default 22."""
    key_file: str | None = None
    """Private key to log in with; default: those that your SSH agent holds, and the usual ones in ~/.ssh."""
    jump: Annotated[str, Field(pattern=r"^[A-Za-z0-9][^\s]*$")] | None = None
    """Machine to go through, user@host or ssh://user@host:port; reached as your own ssh reaches it."""
