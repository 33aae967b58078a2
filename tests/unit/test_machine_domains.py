"""Machines defined side by side, on libvirt's own test driver: validations must never overlap in the daemon."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ai_how.errors import ProviderError
from ai_how.machines import domains
from ai_how.machines.library import load_libvirt

from .card_hosts import connect_to_test_driver, for_test_driver, machine

__all__ = ["connect_to_test_driver"]
NOT_SET_UP = "Error type 'unsignedLong' is not exported by type library 'http://www.w3.org/2001/XMLSchema-datatypes'"


class Daemon:
    """The test driver behind a daemon whose first validation sets up the types, and breaks another one beside it."""

    def __init__(self, connect: Any, *, failures: int = 0) -> None:
        self.connect, self.failures, self.calls = connect, failures, 0
        self.busy = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connect, name)

    def defineXMLFlags(self, text: str, _flags: int) -> Any:  # noqa: N802
        self.calls += 1
        if self.calls <= self.failures or not self.busy.acquire(blocking=False):
            # an error takes the words of the last one that the library saw
            load_libvirt().virResetLastError()
            raise load_libvirt().libvirtError(NOT_SET_UP)
        try:
            time.sleep(0.005)
            # the test driver has no schemas to check against
            return self.connect.defineXML(for_test_driver(text))
        finally:
            self.busy.release()


def test_machines_that_are_defined_at_once_are_validated_one_after_another(connect: Any) -> None:
    daemon, names = Daemon(connect), [f"lab-{number}" for number in range(24)]
    with ThreadPoolExecutor(max_workers=len(names)) as several:
        list(several.map(lambda name: domains.define_machine(daemon, machine(name)), names))
    assert daemon.calls == len(names)
    assert {domain.name() for domain in connect.listAllDomains(0)} >= set(names)


def test_what_another_programs_validation_broke_is_tried_again(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domains, "_POLL_S", 0)
    domains.define_machine(Daemon(connect, failures=2), machine("lab-again"))
    assert connect.lookupByName("lab-again")
    daemon = Daemon(connect, failures=1000)
    with pytest.raises(ProviderError, match="cannot define machine lab-never") as caught:
        domains.define_machine(daemon, machine("lab-never"))
    assert "unsignedLong" in caught.value.evidence
    assert daemon.calls < 10
