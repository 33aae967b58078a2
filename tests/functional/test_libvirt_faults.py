"""`up` is broken off everywhere; the next one completes, and `destroy` removes all. Nothing is booted."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ai_how.errors import AiHowError, ProviderError
from ai_how.machines import storage
from ai_how.machines.connection import open_connection
from ai_how.machines.library import load_libvirt
from ai_how.machines.types import Disk
from ai_how.plan.model import Action, Resource

from .libvirt_host import LibvirtHost
from .libvirt_site import ONE_MACHINE, MachineSite, inventory

pytestmark = [pytest.mark.libvirt, pytest.mark.slow]

# every call of the binding that changes something on a host and that `up` makes
CHANGING = {
    "virConnect": ("defineXMLFlags", "networkDefineXML", "storagePoolDefineXML"),
    "virDomain": ("create", "setAutostart"),
    "virNetwork": ("create", "setAutostart"),
    "virStoragePool": ("build", "create", "createXML", "setAutostart"),
    "virStorageVol": ("delete", "upload"),
    "virStream": ("finish",),
}


class Crash(BaseException):
    """The end of the process, as far as our code can tell."""


@contextmanager
def broken_call(number: int, error: BaseException | None = None) -> Iterator[list[str]]:
    """Let the ``number``th changing call (from 0) raise instead; gives the names of the calls so far."""
    libvirt = load_libvirt()
    made: list[str] = []
    patch = pytest.MonkeyPatch()

    def wrapped(owner: str, name: str) -> None:
        real = getattr(getattr(libvirt, owner), name)

        def call(self: Any, *arguments: Any, **named: Any) -> Any:
            made.append(f"{owner}.{name}")
            if len(made) > number:
                # what died stays dead: nothing more is done after the first
                raise error or Crash(made[-1])
            return real(self, *arguments, **named)

        patch.setattr(getattr(libvirt, owner), name, call)

    for owner, names in CHANGING.items():
        for name in names:
            wrapped(owner, name)
    try:
        yield made
    finally:
        patch.undo()


def up_once_more(site: MachineSite) -> None:
    outcomes = site.up()
    assert [o.error for o in outcomes if o.result != "done"] == []
    assert site.provider().plan().actions == ()


def test_after_every_single_action(dry_site: MachineSite) -> None:
    before = inventory(dry_site.host)
    actions = dry_site.provider().plan().actions
    assert len(actions) >= 13
    for last in range(len(actions)):
        done: list[str] = []

        def breaking(perform: Any, *, done: list[str] = done, last: int = last) -> Any:
            def do(action: Action, resource: Resource | None) -> str:
                if len(done) > last:
                    raise ProviderError("broken off")
                said = str(perform(action, resource))
                done.append(action.resource)
                if len(done) > last:
                    raise ProviderError(f"broken off after {action.resource}")
                return said

            return do

        outcomes = dry_site.up(breaking)
        assert any(outcome.result == "failed" for outcome in outcomes)
        if last % 2:
            up_once_more(dry_site)
        assert dry_site.destroy() == []
        assert inventory(dry_site.host) == before
        assert dry_site.files() == set()


def test_at_every_call_that_changes_something(dry_site: MachineSite) -> None:
    dry_site.write(ONE_MACHINE)
    before = inventory(dry_site.host)
    with broken_call(10_000) as calls:
        dry_site.up()
    dry_site.destroy()
    for number in range(len(calls)):
        with broken_call(number), pytest.raises(Crash):
            dry_site.up()
        if number % 2:
            up_once_more(dry_site)
        assert dry_site.destroy() == [], calls[number]
        assert inventory(dry_site.host) == before, calls[number]
        assert dry_site.files() == set(), calls[number]


def test_a_call_that_libvirt_refuses_is_told_in_our_words(dry_site: MachineSite) -> None:
    libvirt = load_libvirt()
    dry_site.write(ONE_MACHINE)
    with broken_call(10_000) as calls:
        dry_site.up()
    dry_site.destroy()
    for name in dict.fromkeys(calls):
        with broken_call(calls.index(name), libvirt.libvirtError("refused")):
            outcomes = dry_site.up()
        errors = [outcome.error for outcome in outcomes if outcome.result == "failed"]
        assert errors, name
        assert all(isinstance(error, AiHowError) for error in errors), name
        dry_site.destroy()


def test_disks_are_looked_at_while_others_are_made(libvirt_host: LibvirtHost, tmp_path: Path) -> None:
    pool = storage.ensure_pool(
        open_connection(libvirt_host.uri), name="many", uuid=str(uuid.uuid4()), path=str(tmp_path / "many")
    )
    disks = [Disk(volume=f"{number}.qcow2", size_bytes=1 << 30) for number in range(100)]
    try:
        with ThreadPoolExecutor(max_workers=3) as several:
            made = [several.submit(storage.ensure_disk, pool, disk) for disk in disks]
            while not all(one.done() for one in made):
                storage.volumes(pool)
                storage.allocations(pool)
        assert [one.result() for one in made] == ["made"] * len(disks)
        assert storage.volumes(pool) == {disk.volume: disk for disk in disks}
        assert storage.find_disk(pool, disks[0].volume) == disks[0]
        assert storage.find_disk(pool, "none.qcow2") is None
    finally:
        for disk in disks:
            storage.remove_volume(pool, disk.volume)
        assert storage.remove_pool(pool) == []
