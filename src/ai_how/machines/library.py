"""Finds the libvirt binding: the installed package, or the one that Debian and Ubuntu package for the system's Python.

libvirt's binding has no wheels, so it is an extra and never part of the default install.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import sysconfig
import threading
from functools import cache
from pathlib import Path
from types import ModuleType

from ai_how.errors import MissingToolError

_SYSTEM_PACKAGES = Path("/usr/lib/python3/dist-packages")
_LOADING = threading.Lock()


def load_libvirt() -> ModuleType:
    """The module ``libvirt``.

    Raises:
        MissingToolError: it is not installed for this Python.
    """
    # hosts are connected to side by side: a thread must not get a module that another one is still loading
    with _LOADING:
        return _load()


@cache
def _load() -> ModuleType:
    if importlib.util.find_spec("libvirt") is None and not _load_system_binding():
        raise MissingToolError(
            "the libvirt binding for Python is not installed",
            evidence=f"this is Python {sys.version_info.major}.{sys.version_info.minor} in {sys.prefix}",
            next_step="apt-get install python3-libvirt    (or, with libvirt-dev and a compiler: "
            "pip install 'ai-how[libvirt]')",
        )
    libvirt = importlib.import_module("libvirt")
    # it would print every error to stderr, besides raising it
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    return libvirt


def _load_system_binding() -> bool:
    """Load the system's own module by file, so that nothing else of the system's packages gets into our path."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    extension = _SYSTEM_PACKAGES / f"libvirtmod{suffix}"
    if not extension.exists():
        return False
    for name, path in (("libvirtmod", extension), ("libvirt", _SYSTEM_PACKAGES / "libvirt.py")):
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            return False
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return True
