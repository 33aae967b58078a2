"""The first site file: it loads as it is, and with every default written out."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ai_how.site.load import check_site_text
from ai_how.site.spec import Site
from ai_how.site.template import render_template, valid_name

NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?", fullmatch=True)


@given(
    name=NAMES | st.sampled_from(["null", "true", "no", "e1", "x0"]),
    cores=st.integers(1, 256),
    gpus=st.lists(st.sampled_from(["NVIDIA L4", "NVIDIA H100 NVL"])),
)
def test_it_loads_with_the_defaults(name: str, cores: int, gpus: list[str]) -> None:
    text = render_template(name=name, cpu_cores=cores, memory_gib=15.5, gpus=gpus)
    site, mistakes = check_site_text(text, Path("f"))
    assert (mistakes, site) == ([], Site(name=name))


def test_what_is_commented_out_are_the_defaults() -> None:
    text = render_template(name="demo", cpu_cores=2, memory_gib=4)
    # prose begins with "# "; what is commented out follows its # at once, or stands deeper in a section
    written_out = re.sub(r"^( *)#(?! [^ ])", r"\1", text, flags=re.MULTILINE)
    assert {"max_request_mib: 16", "state_dir: .ai-how/demo", "cold_start_s: 10"} <= set(
        map(str.strip, written_out.splitlines())
    )
    site, mistakes = check_site_text(written_out, Path("f"))
    assert (mistakes, site) == ([], Site(name="demo", state_dir=".ai-how/demo"))


def test_it_tells_what_was_found() -> None:
    text = render_template(name="a", cpu_cores=1, memory_gib=7.75, gpus=["NVIDIA L4", "NVIDIA L4", "Tesla T4"])
    said = text.replace("\n# ", " ")
    assert "# Found on this machine: 1 core, 7.8 GiB of memory, 2 x NVIDIA L4 and 1 x Tesla T4." in said
    assert "no NVIDIA GPU" in render_template(name="a", cpu_cores=2, memory_gib=1)


def test_it_fits_a_terminal() -> None:
    text = render_template(name="a" * 32, cpu_cores=128, memory_gib=1024, gpus=["NVIDIA A100-SXM4-80GB"])
    assert max(map(len, text.splitlines())) <= 80


def test_names_of_folders_become_valid() -> None:
    assert [valid_name(text) for text in ("My Project", "2024_run", "modèle", "", "---", "x" * 50, "a--b", "日本")] == [
        "my-project",
        "site-2024-run",
        "modele",
        "site",
        "site",
        "x" * 32,
        "a--b",
        "site",
    ]


@given(text=st.text(max_size=60))
def test_any_text_becomes_a_valid_name(text: str) -> None:
    assert Site(name=valid_name(text))


@given(name=NAMES)
def test_a_valid_name_is_kept(name: str) -> None:
    assert valid_name(name) == name
