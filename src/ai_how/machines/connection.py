"""One connection to a libvirt host, and libvirt's errors put into our words.

A connection is used by several threads at once: the binding lets others run while a call waits.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ai_how.errors import AiHowError, ConflictError, MissingToolError, NotFoundError, ProviderError, TryAgainError
from ai_how.machines.library import load_libvirt

Connect = Any
"""libvirt.virConnect: the binding has no types."""


def open_connection(uri: str) -> Connect:
    """Connect to a libvirt host: ``qemu:///system``, ``qemu+ssh://root@server/system``.

    Raises:
        MissingToolError: no binding, or nothing answers at a local address.
        ProviderError: no permission, or the remote host refuses.
    """
    libvirt = load_libvirt()
    try:
        return libvirt.open(uri)
    except libvirt.libvirtError as error:
        raise _cannot_connect(uri, error) from error


def _cannot_connect(uri: str, error: Exception) -> AiHowError:
    said = str(error).removeprefix("internal error: ")
    try_it = f"check that this works: virsh -c {shlex.quote(uri)} version"
    if "ermission denied" in said or "authentication" in said:
        if urlsplit(uri).hostname:
            return ProviderError(f"{uri} refuses us", evidence=said, next_step=try_it)
        return ProviderError(
            f"no permission for {uri}",
            evidence=said,
            next_step="add yourself to the group libvirt: sudo adduser $USER libvirt, then log in again",
        )
    if urlsplit(uri).hostname:
        return TryAgainError(f"no connection to {uri}", evidence=said, next_step=try_it)
    return MissingToolError(
        f"libvirt does not answer at {uri}",
        evidence=said,
        next_step="apt-get install --no-install-recommends libvirt-daemon-system qemu-system-x86 && "
        "systemctl start libvirtd    (then: ai-how doctor)",
    )


@dataclass(frozen=True, kw_only=True)
class Opened:
    """Connections to the hosts that answer, and why the others do not, by host."""

    connections: Mapping[str, Connect]
    troubles: Mapping[str, AiHowError]

    def all(self) -> dict[str, Connect]:
        """The connections to all of them.

        Raises:
            AiHowError: the first trouble, or one that names every host where they differ.
        """
        if not self.troubles:
            return dict(self.connections)
        first = next(iter(self.troubles.values()))
        if len({error.brief for error in self.troubles.values()}) == 1:
            raise first
        raise type(first)(
            f"no connection to hosts {', '.join(self.troubles)}",
            evidence="\n".join(f"{name}: {in_a_line(error)}" for name, error in self.troubles.items()),
            next_step=first.next_step,
        )


def open_all(uris: Mapping[str, str], opens: Callable[[str], Connect]) -> Opened:
    """Connect to every host, side by side."""

    def attempt(uri: str) -> Connect | AiHowError:
        try:
            return opens(uri)
        except AiHowError as error:
            return error

    with ThreadPoolExecutor(max_workers=len(uris)) as pool:
        found = dict(zip(uris, pool.map(attempt, uris.values()), strict=True))
    return Opened(
        connections={name: one for name, one in found.items() if not isinstance(one, AiHowError)},
        troubles={name: one for name, one in found.items() if isinstance(one, AiHowError)},
    )


def in_a_line(error: AiHowError) -> str:
    """What failed, with the first line of its evidence."""
    first = error.evidence.partition("\n")[0]
    return f"{error.brief} ({first})" if first else error.brief


def processors(connect: Connect) -> int:
    """How many processors a host has, hardware threads."""
    with explained("ask the host for its processors"):
        return int(connect.getInfo()[2])


@contextlib.contextmanager
def explained(doing: str, *, next_step: str = "") -> Iterator[None]:
    """Turn libvirt's errors in the block into ours: ``doing`` says what failed, ``start machine a``."""
    libvirt = load_libvirt()
    try:
        yield
    except libvirt.libvirtError as error:
        raise _error(doing, error, next_step) from error


_LOST_WORDS = ("connection", "ocket", "client", "write data", "read data", "reading data", "recv data")
_TAKEN_WORDS = ("already", "in use")


def _error(doing: str, error: Any, next_step: str) -> AiHowError:
    libvirt = load_libvirt()
    code, said = error.get_error_code(), str(error)
    brief = f"cannot {doing}"
    gone = {libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_NO_NETWORK, libvirt.VIR_ERR_NO_STORAGE_POOL}
    if code in gone | {libvirt.VIR_ERR_NO_STORAGE_VOL}:
        return NotFoundError(brief, evidence=said, next_step=next_step or "ai-how up")
    lost = {libvirt.VIR_ERR_RPC, libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_ERR_INVALID_CONN, libvirt.VIR_ERR_NO_CONNECT}
    if (code in lost and any(word in said for word in _LOST_WORDS)) or "client socket is closed" in said:
        return TryAgainError(f"{brief}: the connection to libvirt broke", evidence=said, next_step="ai-how up")
    if "No space left" in said or "not enough space" in said:
        return ProviderError(f"{brief}: the pool is full", evidence=said, next_step="free some space, then: ai-how up")
    taken = {libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_ERR_DOM_EXIST, libvirt.VIR_ERR_NETWORK_EXIST}
    if code in taken | {libvirt.VIR_ERR_INTERNAL_ERROR} and any(word in said for word in _TAKEN_WORDS):
        return ConflictError(f"{brief}: something is in the way", evidence=said, next_step=next_step)
    return ProviderError(brief, evidence=said, next_step=next_step)


def optional(call: Any, *arguments: Any) -> Any:
    """What a look-up finds, or None where libvirt says that there is no such thing; other errors are raised."""
    libvirt = load_libvirt()
    absent = {
        libvirt.VIR_ERR_NO_DOMAIN,
        libvirt.VIR_ERR_NO_NETWORK,
        libvirt.VIR_ERR_NO_STORAGE_POOL,
        libvirt.VIR_ERR_NO_STORAGE_VOL,
        libvirt.VIR_ERR_NO_DOMAIN_METADATA,
    }
    try:
        return call(*arguments)
    except libvirt.libvirtError as error:
        if error.get_error_code() in absent:
            return None
        raise


def unless_unsupported(call: Any, *arguments: Any) -> Any:
    """What a call gives, or None where this libvirt or its driver does not know such a call."""
    libvirt = load_libvirt()
    try:
        return call(*arguments)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT:
            return None
        raise
