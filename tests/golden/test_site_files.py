"""What is rendered from the site file's model: the first file, the schema, the reference pages."""

from __future__ import annotations

import json

import pytest

from ai_how.endpoints.deploy_file import DeployKeys
from ai_how.site.cluster_template import render_cluster_template
from ai_how.site.reference import keys_tables, render_site_reference, site_schema
from ai_how.site.server_template import render_server_template
from ai_how.site.template import render_template
from tests.golden.conftest import ROOT, Golden


@pytest.mark.parametrize(
    ("file", "gpus", "with_schema"),
    [("template-cpu.yaml", (), False), ("template-gpu.yaml", ("NVIDIA A100-SXM4-80GB",) * 2, True)],
)
def test_first_site_file(golden: Golden, file: str, gpus: tuple[str, ...], with_schema: bool) -> None:
    text = render_template(name="demo", cpu_cores=8, memory_gib=31.25, gpus=gpus, with_schema=with_schema)
    golden(f"tests/golden/site/{file}", text)


def test_first_site_file_with_clusters(golden: Golden) -> None:
    text = render_cluster_template(name="demo", cpu_cores=64, memory_gib=251.4, gpus=("NVIDIA RTX A6000",) * 2)
    golden("tests/golden/site/template-libvirt.yaml", text)


def test_first_site_file_with_servers(golden: Golden) -> None:
    text = render_server_template(name="demo", key_file="~/.ssh/id_ed25519")
    golden("tests/golden/site/template-inventory.yaml", text)


def test_schema(golden: Golden) -> None:
    golden("tests/golden/site/schema.json", json.dumps(site_schema(), indent=2) + "\n")


def test_site_reference_is_up_to_date(golden: Golden) -> None:
    golden("docs/reference/site-file.md", render_site_reference())


def test_deploy_reference_is_up_to_date(golden: Golden) -> None:
    page = "docs/reference/deploy-file.md"
    prose, mark, _ = (ROOT / page).read_text(encoding="utf-8").partition("## Top level\n")
    golden(page, prose + keys_tables(DeployKeys))
    assert mark
