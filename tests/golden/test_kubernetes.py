"""Kubespray's inventory and variables for the layouts that matter."""

from __future__ import annotations

import pytest

from ai_how.kubernetes.group_vars import all_vars, cluster_vars, group_vars_text
from ai_how.kubernetes.inventory import inventory_text
from tests.golden.conftest import Golden
from tests.kubernetes_nodes import LAYOUTS, SECRETS, VERSIONS, WANTED, nodes_of


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_kubespray_is_told(golden: Golden, layout: str) -> None:
    golden(f"tests/golden/kubernetes/{layout}/hosts.yml", inventory_text(nodes_of(layout)))
    wanted = WANTED[layout]
    decided = cluster_vars(wanted, VERSIONS, credentials_dir=SECRETS / "kubernetes" / "cloud")
    text = group_vars_text(all_vars(decided, wanted.extra_vars))
    golden(f"tests/golden/kubernetes/{layout}/k8s_cluster.yml", text)
