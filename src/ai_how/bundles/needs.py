"""What clusters of one release set need, gathered from those who know: Kubespray, its environment's lock, others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ai_how.apply.python_environment import PythonEnvironment
from ai_how.bundles.kubespray_list import kubespray_wants
from ai_how.bundles.wanted import File, Wanted
from ai_how.bundles.wheels import wheels_of
from ai_how.errors import ProviderError, SpecError
from ai_how.kubernetes.checkout import Checkout, find_checkout
from ai_how.kubernetes.environment import environment_of
from ai_how.kubernetes.group_vars import all_vars, cluster_vars
from ai_how.kubernetes.variables import check_names
from ai_how.site.kubernetes import Kubernetes

_NO_SECRETS = Path("/nonexistent")


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What is needed, and the Kubespray that was asked, which belongs into the bundle where it is the release's own."""

    wanted: tuple[Wanted, ...]
    checkout: Checkout
    own_checkout: bool


def kubernetes_needs(
    clusters: Sequence[Kubernetes],
    versions: Mapping[str, str],
    *,
    platform: str,
    pythons: Iterable[str],
    site_folder: Path | None = None,
    more: Iterable[Wanted] = (),
) -> Needs:
    """What these clusters' Kubernetes needs, and ``more``, each once.

    Args:
        versions: By component: those of the release set, with the pins taken in.
        pythons: The versions that Kubespray's environment is for.
        site_folder: Where a relative ``kubespray_path`` starts.

    Raises:
        SpecError: the clusters name different Kubesprays, or variables that it does not know.
        ProviderError, MissingToolError: Kubespray or its environment could not be had or asked.
    """
    checkout, own = _checkout(clusters, versions["kubespray"], site_folder)
    environment = environment_of(checkout.path, checkout.version)
    environment.install()
    found: dict[Wanted, None] = {}
    for python in pythons:
        found.update(dict.fromkeys(_wheels(environment, python, platform)))
    for cluster in clusters:
        decided = cluster_vars(cluster, versions, credentials_dir=_NO_SECRETS)
        check_names(cluster.extra_vars, checkout.path, version=checkout.version)
        variables = all_vars(decided, cluster.extra_vars)
        found.update(dict.fromkeys(kubespray_wants(checkout.path, environment, variables, platform=platform)))
    found.update(dict.fromkeys(more))
    return Needs(wanted=tuple(found), checkout=checkout, own_checkout=own)


def _wheels(environment: PythonEnvironment, python: str, platform: str) -> tuple[File, ...]:
    return wheels_of(environment, python=python, platform=platform)


def _checkout(clusters: Sequence[Kubernetes], version: str, site_folder: Path | None) -> tuple[Checkout, bool]:
    paths = {cluster.kubespray_path for cluster in clusters}
    if len(paths) > 1:
        raise SpecError(
            "the site's clusters name different Kubesprays",
            evidence=", ".join(sorted(path or "the release's" for path in paths)),
            next_step="write one kubespray_path for all of them, or make one bundle for each site file",
        )
    path = next(iter(paths), None)
    own = (site_folder or Path()) / Path(path).expanduser() if path else None
    try:
        return find_checkout(version, own=own), own is not None
    except ProviderError as error:
        if own is None:
            error.next_step = (
                "a bundle is made where there is internet: check the network or proxy (HTTPS_PROXY), then run the same "
                "command again. Or name a checkout of yours in a site file: kubernetes.kubespray_path"
            )
        raise
