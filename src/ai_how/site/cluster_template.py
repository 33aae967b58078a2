"""Writes the first site file with clusters of virtual machines, for this machine. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from ai_how.site.clusters import Cluster, Placement, Reserve, Storage
from ai_how.site.roles import DEFAULTS, KIND_ROLES, SUBNETS, Allocation, Role
from ai_how.site.template import SCHEMA_FILE, VERSIONS, found_words, quoted

_USUALLY = "  # usually "


def render_cluster_template(
    *,
    name: str,
    cpu_cores: int,
    memory_gib: float,
    gpus: Sequence[str] = (),
    sizes: Mapping[Role, Allocation] | None = DEFAULTS,
    with_schema: bool = False,
) -> str:
    """A commented site file with the default cluster, its sizes written out so that they can be changed.

    Args:
        name: The site's name; must be a valid one.
        cpu_cores: Physical cores.
        gpus: Names of the NVIDIA GPUs, one entry each; with one, there is one GPU worker, with none it stays a comment.
        sizes: What fits on this machine; None: not even the smallest cluster, so that the usual sizes are written.
        with_schema: Whether the JSON Schema lies beside the file, so that editors can be pointed to it.
    """
    editors = f"# yaml-language-server: $schema={SCHEMA_FILE}\n" if with_schema else ""
    return editors + "\n".join(
        [
            *_head(name, found_words(cpu_cores, memory_gib, gpus)),
            *_hosts(cpu_cores, memory_gib),
            *_clusters(len(gpus), sizes),
            *_rules(),
        ]
    )


def _head(name: str, found: str) -> list[str]:
    return [
        "# Clusters of virtual machines. Check this file with: ai-how validate",
        "# See whether they fit, and what would help: ai-how plan",
        "# Editors complete every key with the schema: ai-how schema > " + SCHEMA_FILE,
        "#",
        *textwrap.wrap(f"# Found on this machine: {found}.", width=80, subsequent_indent="# "),
        "",
        "version: 1",
        f"name: {quoted(name)}",
        "provider: libvirt  # virtual machines on the hosts below",
        "",
        *VERSIONS,
    ]


def _hosts(cpu_cores: int, memory_gib: float) -> list[str]:
    reserve = Reserve()
    return [
        "hosts:",
        "  - name: this-machine",
        "    # libvirt's address; this one is the machine that ai-how runs on.",
        "    uri: qemu:///system",
        "    # What the host keeps for itself.",
        "    reserve:",
        f"      cores: {reserve.cores}",
        f"      memory_gib: {reserve.memory_gib:g}",
        f"      disk_percent: {reserve.disk_percent:g}",
        "    # To plan for a machine that is not at hand, say what it has.",
        "    #declared:",
        f"    #  cores: {cpu_cores}",
        f"    #  memory_gib: {int(memory_gib) or 1}",
        "    #  disk_gib: 1000",
        "    #  gpus:",
        "    #    - model: RTX A6000",
        "    #      count: 2",
        "",
    ]


def _clusters(gpus: int, sizes: Mapping[Role, Allocation] | None) -> list[str]:
    lines = [
        "clusters:",
        "  cloud:",
        "    # cloud: Kubernetes for inference; hpc: a batch cluster for training.",
        f"    kind: {Cluster().kind}",
        f"    subnet: {SUBNETS['cloud']}",
        "    # Kubernetes is set up on them; without it they are machines alone.",
        "    #kubernetes:",
        "    #  enabled: false",
    ]
    nodes: list[str] = []
    for role in KIND_ROLES["cloud"]:
        node = _node(role, (sizes or DEFAULTS)[role], usual=DEFAULTS[role], gpus=gpus)
        nodes += _commented(node) if DEFAULTS[role].gpus and not gpus else node
    if sizes is None:
        lines += [
            "    # The usual sizes, too large for this machine: not even the smallest fit.",
            "    # What is missing: ai-how plan",
        ]
    elif any(_USUALLY in line for line in nodes):
        lines += [
            "    # What fits this machine. Behind it what the resource requirements give:",
            "    # write that where there is more room.",
        ]
    return [
        *lines,
        "    nodes:",
        *nodes,
        "  # A second cluster, that is started by hand. Side by side with the first,",
        "  # or in turns (see schedule) where there is not room for both.",
        "  #hpc:",
        "  #  kind: hpc",
        "  #  start: manual",
        "",
    ]


def _node(role: Role, each: Allocation, *, usual: Allocation, gpus: int) -> list[str]:
    most = min(usual.count, gpus) if usual.gpus and gpus else usual.count
    lines = [
        f"      - role: {role}",
        _size("count", min(each.count, most), most),
        _size("vcpus", each.vcpus, usual.vcpus),
        _size("memory_gib", each.memory_gib, usual.memory_gib),
        _size("disk_gib", each.disk_gib, usual.disk_gib),
    ]
    if each.gpus:
        lines += [
            f"        gpus: {each.gpus}",
            "        # Only cards with so much memory, GiB:",
            "        #gpu_memory_gib: 24",
        ]
    return lines


def _size(key: str, value: int, usual: int) -> str:
    return f"        {key}: {value}" + (f"{_USUALLY}{usual}" if value != usual else "")


def _commented(node: Sequence[str]) -> list[str]:
    """A node that this machine cannot have: its lines, behind the reason, without what is a comment in it."""
    lines = [line.removeprefix("      ") for line in node if "#" not in line.split(":")[0]]
    return ["      # There is no NVIDIA GPU in this machine for a GPU worker.", *(f"      #{line}" for line in lines)]


def _rules() -> list[str]:
    placement = Placement()
    factors = placement.vcpu_overcommit
    return [
        "# in-turns: one cluster at a time, the others stopped, their disks kept.",
        "#schedule: side-by-side",
        "",
        "# Rules for placing nodes on hosts.",
        "#placement:",
        f"#  numa_locality: {placement.numa_locality}",
        f"#  hugepages: {placement.hugepages}",
        f"#  thin_disk_overcommit: {placement.thin_disk_overcommit:g}",
        "#  # Virtual processors that may share a hardware thread, by role.",
        "#  vcpu_overcommit:",
        *(f"#    {key}: {getattr(factors, key):g}" for key in ("control_plane", "cpu_worker", "gpu_worker")),
        "",
        "# How volumes grow, for the day on which each disk is full.",
        "#storage:",
        "#  models_per_month: 2",
        f"#  metrics_retention_days: {Storage().metrics_retention_days:g}",
        "",
    ]
