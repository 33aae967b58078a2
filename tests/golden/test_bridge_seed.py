"""What machines on a bridge of the host are told: fixed addresses, because nothing of ours gives them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ai_how.capacity.demand import request_of
from ai_how.capacity.sizing import solve
from ai_how.machines.desired import HostSetting, ImageFile, desired_of, resources
from ai_how.machines.seed import Seed, network_config
from ai_how.machines.types import Virtualization
from ai_how.site.load import load_site
from tests.golden.conftest import ROOT, Golden


def test_network_config(golden: Golden) -> None:
    site = load_site(ROOT / "examples" / "bridge.yaml")
    # cards come from what is seen on a host, which a declared one has nothing of
    placed = tuple(node for node in solve(request_of(site, {})).placed if not node.gpus)
    hosts = {
        host.name: HostSetting(
            name=host.name, uri=host.uri, storage_path=host.storage_path, virtualization=Virtualization.KVM
        )
        for host in site.hosts
    }
    images = {node.need.name: ImageFile(name="base-0", virtual_size_bytes=2**32) for node in placed}
    wanted = desired_of(site, placed, owner="/o", hosts=hosts, images=images)
    for node, wish in wanted.machines.items():
        assert wish.static is not None
        (nic,) = wish.machine.nics
        seed = Seed(
            hostname=node,
            domain=wish.domain,
            user="u",
            authorized_keys=(),
            host_key="",
            host_key_public="",
            interfaces=(nic.mac,),
            static={nic.mac: wish.static},
        )
        golden(f"tests/golden/seeds/{node}-bridge.json", network_config(seed))
        assert nic.bridge == "br0"
    assert not [one.name for one in resources(wanted) if one.name.startswith("network/")]


@pytest.mark.parametrize("address", [None, "192.168.200.10/24"])
def test_an_address_is_fixed_or_asked_for(address: str | None) -> None:
    from ai_how.machines.seed import StaticAddress

    mac = "52:54:00:00:00:01"
    static = (
        {mac: StaticAddress(address=address, gateway="192.168.200.1", nameservers=("192.0.2.1",))} if address else {}
    )
    seed = Seed(
        hostname="h",
        domain="d",
        user="u",
        authorized_keys=(),
        host_key="",
        host_key_public="",
        interfaces=(mac,),
        static=static,
    )
    assert ('"dhcp4": true' in network_config(seed)) is (address is None)


def test_a_domain_is_searched_where_a_name_server_knows_it() -> None:
    seed = Seed(
        hostname="h",
        domain="c.lab.internal",
        user="u",
        authorized_keys=(),
        host_key="",
        host_key_public="",
        interfaces=("52:54:00:00:00:01",),
    )
    assert "nameservers" not in network_config(seed)
    (lan,) = json.loads(network_config(replace(seed, resolver="192.168.200.1")))["ethernets"].values()
    # without a server cloud-init drops the domain, where it writes networkd's files itself
    assert lan["nameservers"] == {"addresses": ["192.168.200.1"], "search": ["c.lab.internal"]}
