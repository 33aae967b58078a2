"""From nothing to machines that can be worked on: ours, and virt-install and kcli on the same image, network and seeds.

Needs root and libvirt; everything happens on a private libvirt host in a network namespace. Machines are emulated, so
times are those of this processor and its load, which are printed; on a busy machine the processor's time, that of QEMU
and of the program that made the machines, says more than the clock. Bounded by ``--limit`` seconds a step.
Usage: python benchmarks/machines.py [-o json] [--machines N...] [--image NAME] [--without-peer] [--limit S]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402
from tests.functional.libvirt_host import LibvirtHost, new_host, why_not  # noqa: E402
from tests.functional.libvirt_site import MachineSite  # noqa: E402

from ai_how.apply.files import shared_cache  # noqa: E402
from ai_how.errors import NotFoundError  # noqa: E402
from ai_how.machines.connection import open_connection  # noqa: E402
from ai_how.machines.desired import MachineWish  # noqa: E402
from ai_how.machines.images.store import ImageStore  # noqa: E402
from ai_how.machines.ready import question  # noqa: E402

NODES = """
  lab:
    kind: hpc
    image: IMAGE
    START
    nodes:
      - {role: hpc-controller, vcpus: 1, memory_gib: 1, disk_gib: 4}
      - {role: hpc-compute, count: OTHERS, vcpus: 1, memory_gib: 1, disk_gib: 4, gpus: 0}
"""
ONE = "\n".join(NODES.splitlines()[:-1]) + "\n"


def site_of(host: LibvirtHost, base: Path, *, name: str, machines: int, image: str, start: str) -> MachineSite:
    folder = base / name
    folder.mkdir()
    clusters = ONE if machines == 1 else NODES.replace("OTHERS", str(machines - 1))
    made = MachineSite(
        host=host,
        folder=folder,
        cache=shared_cache().parent,
        image=image,
        name=name,
        clusters=clusters,
        start=f"start: {start}",
    )
    made.write()
    return made


class Clock:
    """Seconds by the clock and of the processor since it was made, and the load."""

    def __init__(self, host: LibvirtHost) -> None:
        self.host = host
        self.began, self.used_s = time.perf_counter(), self._used_s()

    def read(self) -> dict[str, float]:
        return {
            "seconds": round(time.perf_counter() - self.began, 1),
            "processor_s": round(self._used_s() - self.used_s, 1),
            "load": round(os.getloadavg()[0], 1),
        }

    def _used_s(self) -> float:
        """Of the programs that were run so far, and of the machines that run now."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        machines = [psutil.Process(pid).cpu_times() for pid in self.host.processes("qemu-system")]
        return ended.ru_utime + ended.ru_stime + sum(used.user + used.system for used in machines)


def ours(host: LibvirtHost, base: Path, *, machines: int, image: str, limit_s: float) -> dict[str, Any]:
    """Define to ready, an `up` with nothing to do, and everything removed."""
    site = site_of(host, base, name=f"ours{machines}", machines=machines, image=image, start="always")
    found: dict[str, Any] = {}
    steps = {"up": "up", "up, nothing to do": "up", "destroy": "destroy"}
    for name, command in steps.items():
        clock = Clock(host)
        site.run(command, "--yes", timeout_s=limit_s)
        took = clock.read()
        if command == "destroy":
            # what the machines used until then has gone with them
            del took["processor_s"]
        found |= tell(f"ai-how {name}, {machines}", took)
    return found


def theirs(
    host: LibvirtHost, base: Path, *, peer: str, machines: int, image: str, limit_s: float, in_turn: bool = False
) -> dict[str, Any]:
    """A peer on a network, an image and seeds that are there already: only what it does is timed."""
    name = f"{'turn' if in_turn else peer}{machines}"
    site = site_of(host, base, name=name, machines=machines, image=image, start="manual")
    site.run("up", "--yes", timeout_s=limit_s)
    wishes = list(site.provider().look.wanted.machines.values())
    deadline = time.monotonic() + limit_s
    clock = Clock(host)
    for wish in wishes:
        PEERS[peer](site, wish)
        if in_turn:
            wait(site, wish, deadline)
    for wish in wishes:
        wait(site, wish, deadline)
    took = clock.read()
    connect = open_connection(host.uri)
    for wish in wishes:
        domain = connect.lookupByName(f"theirs-{wish.machine.node}")
        domain.destroy()
        domain.undefine()
    for disk in (site.storage / name).glob("theirs-*"):
        disk.unlink()
    site.destroy()
    how = "each when the one before is ready" if in_turn else "one after another, then waited for"
    return tell(f"{peer}, {machines}, {how}", took)


def tell(what: str, took: dict[str, float]) -> dict[str, Any]:
    """Said at once too: a run that is broken off is not for nothing."""
    print(f"{what}: {json.dumps(took)}", file=sys.stderr)
    return {what: took}


def by_virt_install(site: MachineSite, wish: MachineWish) -> None:
    folder = site.storage / site.name
    disk = folder / f"theirs-{wish.machine.node}.qcow2"
    size = str(wish.machine.disks[0].size_bytes)
    over = folder / wish.image.volume
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", over, disk, size], check=True)
    nic = wish.machine.nics[0]
    words = ["virt-install", "--connect", site.host.uri, "--name", f"theirs-{wish.machine.node}", "--import"]
    words += ["--memory", "1024", "--vcpus", "1", "--virt-type", "qemu", "--osinfo", "debian11", "--machine", "q35"]
    # our own machine of that address is defined, and off
    words += ["--check", "mac_in_use=off"]
    words += ["--disk", f"path={disk},bus=virtio", "--disk", f"path={folder / wish.machine.seed},device=cdrom"]
    words += ["--network", f"network={nic.network},mac={nic.mac},model=virtio", "--graphics", "none"]
    peer_run([*words, "--noautoconsole"])


