"""Whether the kernel has the VFIO drivers: loaded, built in, or there as module files."""

from __future__ import annotations

from enum import StrEnum

from ai_how.host.root import Root


class ModuleState(StrEnum):
    """Where a kernel module is. ``UNKNOWN``: the running kernel's module lists are not in this tree."""

    LOADED = "loaded"
    BUILT_IN = "built in"
    AVAILABLE = "available"
    MISSING = "missing"
    UNKNOWN = "unknown"


MODULES = ("vfio-pci", "vfio_iommu_type1")


def observe_modules(root: Root, names: tuple[str, ...] = MODULES) -> dict[str, ModuleState]:
    """The state of each named module; ``-`` and ``_`` are the same to the kernel."""
    release = root.text("proc/sys/kernel/osrelease") or ""
    folder = f"lib/modules/{release}" if release and "/" not in release else ""
    built_in = _files(root.text(f"{folder}/modules.builtin")) if folder else None
    available = _files(root.text(f"{folder}/modules.dep")) if folder else None
    loaded = _loaded(root)
    return {name: _state(name.replace("-", "_"), root, loaded, built_in, available) for name in names}


def _state(
    name: str, root: Root, loaded: frozenset[str], built_in: frozenset[str] | None, available: frozenset[str] | None
) -> ModuleState:
    if built_in and name in built_in:
        return ModuleState.BUILT_IN
    if name in loaded:
        return ModuleState.LOADED
    if root.exists(f"sys/module/{name}"):
        return ModuleState.BUILT_IN if built_in is None else ModuleState.LOADED
    if available and name in available:
        return ModuleState.AVAILABLE
    return ModuleState.UNKNOWN if built_in is None and available is None else ModuleState.MISSING


def _loaded(root: Root) -> frozenset[str]:
    return frozenset(
        line.split(maxsplit=1)[0] for line in (root.text("proc/modules") or "").splitlines() if line.split()
    )


def _files(text: str | None) -> frozenset[str] | None:
    """Module names in a ``modules.dep`` or ``modules.builtin`` file."""
    if text is None:
        return None
    paths = (line.partition(":")[0].strip() for line in text.splitlines())
    return frozenset(path.rpartition("/")[2].partition(".ko")[0].replace("-", "_") for path in paths if path)
