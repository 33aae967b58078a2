"""What the doctor costs: the whole command, with and without its two guests under KVM, and without any check of KVM.

The checks themselves run side by side; the guests end by themselves, after 5 s at the latest. Ratios against
`python -c pass` in the same run. Bounded: under a minute. Usage: python benchmarks/doctor.py [-o json] [--runs N]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time

# without /dev/kvm in sight nothing is run: the rest of the command is what remains
WITHOUT_GUESTS = """
import ai_how.host.doctor as doctor
from ai_how.host.facts.kvm import Device, KvmFacts
doctor.observe_kvm = lambda root: KvmFacts(device=Device.MISSING, architecture="unknown")
from ai_how.cli.app import main
main(["doctor", "-o", "json"])
"""
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "ai-how doctor": ["-m", "ai_how", "doctor", "-o", "json"],
    "the same without KVM's guests": ["-c", WITHOUT_GUESTS],
    "ai-how doctor --for local": ["-m", "ai_how", "doctor", "--for", "local", "-o", "json"],
}


def once(words: list[str]) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    took_s = time.perf_counter() - began
    if done.returncode not in (0, 1, 2) or "Traceback" in done.stderr:
        raise SystemExit(f"{words} ended with {done.returncode}:\n{done.stderr}")
    return took_s, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    kvm = "not asked"
    for name, words in COMMANDS.items():
        runs = [once(words) for _ in range(arguments.runs)]
        times = [took_s for took_s, _ in runs]
        found[name] = {"median_s": statistics.median(times), "min_s": min(times), "max_s": max(times)}
        if name == "ai-how doctor":
            checks = {check["id"]: check for check in json.loads(runs[-1][1])["checks"]}
            kvm = "; ".join(f"{check['title']}: {check['found']}" for id_, check in checks.items() if id_[:4] == "kvm.")
    if arguments.output == "json":
        print(json.dumps({"machine": platform.machine(), "cores": os.cpu_count(), "kvm": kvm, "times": found}))
        return
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {arguments.runs} runs, load {load:.1f}")
    base = found["python -c pass"]["median_s"]
    for name, times in found.items():
        spread, ratio = f"({times['min_s']:.2f} to {times['max_s']:.2f})", times["median_s"] / base
        print(f"{name:<32} {times['median_s']:6.2f} s  {spread:<16} {ratio:5.1f} times python -c pass")
    print(f"KVM here: {kvm}")


if __name__ == "__main__":
    main()
