"""Sizing on this machine: it is looked at, nothing is written, and an example is planned by the program itself."""

from __future__ import annotations

from pathlib import Path

from tests.golden.conftest import ROOT

from .site import SiteUnderTest


def test_this_machine_is_looked_at(tmp_path: Path) -> None:
    site = SiteUnderTest(folder=tmp_path, name="lab")
    site.write("provider: libvirt\nhosts:\n  - name: here\n    reserve: {cores: 0, memory_gib: 0}\n")
    done = site.run("plan", "-o", "json", code=None)
    plan = done.json()
    (found,) = plan["hosts"]
    assert (found["name"], found["observed"]) == ("here", True)
    assert found["threads"]["total"] >= 1
    assert found["threads"]["usable"] == found["threads"]["total"]
    assert done.returncode == (2 if plan["fits"] else 1)
    assert site.run("plan", "--fit", code=None).returncode in (1, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["ai-how.yaml"]


def test_the_example_is_planned(tmp_path: Path) -> None:
    site = SiteUnderTest(folder=tmp_path, name="none")
    said = site.run("plan", "--site", str(ROOT / "examples" / "libvirt.yaml"), code=2)
    # then only the stack: what `up` would do is not known, as the example's hosts are not there
    sizing, _, stack = said.stdout.partition("\nStack of cloud: ")
    assert sizing == (ROOT / "tests" / "golden" / "sizing" / "libvirt.txt").read_text()
    assert stack.startswith("15 parts fit;")
