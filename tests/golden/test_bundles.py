"""What a bundle of each release set holds for the examples' clusters, as Kubespray itself says it.

KUBESPRAY_DIR names a checkout of Kubespray; only release sets of its version are compared.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ai_how.bundles.kubespray_list import kubespray_wants
from ai_how.bundles.wanted import File, Wanted
from ai_how.kubernetes.checkout import declared_version
from ai_how.kubernetes.environment import environment_of
from ai_how.kubernetes.group_vars import all_vars, cluster_vars
from ai_how.releases.sets import load_set, set_names
from ai_how.site.kubernetes import Kubernetes
from tests.golden.conftest import Golden

KUBESPRAY_DIR = os.environ.get("KUBESPRAY_DIR", "")
pytestmark = pytest.mark.skipif(not KUBESPRAY_DIR, reason="needs KUBESPRAY_DIR: a checkout of Kubespray")


@pytest.mark.parametrize("platform", ["linux/amd64", "linux/arm64"])
@pytest.mark.parametrize("name", set_names())
def test_what_kubespray_downloads(golden: Golden, name: str, platform: str) -> None:
    checkout, versions = Path(KUBESPRAY_DIR), load_set(name).versions
    if declared_version(checkout) != versions["kubespray"]:
        pytest.skip(f"release set {name} has Kubespray {versions['kubespray']}")
    environment = environment_of(checkout, versions["kubespray"])
    environment.install()
    variables = all_vars(cluster_vars(Kubernetes(), versions, credentials_dir=Path("/nonexistent")), {})
    wanted = kubespray_wants(checkout, environment, variables, platform=platform)
    golden(
        f"tests/golden/bundles/{name}-{platform.partition('/')[2]}.txt", "".join(f"{_line(one)}\n" for one in wanted)
    )


def _line(one: Wanted) -> str:
    if isinstance(one, File):
        return f"file {one.url} {one.digest}"
    return f"image {one.reference} {one.digest or 'no digest stated'}" if hasattr(one, "reference") else str(one)
