"""How the version solver grows: the shipped facts, then with made-up Kubespray releases up to 200.

For each size: the newest set, one pin, and the pins of the resource requirements with every conflict explained.
Ratios are against the shipped facts in the same run. Usage: python benchmarks/versions.py [-o json] [--runs N]
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import platform
import statistics
import time
from collections.abc import Callable

from ai_how.releases import Conflict, load_world, solve
from ai_how.releases.explain import explain
from ai_how.releases.pins import parse_version
from ai_how.releases.sets import load_document
from ai_how.releases.world import Need, Release, World

DAY = datetime.date(2026, 1, 1)
FIRST_SERIES = {"kubernetes": (1, 36), "containerd": (2, 3), "calico": (3, 32)}
PATCHES = 12


def grown(releases: int) -> World:
    """The shipped facts with Kubespray releases added, each with three series of twelve patch releases."""
    world = load_world()
    kubespray = list(world.components["kubespray"].releases)
    offered: dict[str, set[str]] = {name: set() for name in FIRST_SERIES}
    for number in range(releases - len(kubespray)):
        needs = []
        for name, (major, minor) in FIRST_SERIES.items():
            series = [minor + number // 2 + step for step in range(3)]
            versions = frozenset(f"{major}.{each}.{patch}" for each in series for patch in range(PATCHES))
            offered[name] |= versions
            needs.append(Need(component=name, kind="offers", text="", source="made up", versions=versions))
        release = Release(version=f"2.{32 + number}.0", source="made up", read=DAY, needs=tuple(needs))
        kubespray.append(release)
    components = dict(world.components)
    components["kubespray"] = dataclasses.replace(components["kubespray"], releases=newest_first(kubespray))
    for name, versions in offered.items():
        old = list(components[name].releases)
        new = [Release(version=version, source="made up", read=DAY) for version in versions]
        components[name] = dataclasses.replace(components[name], releases=newest_first(old + new))
    return World(components=components)


def newest_first(releases: list[Release]) -> tuple[Release, ...]:
    return tuple(sorted(releases, key=lambda release: parse_version(release.version), reverse=True))


def explained(world: World) -> None:
    answer = solve([pin for pin, _ in load_document().pins], world=world)
    assert isinstance(answer, Conflict)
    assert len(explain(answer)) == 2


def measure(releases: int, runs: int) -> dict[str, float]:
    world = grown(releases)
    questions: dict[str, Callable[[], object]] = {
        "newest_s": lambda: solve([], world=world),
        "one_pin_s": lambda: solve(["kubernetes=1.34"], world=world),
        "document_s": lambda: explained(world),
    }
    found: dict[str, float] = {"kubernetes_versions": len(world.components["kubernetes"].releases)}
    for name, question in questions.items():
        times = []
        for _ in range(runs):
            began = time.perf_counter()
            question()
            times.append(time.perf_counter() - began)
        found[name] = statistics.median(times)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    shipped = len(load_world().components["kubespray"].releases)
    found = {releases: measure(releases, options.runs) for releases in (shipped, 50, 100, 200)}
    if options.output == "json":
        print(json.dumps(found, indent=2))
        return
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {options.runs} runs, load {load:.1f}; medians")
    print(f"{'releases':>8}  {'kubernetes':>10}  {'newest':>9}  {'one pin':>9}  {'document':>9}  {'ratio':>6}")
    for releases, row in found.items():
        times = "  ".join(f"{row[name]:>7.3f} s" for name in ("newest_s", "one_pin_s", "document_s"))
        ratio = row["document_s"] / found[shipped]["document_s"]
        print(f"{releases:>8}  {row['kubernetes_versions']:>10.0f}  {times}  {ratio:>6.1f}")


if __name__ == "__main__":
    main()
