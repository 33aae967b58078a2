"""Switching between clusters that share a card: libvirt's test driver for machines, a tree for the kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ai_how.errors import AiHowError, NotFoundError, ProviderError, SpecError
from ai_how.machines import domains
from ai_how.machines.handover import Turn, plan_turn
from ai_how.machines.passthrough.hosts import CardHost
from ai_how.machines.passthrough.reset import verify_reset
from ai_how.machines.standing import Standing, standing_machines
from ai_how.machines.switch import Step, Switched, Taken, carry_out, check_switch
from ai_how.machines.types import Machine
from ai_how.site.load import check_site_text
from ai_how.site.spec import Site
from tests.fake_kernel import FakeKernel
from tests.unit.card_hosts import for_test_driver, machine

CARD = ("0000:65:00.0", "0000:65:00.1")


def site(schedule: str = "in-turns") -> Site:
    text = (
        f"name: lab\nprovider: libvirt\nschedule: {schedule}\nclusters:\n"
        "  cloud: {kind: cloud}\n  hpc: {kind: hpc, start: manual}\n"
    )
    made, mistakes = check_site_text(text, Path("f"))
    assert made is not None, mistakes
    return made


@dataclass
class FakeProvider:
    """A site of one machine a cluster, both with the same card. ``broken``: nodes that do not come up."""

    connect: Any
    cards: CardHost
    site: Site = field(default_factory=site)
    broken: set[str] = field(default_factory=set)
    parallel: int = 2

    @property
    def machines(self) -> dict[str, Machine]:
        return {name: machine(f"lab-{name}", *CARD, cluster=name.partition("-")[0]) for name in ("cloud-1", "hpc-1")}

    @property
    def look(self) -> Any:
        wishes = {node: SimpleNamespace(machine=made, host="h") for node, made in self.machines.items()}
        return SimpleNamespace(wanted=SimpleNamespace(machines=wishes))

    @property
    def standing(self) -> dict[str, Standing]:
        return standing_machines({"h": self.connect}, self.site, owner="/lab")

    @property
    def running_clusters(self) -> set[str]:
        return {one.cluster for one in self.standing.values() if one.found.state != "off"}

    @property
    def state(self) -> Any:
        return SimpleNamespace(resources=dict)

    @property
    def card_hosts(self) -> dict[str, Any]:
        def check_seen(_target: object, _machine: Machine) -> str:
            return "sees 10de:2230"

        start, verify, prepare = self.cards.start, self.cards.verify_reset, self.cards.prepare
        return {"h": SimpleNamespace(start=start, verify_reset=verify, prepare=prepare, check_seen=check_seen)}

    def target(self, _wish: object) -> None:
        return None

    def find(self, node: str) -> Standing:
        return self.standing[node]

    def bring_up(self, wish: Any) -> str:
        self.cards.start(wish.machine)
        if wish.machine.node in self.broken:
            raise ProviderError(f"{wish.machine.node} did not come up", evidence="the end of its log")
        return "ready"


@pytest.fixture
def provider(connect: Any, host: CardHost, monkeypatch: pytest.MonkeyPatch) -> FakeProvider:
    monkeypatch.setattr("ai_how.machines.passthrough.hosts.verify_reset", partial(verify_reset, settle_s=0))
    return FakeProvider(connect, host)


def up(provider: FakeProvider) -> None:
    for made in provider.machines.values():
        domains.define_machine(provider.connect, made)
    provider.cards.start(provider.machines["cloud-1"])


def turn_of(provider: FakeProvider, cluster: str, **more: Any) -> Turn:
    return plan_turn(provider, cluster, fresh=lambda: provider, **more)  # type: ignore[arg-type]


def switch(provider: FakeProvider, cluster: str) -> Switched:
    turn = turn_of(provider, cluster)
    return carry_out(turn.steps, turn.back, report=lambda _taken: None)


def running(provider: FakeProvider) -> set[str]:
    return {node for node, one in provider.standing.items() if one.found.running}


def test_the_card_goes_from_one_cluster_to_the_other_and_back(provider: FakeProvider) -> None:
    up(provider)
    turn = turn_of(provider, "hpc")
    names = [step.name for step in turn.steps]
    assert names == ["stop cloud", "verify reset", "bind cards", "start hpc", "check hpc"]
    assert (turn.leaving, turn.stopping, turn.starting) == (("cloud",), ("cloud-1",), ("hpc-1",))
    assert running(provider) == {"cloud-1"}, "planning changes nothing"

    done = switch(provider, "hpc")
    assert done.ok
    assert [(taken.step, taken.result) for taken in done.steps] == [(name, "done") for name in names]
    assert done.steps[1].detail.startswith(f"{CARD[0]} answers")
    assert done.steps[-1].detail == "hpc-1 sees 10de:2230"
    assert running(provider) == {"hpc-1"}
    assert switch(provider, "cloud").ok
    assert running(provider) == {"cloud-1"}


def test_who_has_the_turn_keeps_it(provider: FakeProvider) -> None:
    up(provider)
    assert turn_of(provider, "cloud").steps == ()


def test_draining_comes_first_where_something_drains(provider: FakeProvider) -> None:
    up(provider)
    drained: list[str] = []

    def drain(cluster: str) -> str:
        drained.append(cluster)
        return "nothing left"

    turn = turn_of(provider, "hpc", drain=drain)
    assert turn.steps[0].name == "drain cloud"
    assert turn.steps[0].do() == "nothing left"
    assert drained == ["cloud"]


def test_a_cluster_that_is_not_made_is_refused(provider: FakeProvider) -> None:
    with pytest.raises(NotFoundError, match="cluster hpc is not made yet") as caught:
        turn_of(provider, "hpc")
    assert caught.value.evidence == "missing: hpc-1"


def fall_off(provider: FakeProvider) -> None:
    kernel = provider.cards.sysfs
    assert isinstance(kernel, FakeKernel)
    kernel.tree.write(f"sys/bus/pci/devices/{CARD[0]}/config", b"\xff" * 64)


def refuse_to_bind(provider: FakeProvider) -> None:
    # another virtual machine takes the card in between
    foreign = for_test_driver(domains.domain_xml(machine("lab-hpc-1", *CARD, cluster="hpc")))
    text = foreign.replace("lab-hpc-1", "win10").replace("urn:ai-how:machine:1", "urn:other")
    provider.connect.lookupByName("lab-hpc-1").undefine()
    domains.define_machine(provider.connect, provider.machines["hpc-1"])
    provider.connect.defineXML(_other_uuid(text)).create()


def _other_uuid(text: str) -> str:
    before, _, rest = text.partition("<uuid>")
    return before + "<uuid>11111111-2222-4333-8444-555555555555</uuid>" + rest.partition("</uuid>")[2]


def break_start(provider: FakeProvider) -> None:
    provider.broken = {"hpc-1"}


@pytest.mark.parametrize(
    ("spoil", "failing"), [(fall_off, "verify reset"), (break_start, "start hpc")], ids=["reset", "start"]
)
def test_a_failing_step_brings_the_old_cluster_back(
    provider: FakeProvider, spoil: Callable[[FakeProvider], None], failing: str
) -> None:
    up(provider)
    spoil(provider)
    done = switch(provider, "hpc")
    assert not done.ok
    assert done.restored is True
    ended = [taken for taken in done.steps if not taken.back]
    assert (ended[-1].step, ended[-1].result) == (failing, "failed")
    assert [taken.step for taken in done.steps if taken.back] == ["stop hpc", "start cloud"]
    assert running(provider) == {"cloud-1"}


def test_a_card_that_another_program_took_in_between_is_left_with_it(provider: FakeProvider) -> None:
    up(provider)
    turn = turn_of(provider, "hpc")
    first, *rest = turn.steps
    first.do()
    refuse_to_bind(provider)
    done = carry_out(rest, turn.back, report=lambda _taken: None)
    assert "cannot start" in str(done.error)
    assert done.restored is False
    assert provider.connect.lookupByName("win10").isActive()


class TestCarryOut:
    def test_nothing_after_a_failure_and_every_way_back(self) -> None:
        said: list[Taken] = []
        ran: list[str] = []

        def ok(name: str) -> Step:
            return Step(name=name, do=lambda: ran.append(name) or name)  # type: ignore[func-returns-value]

        def bad(name: str) -> Step:
            def fail() -> str:
                raise AiHowError(f"{name} broke")

            return Step(name=name, do=fail)

        done = carry_out([ok("one"), bad("two"), ok("three")], [bad("four"), ok("five")], report=said.append)
        assert ran == ["one", "five"]
        assert [(t.step, t.result, t.back) for t in said] == [
            ("one", "done", False),
            ("two", "failed", False),
            ("four", "failed", True),
            ("five", "done", True),
        ]
        assert (str(done.error), done.restored) == ("two broke", False)

    def test_an_interruption_goes_back_first(self) -> None:
        def interrupted() -> str:
            raise KeyboardInterrupt

        said: list[Taken] = []
        with pytest.raises(KeyboardInterrupt):
            carry_out([Step(name="a", do=interrupted)], [Step(name="b", do=lambda: "")], report=said.append)
        assert [taken.step for taken in said] == ["b"]


class TestChecks:
    def test_clusters_that_run_side_by_side_have_no_turn(self) -> None:
        with pytest.raises(SpecError, match="run side by side"):
            check_switch(site("side-by-side"), "hpc")

    def test_a_cluster_that_is_not_there_is_named_with_those_that_are(self) -> None:
        with pytest.raises(NotFoundError) as caught:
            check_switch(site(), "hcp")
        assert caught.value.evidence == "clusters: cloud, hpc"
