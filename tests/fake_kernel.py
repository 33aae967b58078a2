"""A built sysfs tree that answers to writes as the kernel does: unbind, driver_override, drivers_probe."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from ai_how.errors import ProviderError
from ai_how.machines.passthrough.sysfs import DEVICES, DRIVERS, LocalSysfs
from tests.pci_tree import PciTree


@dataclass
class FakeKernel:
    """``claims``: the driver that takes a device by itself. ``fail_at``: the number of the write that is refused.

    ``stubborn``: drivers that do not let go. ``loadable``: modules that can be loaded.
    """

    tree: PciTree
    claims: dict[str, str] = field(default_factory=dict)
    fail_at: int | None = None
    stubborn: tuple[str, ...] = ()
    loadable: tuple[str, ...] = ("vfio-pci",)
    deaf: bool = False
    writes: list[tuple[str, str]] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)

    @property
    def files(self) -> LocalSysfs:
        return LocalSysfs(self.tree.path)

    def link(self, path: str) -> str:
        return self.files.link(path)

    def text(self, path: str) -> str | None:
        return self.files.text(path)

    def names(self, path: str) -> list[str]:
        return self.files.names(path)

    def head(self, path: str) -> bytes:
        return self.files.head(path)

    def load_module(self, name: str) -> None:
        if name not in self.loadable:
            raise ProviderError(f"the host cannot load the module {name}")
        self.loaded.append(name)
        self.tree.write(f"{DRIVERS}/{name}/new_id", "")

    def write(self, path: str, text: str) -> None:
        self.writes.append((path, text))
        if self.fail_at is not None and len(self.writes) == self.fail_at:
            raise ProviderError(
                f"the kernel does not take {text.strip()!r} in /{path}", evidence="Device or resource busy"
            )
        if path.endswith("/driver_override"):
            self.tree.write(path, (text.strip() or "(null)") + "\n")
        elif path.endswith("/unbind"):
            if self.link(path.removesuffix("/unbind")) not in self.stubborn:
                (self.tree.path / path).parent.unlink()
                self._group_file(text, there=False)
        elif path == "sys/bus/pci/drivers_probe" and not self.deaf:
            self._probe(text)

    def _probe(self, address: str) -> None:
        override = self.text(f"{DEVICES}/{address}/driver_override") or ""
        driver = override if override not in ("", "(null)") else self.claims.get(address, "")
        if driver and driver in self.names(DRIVERS) and not self.link(f"{DEVICES}/{address}/driver"):
            place = self.tree.path / DEVICES / address
            (place / "driver").symlink_to(os.path.relpath(self.tree.path / DRIVERS / driver, place.resolve()))
            self._group_file(address, there=driver == "vfio-pci")

    def _group_file(self, address: str, *, there: bool) -> None:
        group = self.link(f"{DEVICES}/{address}/iommu_group")
        if group and there:
            self.tree.write(f"dev/vfio/{group}", "")
