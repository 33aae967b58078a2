"""Cards of removed machines go back to the drivers that they came from, whatever was broken off before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ai_how.apply.site_folder import SiteFolder
from ai_how.apply.state import State
from ai_how.errors import ProviderError
from ai_how.machines import domains
from ai_how.machines.card_notes import CardNotes
from ai_how.machines.marks import object_uuid
from ai_how.machines.passthrough import binding
from ai_how.machines.passthrough.hosts import CardHost
from ai_how.machines.teardown import delete_resource, remove_from_hosts
from ai_how.machines.types import Machine
from tests.fake_kernel import FakeKernel
from tests.unit.card_hosts import BEFORE, FUNCTIONS, A, B, machine

SITE = "lab"


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(SiteFolder(root=tmp_path / ".ai-how"), SITE)


@pytest.fixture
def notes(host: CardHost, state: State) -> CardNotes:
    return CardNotes(state, {"h": host}, site=SITE)


@pytest.fixture
def remove(host: CardHost, notes: CardNotes, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """``destroy``, as far as machines and cards go; what it said."""
    without_flags(monkeypatch)

    def run() -> list[str]:
        said: list[str] = []
        remove_from_hosts({"h": host.connect}, said.append, site=SITE, owner="/lab", cards=notes)
        return said + notes.give_all_back()

    return run


def without_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    """libvirt's test driver knows neither firmware variables nor volumes of ours."""
    from ai_how.machines.library import load_libvirt

    monkeypatch.setattr(load_libvirt(), "VIR_DOMAIN_UNDEFINE_NVRAM", 0)


def drivers(host: CardHost) -> dict[str, str]:
    return binding.drivers_of(host.sysfs, FUNCTIONS)


def made(node: str, *functions: str) -> Machine:
    return replace(machine(f"lab-{node}", *functions), uuid=object_uuid(SITE, "machine", node))


def started(host: CardHost, notes: CardNotes) -> None:
    host.start(made("one", *FUNCTIONS))
    notes.note("one", host="h")


def test_destroy_gives_cards_back(host: CardHost, notes: CardNotes, remove: Callable[[], list[str]]) -> None:
    started(host, notes)
    said = remove()
    assert drivers(host) == BEFORE
    assert f"{A} is back at nvidia" in said[-1]
    assert host.holders() == []
    assert remove() == []


@pytest.mark.parametrize("write", range(1, 12))
def test_whatever_write_is_refused_the_next_destroy_completes(
    host: CardHost, notes: CardNotes, remove: Callable[[], list[str]], write: int
) -> None:
    started(host, notes)
    kernel = host.sysfs
    assert isinstance(kernel, FakeKernel)
    kernel.fail_at = len(kernel.writes) + write
    try:
        remove()
    except ProviderError:
        # the record is there as long as the kernel has not let go
        assert [holder.previous for holder in host.holders()] == [BEFORE]
    kernel.fail_at = None
    remove()
    assert drivers(host) == BEFORE
    assert host.holders() == []


def test_broken_off_before_the_machine_was_forgotten(
    host: CardHost, notes: CardNotes, remove: Callable[[], list[str]], connect: Any
) -> None:
    started(host, notes)
    connect.lookupByName("lab-one").destroy()
    notes.give_back("one", host="h")
    remove()
    assert drivers(host) == BEFORE


def test_a_machine_that_somebody_else_removed(
    host: CardHost, notes: CardNotes, remove: Callable[[], list[str]], connect: Any, state: State
) -> None:
    started(host, notes)
    connect.lookupByName("lab-one").destroy()
    connect.lookupByName("lab-one").undefine()
    assert set(drivers(host).values()) == {"vfio-pci"}
    assert f"{A} is back at nvidia" in remove()[-1]
    assert drivers(host) == BEFORE
    assert state.resources() == {}


def test_the_state_file_is_lost_too(
    host: CardHost, notes: CardNotes, remove: Callable[[], list[str]], connect: Any, tmp_path: Path
) -> None:
    started(host, notes)
    (tmp_path / ".ai-how/state.json").unlink()
    remove()
    assert drivers(host) == BEFORE


def test_what_another_machine_runs_with_stays_with_it(
    host: CardHost, notes: CardNotes, remove: Callable[[], list[str]], connect: Any
) -> None:
    started(host, notes)
    connect.lookupByName("lab-one").destroy()
    host.start(machine("other-two", *FUNCTIONS))
    notes.give_back("one", host="h")
    assert set(drivers(host).values()) == {"vfio-pci"}


def test_what_nothing_is_recorded_of_stays_as_it_is(host: CardHost, notes: CardNotes) -> None:
    binding.bind(host.sysfs, FUNCTIONS)
    started(host, notes)
    domain = host.connect.lookupByName("lab-one")
    domain.destroy()
    assert notes.give_back("one", host="h") == ""
    assert set(drivers(host).values()) == {"vfio-pci"}


def test_a_machine_that_keeps_a_part_of_its_cards(host: CardHost, notes: CardNotes, state: State) -> None:
    started(host, notes)
    host.connect.lookupByName("lab-one").destroy()
    assert notes.give_back("one", host="h", keep=[A]) != ""
    assert drivers(host) == {**BEFORE, A: "vfio-pci"}
    assert state.resources()["cards/one"]["drivers"] == {A: "nvidia"}


def test_a_driver_that_is_no_longer_loaded_hinders_nothing(
    host: CardHost, notes: CardNotes, remove: Callable[[], list[str]]
) -> None:
    started(host, notes)
    kernel = host.sysfs
    assert isinstance(kernel, FakeKernel)
    kernel.claims = {}
    assert f"{A} had the driver nvidia, but none has it now" in remove()[-1]
    assert host.holders() == []


def test_a_card_that_was_taken_out_hinders_nothing(
    host: CardHost, notes: CardNotes, remove: Callable[[], list[str]]
) -> None:
    started(host, notes)
    kernel = host.sysfs
    assert isinstance(kernel, FakeKernel)
    for address in FUNCTIONS:
        (kernel.tree.path / "sys/bus/pci/devices" / address).unlink()
    assert f"{A} is no longer on the host" in remove()[-1]
    assert host.holders() == []


def test_a_plan_that_removes_a_machine_gives_its_card_back(
    host: CardHost, notes: CardNotes, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_flags(monkeypatch)
    started(host, notes)
    said = delete_resource(
        host.connect,
        "machine/one",
        site=SITE,
        stop_timeout_s=0,
        give_back=lambda: notes.give_back("one", host="h"),
    )
    assert said.startswith("removed; ")
    assert drivers(host) == BEFORE


def test_machines_without_cards_ask_nothing_of_the_kernel(
    host: CardHost, notes: CardNotes, remove: Callable[[], list[str]]
) -> None:
    domains.define_machine(host.connect, made("plain"))
    host.start(made("plain"))
    kernel = host.sysfs
    assert isinstance(kernel, FakeKernel)
    assert remove() == ["removing plain"]
    assert kernel.writes == []
    assert notes.give_back("nobody", host="h") == ""
    assert B not in drivers(host)
