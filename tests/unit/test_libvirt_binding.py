"""How the system's libvirt binding is found."""

from __future__ import annotations

import importlib.util
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ai_how.machines import library

_SLOW = "import time\ntime.sleep(0.05)\ncalls = []\ndef registerErrorHandler(*_): calls.append(1)\n"


@pytest.fixture
def slow_binding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A binding of the system that takes a while to load; what is loaded already is kept away and put back."""
    (tmp_path / "libvirtmod.py").write_text("")
    (tmp_path / "libvirt.py").write_text(_SLOW)
    for name in ("libvirt", "libvirtmod"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    # set and unset: pytest then takes away what the test itself puts there
    for name in ("libvirt", "libvirtmod"):
        monkeypatch.setitem(sys.modules, name, sys)
        del sys.modules[name]
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "libvirt" else real(name))
    monkeypatch.setattr(library, "_SYSTEM_PACKAGES", tmp_path)
    monkeypatch.setattr(library.sysconfig, "get_config_var", lambda _name: ".py")
    monkeypatch.setattr(library, "_load", library.cache(library._load.__wrapped__))


@pytest.mark.usefixtures("slow_binding")
def test_connecting_side_by_side_loads_the_binding_once_and_whole() -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: library.load_libvirt(), range(8)))
    assert {id(module) for module in found} == {id(found[0])}
    assert len(found[0].calls) == 1
