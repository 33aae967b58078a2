"""What a machine is told at its first start: cloud-init's NoCloud files, and the disk that carries them.

Source: cloud-init's NoCloud data source and its network configuration version 2. The files hold the machine's
private host key, so the disk is a secret.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

_VOLUME_NAME = "cidata"


@dataclass(frozen=True, kw_only=True)
class StaticAddress:
    """An IPv4 address with its prefix length (``192.168.200.10/24``), and how the world is reached from it."""

    address: str
    gateway: str
    nameservers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Seed:
    """The settings of one machine's first start.

    ``host_key`` is the private ed25519 host key in OpenSSH's form, ``host_key_public`` its public line;
    ``authorized_keys`` may log in as ``user``. ``interfaces`` are MAC addresses, each configured by
    DHCP, but for those that ``static`` has an address for. ``resolver`` is the name server that knows the names of
    ``domain``; empty: none does.
    """

    hostname: str
    domain: str
    user: str
    authorized_keys: tuple[str, ...]
    host_key: str
    host_key_public: str
    interfaces: tuple[str, ...]
    static: Mapping[str, StaticAddress] = field(default_factory=dict)
    resolver: str = ""
    data_disk_serial: str = ""
    data_path: str = "/var/lib/ai-how/models"


def user_data(seed: Seed) -> str:
    """cloud-init's ``user-data``: JSON is YAML, so nothing has to be quoted by hand."""
    config: dict[str, object] = {
        "hostname": seed.hostname,
        "fqdn": f"{seed.hostname}.{seed.domain}",
        "prefer_fqdn_over_hostname": False,
        "manage_etc_hosts": True,
        "users": [
            {
                "name": seed.user,
                "groups": ["adm", "sudo"],
                "shell": "/bin/bash",
                "lock_passwd": True,
                "sudo": ["ALL=(ALL) NOPASSWD:ALL"],
                "ssh_authorized_keys": list(seed.authorized_keys),
            }
        ],
        "disable_root": True,
        "ssh_pwauth": False,
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": seed.host_key, "ed25519_public": seed.host_key_public},
        "growpart": {"mode": "auto", "devices": ["/"]},
        "resize_rootfs": True,
        "package_update": False,
        "package_upgrade": False,
    }
    if seed.data_disk_serial:
        device = f"/dev/disk/by-id/virtio-{seed.data_disk_serial}"
        config["fs_setup"] = [{"device": device, "filesystem": "ext4", "label": "models", "overwrite": False}]
        config["mounts"] = [
            [device, seed.data_path, "ext4", "defaults,nofail,x-systemd.makefs,x-systemd.growfs", "0", "2"]
        ]
    return "#cloud-config\n" + json.dumps(config, indent=1, sort_keys=True) + "\n"


def meta_data(seed: Seed) -> str:
    """cloud-init's ``meta-data``; the instance id changes with the settings, which is how cloud-init sees new ones."""
    digest = hashlib.sha256((user_data(seed) + network_config(seed)).encode()).hexdigest()[:12]
    return json.dumps({"instance-id": f"{seed.hostname}-{digest}", "local-hostname": seed.hostname}) + "\n"


def network_config(seed: Seed) -> str:
    """cloud-init's ``network-config``: every interface by its MAC address, so that names do not matter."""
    ethernets = {
        f"lan{number}": {"match": {"macaddress": mac}, **_addressing(seed.static.get(mac), seed)}
        for number, mac in enumerate(seed.interfaces)
    }
    return json.dumps({"version": 2, "ethernets": ethernets}, indent=1, sort_keys=True) + "\n"


def _addressing(static: StaticAddress | None, seed: Seed) -> dict[str, object]:
    if static is None:
        dhcp: dict[str, object] = {"dhcp4": True, "dhcp6": False, "dhcp-identifier": "mac"}
        # the network's DNS gives whole names; the domain that DHCP tells is not searched by itself. Without netplan,
        # cloud-init drops a domain that comes without the server that DHCP tells anyway
        names = {"addresses": [seed.resolver], "search": [seed.domain]}
        return {**dhcp, "nameservers": names} if seed.resolver else dhcp
    return {
        "dhcp4": False,
        "dhcp6": False,
        "addresses": [static.address],
        # not the word "default": only netplan knows it, and cloud-init ends at it where there is no netplan
        "routes": [{"to": "0.0.0.0/0", "via": static.gateway}],
        "nameservers": {"addresses": list(static.nameservers)},
    }


def seed_image(seed: Seed) -> bytes:
    """The files as an ISO 9660 image with the volume name that cloud-init looks for."""
    from pycdlib import PyCdlib

    image = PyCdlib()
    image.new(vol_ident=_VOLUME_NAME, joliet=3, rock_ridge="1.09")
    files = {"user-data": user_data(seed), "meta-data": meta_data(seed), "network-config": network_config(seed)}
    for number, (name, text) in enumerate(sorted(files.items())):
        data = text.encode()
        image.add_fp(io.BytesIO(data), len(data), f"/F{number}.;1", rr_name=name, joliet_path=f"/{name}")
    out = io.BytesIO()
    image.write_fp(out)
    image.close()
    return out.getvalue()