def by_kcli(site: MachineSite, wish: MachineWish) -> None:
    """kcli with settings of its own in a home of its own; JSON is YAML."""
    nic, home = wish.machine.nics[0], site.folder / "kcli"
    machine = {
        **{"memory": 1024, "numcpus": 1, "machine": "q35", "cpumodel": "qemu64", "vnc": False, "nested": False},
        "disks": [wish.machine.disks[0].size_bytes // 2**30],
        "nets": [{"name": nic.network, "mac": nic.mac}],
        # the seed that is there: kcli's own names network cards by guess
        **{"cloudinit": False, "iso": wish.machine.seed},
    }
    client = {"type": "kvm", "url": site.host.uri, "pool": wish.machine.pool, "virttype": "qemu"}
    (home / ".kcli").mkdir(parents=True, exist_ok=True)
    (home / ".kcli" / "config.yml").write_text(json.dumps({"default": {"client": "here"}, "here": client}))
    asked = home / f"{wish.machine.node}.yml"
    asked.write_text(json.dumps(machine))
    words = ["kcli", "create", "vm", "-i", wish.image.volume, "--paramfile", str(asked)]
    peer_run([*words, f"theirs-{wish.machine.node}"], HOME=str(home))


PEERS: dict[str, Callable[[MachineSite, MachineWish], None]] = {"virt-install": by_virt_install, "kcli": by_kcli}
GET = {"virt-install": "apt-get install virtinst", "kcli": "pip install kcli, where Python finds libvirt's module"}


def peer_run(words: list[str], **environment: str) -> None:
    done = subprocess.run(words, env={**os.environ, **environment}, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{words[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def wait(site: MachineSite, wish: MachineWish, deadline: float) -> None:
    """Until cloud-init has finished, asked for as ai-how does."""
    argv = site.provider().target(wish).argv(connect_timeout_s=15)
    while time.monotonic() < deadline:
        asked = site.host.inside(*argv, "--", shlex.join(["sh", "-c", question()]))
        if subprocess.run(asked, check=False, capture_output=True).returncode == 0:
            return
        time.sleep(1)
    raise SystemExit(f"{wish.machine.node} did not come up in time")


def conditions(image: str) -> dict[str, Any]:
    return {
        "processors": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 1),
        "image": image,
        "each_machine": "1 vCPU, 1 GiB, emulated, cloud-init",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text")
    parser.add_argument("--machines", type=int, nargs="+", default=[1, 4], help="how many, one measurement each")
    parser.add_argument("--image", default="cloud-minimal", help="an image of `ai-how image list`")
    parser.add_argument("--limit", type=float, default=900, help="seconds that one step may take")
    parser.add_argument("--without-peer", action="store_true")
    parser.add_argument("--in-turn", action="store_true", help="also virt-install, each when the one before is ready")
    asked = parser.parse_args()
    if why_not():
        print(f"not measured: libvirt cannot run here: {why_not()}")
        return
    try:
        image = ImageStore(shared_cache() / "images").find(asked.image).name
    except NotFoundError as error:
        print(f"not measured: {error}")
        return
    absent = {peer: why for peer in PEERS if (why := why_no_peer(peer, left_out=asked.without_peer))}
    result: dict[str, Any] = {"conditions": conditions(image), "results": {}, "peers": absent}
    base = Path(tempfile.mkdtemp(prefix="ahbench-", dir="/tmp"))
    # ended by another, it takes its machines with it, as by Ctrl-C
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    host = new_host(base)
    try:
        host.start()
        result["results"] = measured(
            host, base, asked, image=image, peers=[peer for peer in PEERS if peer not in absent]
        )
    finally:
        host.stop()
        shutil.rmtree(base, ignore_errors=True)
    print(json.dumps(result, indent=1) if asked.output == "json" else as_text(result))


def why_no_peer(peer: str, *, left_out: bool) -> str:
    """Why a peer is not measured; empty where it is."""
    if left_out:
        return "not measured: left out"
    return "" if shutil.which(peer) else f"not measured: {peer} is not installed; {GET[peer]}"


def measured(
    host: LibvirtHost, base: Path, asked: argparse.Namespace, *, image: str, peers: list[str]
) -> dict[str, Any]:
    common = {"image": image, "limit_s": asked.limit}
    found: dict[str, Any] = {}
    for number in asked.machines:
        found |= ours(host, base, machines=number, **common)
        for peer in peers:
            found |= theirs(host, base, peer=peer, machines=number, **common)
        if "virt-install" in peers and asked.in_turn and number > 1:
            found |= theirs(host, base, peer="virt-install", machines=number, in_turn=True, **common)
    return found


def as_text(result: dict[str, Any]) -> str:
    lines = [f"{name}: {value}" for name, value in result["conditions"].items()]
    width = max(len(name) for name in result["results"])
    lines += ["", f"{'':{width}}  seconds  processor  load"]
    for name, one in result["results"].items():
        used = f"{one['processor_s']:9.1f}" if "processor_s" in one else f"{'':9}"
        lines.append(f"{name:{width}}  {one['seconds']:7.1f}  {used}  {one['load']:4.1f}")
    return "\n".join([*lines, *(f"{peer}: {why}" for peer, why in result["peers"].items())])


if __name__ == "__main__":
    main()
