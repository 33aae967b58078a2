"""What follows Kubespray's playbooks: the kubeconfig is fetched, and the cluster asked whether it is ready."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ai_how.errors import AiHowError, ProviderError
from ai_how.kubernetes.kubeconfig import Kubeconfig
from ai_how.kubernetes.merging import Merge
from ai_how.kubernetes.reach import open_api
from ai_how.kubernetes.ready import check_ready
from ai_how.kubernetes.setup import Setup
from ai_how.kubernetes_api.connection import Patience


def kubeconfig_of(folder: Path, *, site: str, cluster: str) -> Kubeconfig:
    """A cluster's kubeconfig in its folder; its context is named after site and cluster."""
    return Kubeconfig(path=folder / "kubeconfig", context=f"{site}-{cluster}")


def finish(
    setup: Setup, kubeconfig: Kubeconfig, *, timeout_s: float, cancelled: Callable[[], bool] = lambda: False
) -> str:
    """Fetch the kubeconfig, also into the user's where it was merged, and wait for the cluster; says what was seen.

    Raises:
        As ``Kubeconfig.fetch`` and ``check_ready``.
    """
    node = setup.first_control_plane
    access = kubeconfig.fetch(node)
    Merge(kubeconfig).renew()
    with open_api(access, node.access, patience=Patience(total_s=timeout_s)) as api:
        try:
            return check_ready(api, setup.nodes, domain=setup.domain, timeout_s=timeout_s, cancelled=cancelled)
        except ProviderError:
            raise
        except AiHowError as error:
            # in the words of what was done: the cluster is set up, and not ready
            error.evidence = f"after its playbooks had ended well\n{error.evidence}".strip()
            raise
