"""What an image costs to build, phase by phase, beside the plain tool: mmdebstrap of the same packages into a tar file.

The plain tool makes no disk, no boot code and no provisioning: it is the floor, and downloads each time. The build is
measured with no package kept and with all of them kept. Minutes. What was measured is told at once on stderr, so that
a run that is broken off is not for nothing. Usage: python benchmarks/images.py [-o json] [--recipe NAME] [--once]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

from ai_how.errors import AiHowError  # noqa: E402
from ai_how.machines.images.build import build_image, require_tools  # noqa: E402
from ai_how.machines.images.mirror import archive_lines  # noqa: E402
from ai_how.machines.images.recipe import Recipe, find_recipe  # noqa: E402


@dataclass(kw_only=True)
class Cost:
    """Wall time and processor time of something, with children."""

    wall_s: float
    cpu_s: float


def costs(what: Callable[[], object]) -> Cost:
    began, cpu = time.perf_counter(), _children_s()
    what()
    return Cost(wall_s=time.perf_counter() - began, cpu_s=_children_s() - cpu)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def phases(recipe: Recipe, folder: Path, packages: Path) -> dict[str, Cost]:
    """One build: each phase by the words that a user sees, and the sum."""
    folder.mkdir()
    marks: list[tuple[str, float, float]] = []

    def note(doing: str) -> None:
        marks.append((doing, time.perf_counter(), _children_s()))
        print(f"{doing} ...", file=sys.stderr)

    build_image(
        recipe,
        folder,
        packages=packages,
        mirror=None,
        report=note,
    )
    marks.append(("", time.perf_counter(), _children_s()))
    found = {
        doing: Cost(wall_s=after[1] - wall, cpu_s=after[2] - cpu)
        for (doing, wall, cpu), after in itertools.pairwise(marks)
    }
    found["all of it"] = Cost(wall_s=marks[-1][1] - marks[0][1], cpu_s=marks[-1][2] - marks[0][2])
    return found


def floor(recipe: Recipe, folder: Path) -> Cost:
    words = ["mmdebstrap", "--quiet", "--variant=apt", f"--components={','.join(recipe.components)}"]
    print("mmdebstrap to a tar file ...", file=sys.stderr)
    words += [f"--include={','.join(recipe.all_packages)}", recipe.suite, str(folder / "floor.tar")]
    return costs(lambda: subprocess.run([*words, *archive_lines(recipe, None)], check=True))


def said(what: str, cost: Cost) -> None:
    print(f"{what}: {cost.wall_s:.1f} s, {cost.cpu_s:.1f} CPU s, load {os.getloadavg()[0]:.1f}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", choices=("text", "json"), default="text", dest="output")
    parser.add_argument("--recipe", default="cloud-minimal")
    parser.add_argument("--once", action="store_true", help="without the second build, that with all packages kept")
    chosen = parser.parse_args()
    recipe = find_recipe(chosen.recipe)
    try:
        require_tools()
    except AiHowError as error:
        print(f"skipped: {error}")
        return
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        packages = Path(folder) / "packages"
        found = {"mmdebstrap to a tar file": floor(recipe, Path(folder))}
        said("mmdebstrap to a tar file", found["mmdebstrap to a tar file"])
        for kept in ("no package kept",) if chosen.once else ("no package kept", "all packages kept"):
            for phase, cost in phases(recipe, Path(folder) / kept.replace(" ", "-"), packages).items():
                found[f"ai-how, {kept}: {phase}"] = cost
                said(f"ai-how, {kept}: {phase}", cost)
    machine = {
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "load_before": load,
        "load_after": os.getloadavg()[0],
    }
    if chosen.output == "json":
        print(
            json.dumps(
                {"recipe": recipe.image_name, "machine": machine, "costs": {k: vars(v) for k, v in found.items()}}
            )
        )
        return
    print(f"{recipe.image_name} on {machine['cores']} cores, {machine['system']}")
    print(f"load {machine['load_before']:.1f} before, {machine['load_after']:.1f} after; one run each\n")
    least = found["mmdebstrap to a tar file"]
    for what, cost in found.items():
        print(f"{what:<68}{cost.wall_s:7.1f} s {cost.wall_s / least.wall_s:5.2f} x  {cost.cpu_s:6.1f} CPU s")


if __name__ == "__main__":
    main()
