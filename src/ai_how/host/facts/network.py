"""Network interfaces: cards with their speed, bonds, bridges."""

from __future__ import annotations

from dataclasses import dataclass

from ai_how.host.root import Root

_NET = "sys/class/net"


@dataclass(frozen=True, kw_only=True)
class Nic:
    """A network card (not a bridge, a bond or another interface made of software).

    Args:
        up: Whether a cable or a switch is connected; None where the kernel does not say.
        speed_mbps: What it runs at now; None while it is down, and on virtual cards, which have no speed.
        bond: The bond that it is a member of, or empty.
    """

    name: str
    driver: str = ""
    up: bool | None = None
    speed_mbps: int | None = None
    bond: str = ""


@dataclass(frozen=True, kw_only=True)
class Bond:
    """Several cards as one: its mode (``802.3ad``, ``active-backup``), its members in order, their speeds' sum."""

    name: str
    mode: str
    members: tuple[str, ...]
    speed_mbps: int | None = None


@dataclass(frozen=True, kw_only=True)
class NetworkFacts:
    """All interfaces, each kind ordered by name. ``names`` holds every one; empty where none can be read."""

    names: tuple[str, ...] = ()
    nics: tuple[Nic, ...] = ()
    bonds: tuple[Bond, ...] = ()
    bridges: tuple[str, ...] = ()

    @property
    def fastest_mbps(self) -> int | None:
        """The speed of the fastest card or bond that is connected."""
        speeds = [nic.speed_mbps for nic in self.nics if nic.up is not False]
        return max((speed for speed in (*speeds, *(bond.speed_mbps for bond in self.bonds)) if speed), default=None)


def observe_network(root: Root) -> NetworkFacts:
    """Read ``/sys/class/net``."""
    # bonding_masters is a file of the bonding module's, no interface
    names = [name for name in root.names(_NET) if name != "bonding_masters"]
    return NetworkFacts(
        names=tuple(names),
        nics=tuple(_nic(root, name) for name in names if root.exists(f"{_NET}/{name}/device")),
        bonds=tuple(_bond(root, name) for name in names if root.names(f"{_NET}/{name}/bonding")),
        bridges=tuple(name for name in names if root.names(f"{_NET}/{name}/bridge")),
    )


def _nic(root: Root, name: str) -> Nic:
    folder = f"{_NET}/{name}"
    master = root.link(f"{folder}/master") or ""
    return Nic(
        name=name,
        driver=root.link(f"{folder}/device/driver") or "",
        up={"up": True, "down": False, "lowerlayerdown": False}.get(root.text(f"{folder}/operstate") or ""),
        speed_mbps=_speed(root, name),
        bond=master if root.names(f"{_NET}/{master}/bonding") else "",
    )


def _bond(root: Root, name: str) -> Bond:
    folder = f"{_NET}/{name}/bonding"
    return Bond(
        name=name,
        # "802.3ad 4": the mode's name and number
        mode=(root.text(f"{folder}/mode") or "").partition(" ")[0],
        members=tuple((root.text(f"{folder}/slaves") or "").split()),
        speed_mbps=_speed(root, name),
    )


def _speed(root: Root, name: str) -> int | None:
    """Mbit/s. The kernel writes -1 or 2**32 - 1 for "unknown", and refuses to answer while the link is down."""
    speed = root.number(f"{_NET}/{name}/speed")
    return speed if speed is not None and 0 < speed < 2**32 - 1 else None
