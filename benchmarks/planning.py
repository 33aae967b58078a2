"""What sizing costs: `ai-how plan` for 10 to 1,000 nodes on a tenth as many hosts, and how it grows.

Three times each: the whole command, its processor time (on a busy machine the better figure), and the placement alone
without start-up and reading the file. Nobody listens at the hosts' addresses, so that no network is timed.
Bounded: under a minute. Usage: python benchmarks/planning.py [-o json] [--runs N]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NODES = (10, 30, 100, 300, 1000)
HOST = """\
  - name: host-{number:03}
    uri: "qemu+unix:///system?socket=/nonexistent/{number}"
    declared: {{cores: 128, threads: 256, memory_gib: 1024, disk_gib: 8000, numa_nodes: 2,
      gpus: [{{model: RTX A6000, count: 4}}]}}
"""
CLUSTER = """\
clusters:
  cloud:
    subnet: 10.0.0.0/16
    nodes:
      - {{role: control-plane, count: 3}}
      - {{role: gpu-worker, count: {gpu_workers}}}
      - {{role: cpu-worker, count: {cpu_workers}}}
placement: {{numa_locality: require}}
"""


def site_text(nodes: int) -> str:
    hosts = "".join(HOST.format(number=number) for number in range(nodes // 10))
    gpu_workers = nodes * 4 // 10
    cluster = CLUSTER.format(gpu_workers=gpu_workers, cpu_workers=nodes - gpu_workers - 3)
    return f"name: bench\nprovider: libvirt\nhosts:\n{hosts}{cluster}"


def command_s(file: Path) -> tuple[float, float]:
    """Wall time and processor time."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "ai_how", "plan", "--site", str(file)], capture_output=True, text=True, check=False
    )
    took_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 2:
        raise SystemExit(f"plan ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr}")
    return took_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def placement_s(file: Path) -> float:
    from ai_how.capacity.demand import request_of
    from ai_how.capacity.sizing import Fit, solve
    from ai_how.site.load import load_site

    request = request_of(load_site(file), {})
    began = time.perf_counter()
    solution = solve(request)
    took_s = time.perf_counter() - began
    if solution.fit is not Fit.FITS:
        raise SystemExit(f"does not fit: {solution.why}")
    return took_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    found: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="ai-how-bench-") as folder:
        for nodes in NODES:
            file = Path(folder) / f"{nodes}.yaml"
            file.write_text(site_text(nodes))
            commands = [command_s(file) for _ in range(arguments.runs)]
            found[nodes] = {
                "command_s": statistics.median(wall_s for wall_s, _ in commands),
                "command_cpu_s": statistics.median(cpu_s for _, cpu_s in commands),
                "placement_s": statistics.median(placement_s(file) for _ in range(arguments.runs)),
            }
    if arguments.output == "json":
        print(json.dumps({"machine": platform.machine(), "cores": os.cpu_count(), "times": found}))
        return
    load = os.getloadavg()[0]
    print(
        f"{os.cpu_count()} cores, Python {platform.python_version()}, {arguments.runs} runs, load {load:.1f}; medians"
    )
    print("nodes  hosts  whole command  processor  placement  placement against a tenth of the nodes")
    for nodes, times in found.items():
        tenth = found.get(nodes // 10)
        growth = f"{times['placement_s'] / tenth['placement_s']:.0f} times" if tenth else "-"
        command, cpu = f"{times['command_s']:.2f} s", f"{times['command_cpu_s']:.2f} s"
        placement = f"{times['placement_s']:.4f} s"
        print(f"{nodes:>5}  {nodes // 10:>5}  {command:>13}  {cpu:>9}  {placement:>9}  {growth}")


if __name__ == "__main__":
    main()
