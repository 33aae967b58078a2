"""What is rendered from the version facts: the reference page and the document's conflict."""

from __future__ import annotations

from click.testing import CliRunner

from ai_how.cli.app import root
from ai_how.releases import load_set, load_world, set_names
from ai_how.releases.reference import render_reference
from tests.golden.conftest import ROOT, Golden

PAGE = "docs/how-to/choose-versions.md"


def test_releases_reference_is_up_to_date(golden: Golden) -> None:
    golden("docs/reference/releases.md", render_reference(load_world(), [load_set(name) for name in set_names()]))


def test_the_documents_conflict_stands_in_the_guide_as_the_solver_says_it(golden: Golden) -> None:
    said = CliRunner().invoke(root, ["versions", "check", "--document"], prog_name="ai-how").stdout
    head, mark, rest = (ROOT / PAGE).read_text(encoding="utf-8").partition("    $ ai-how versions check --document\n")
    assert mark
    tail = rest[rest.index("\nThe first way out") :]
    block = "".join(f"    {line}".rstrip() + "\n" for line in said.splitlines())
    golden(PAGE, head + mark + block + tail)
