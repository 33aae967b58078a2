"""From nothing to machines that can be worked on: ours, and virt-install on the same image, network and seeds.

Needs root and libvirt; everything happens on a private libvirt host in a network namespace. Machines are emulated, so
times are those of this processor and its load, which are printed. Bounded by ``--limit`` seconds a step.
Usage: python benchmarks/machines.py [-o json] [--machines N...] [--image NAME] [--without-peer] [--limit S]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.functional.libvirt_host import LibvirtHost, new_host, why_not  # noqa: E402
from tests.functional.libvirt_site import MachineSite  # noqa: E402

from ai_how.apply.files import shared_cache  # noqa: E402
from ai_how.errors import NotFoundError  # noqa: E402
from ai_how.machines.connection import open_connection  # noqa: E402
from ai_how.machines.desired import MachineWish  # noqa: E402
from ai_how.machines.images.store import ImageStore  # noqa: E402

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


def timed(site: MachineSite, *words: str, limit_s: float) -> dict[str, float]:
    """How long a command took, and the load while it did."""
    began = time.perf_counter()
    site.run(*words, timeout_s=limit_s)
    return {"seconds": round(time.perf_counter() - began, 1), "load": round(os.getloadavg()[0], 1)}


def ours(host: LibvirtHost, base: Path, *, machines: int, image: str, limit_s: float) -> dict[str, Any]:
    """Define to ready, an `up` with nothing to do, and everything removed."""
    site = site_of(host, base, name=f"ours{machines}", machines=machines, image=image, start="always")
    found: dict[str, Any] = {}
    steps = {"up": "up", "up, nothing to do": "up", "destroy": "destroy"}
    for name, command in steps.items():
        took = timed(site, command, "--yes", limit_s=limit_s)
        found |= tell(f"ai-how {name}, {machines}", took)
    return found


def theirs(
    host: LibvirtHost, base: Path, *, machines: int, image: str, limit_s: float, in_turn: bool
) -> dict[str, Any]:
    """virt-install on a network, an image and seeds that are there already: only what it does is timed."""
    name = f"{'turn' if in_turn else 'peer'}{machines}"
    site = site_of(host, base, name=name, machines=machines, image=image, start="manual")
    site.run("up", "--yes", timeout_s=limit_s)
    provider = site.provider()
    wishes = list(provider.look.wanted.machines.values())
    deadline = time.monotonic() + limit_s
    began = time.perf_counter()
    for wish in wishes:
        install(site, wish)
        if in_turn:
            wait(site, wish, deadline)
    with ThreadPoolExecutor(max_workers=len(wishes)) as pool:
        list(pool.map(lambda wish: wait(site, wish, deadline), wishes))
    took = {"seconds": round(time.perf_counter() - began, 1), "load": round(os.getloadavg()[0], 1)}
    connect = open_connection(host.uri)
    for wish in wishes:
        domain = connect.lookupByName(f"theirs-{wish.machine.node}")
        domain.destroy()
        domain.undefine()
        (site.storage / name / f"theirs-{wish.machine.node}.qcow2").unlink()
    site.destroy()
    how = "each when the one before is ready" if in_turn else "one after another, then waited for"
    return tell(f"virt-install, {machines}, {how}", took)


def tell(what: str, took: dict[str, float]) -> dict[str, Any]:
    """Said at once too: a run that is broken off is not for nothing."""
    print(f"{what}: {took['seconds']:.1f} s, load {took['load']:.1f}", file=sys.stderr)
    return {what: took}


def install(site: MachineSite, wish: MachineWish) -> None:
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
    done = subprocess.run([*words, "--noautoconsole"], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"virt-install ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def wait(site: MachineSite, wish: MachineWish, deadline: float) -> None:
    """Until cloud-init has finished, asked for as a script of a user's would."""
    argv = site.provider().target(wish).argv(connect_timeout_s=15)
    while time.monotonic() < deadline:
        asked = site.host.inside(*argv, "--", "cloud-init status --wait")
        if subprocess.run(asked, check=False, capture_output=True).returncode in (0, 2):
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
    result: dict[str, Any] = {"conditions": conditions(image), "results": {}}
    base = Path(tempfile.mkdtemp(prefix="ahbench-", dir="/tmp"))
    host = new_host(base)
    common = {"image": image, "limit_s": asked.limit}
    try:
        host.start()
        with_peer = not asked.without_peer and shutil.which("virt-install") is not None
        if not with_peer:
            result["peer"] = "not measured: " + ("left out" if asked.without_peer else "virt-install is not installed")
        for number in asked.machines:
            result["results"] |= ours(host, base, machines=number, **common)
            if with_peer:
                result["results"] |= theirs(host, base, machines=number, in_turn=False, **common)
            if with_peer and asked.in_turn and number > 1:
                result["results"] |= theirs(host, base, machines=number, in_turn=True, **common)
    finally:
        host.stop()
        shutil.rmtree(base, ignore_errors=True)
    print(json.dumps(result, indent=1) if asked.output == "json" else as_text(result))


def as_text(result: dict[str, Any]) -> str:
    lines = [f"{name}: {value}" for name, value in result["conditions"].items()]
    width = max(len(name) for name in result["results"])
    lines += ["", f"{'':{width}}  seconds  load"]
    lines += [f"{name:{width}}  {one['seconds']:7.1f}  {one['load']:4.1f}" for name, one in result["results"].items()]
    return "\n".join([*lines, *([f"peer: {result['peer']}"] if "peer" in result else [])])


if __name__ == "__main__":
    main()
