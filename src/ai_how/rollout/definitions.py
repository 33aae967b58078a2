"""Definitions of kinds that a chart brings. Helm installs them where they are missing, and never upgrades them.

So they are brought to the chart's own before a release of ours is upgraded. Before a first installation they may be
others': they are left alone, as Helm does.
Source: https://helm.sh/docs/chart_best_practices/custom_resource_definitions/
"""

from __future__ import annotations

from collections.abc import Callable

from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.side_by_side import side_by_side
from ai_how.kubernetes_api.waiting import wait_until_served
from ai_how.rollout.documents import objects_in, without_status

_SERVED_S = 60
_API, _KIND = "apiextensions.k8s.io/v1", "CustomResourceDefinition"


def bring_definitions(client: Client, read: Callable[[], str], what: str) -> None:
    """Bring the definitions of every API group that the cluster has to what the chart has.

    A group that it does not have is left to Helm, which knows whether that part of the chart is wanted.

    Args:
        read: What ``helm show crds`` prints.
        what: Names the chart in an error.

    Raises:
        ProviderError: what it prints is no YAML.
        AiHowError: the server refused one: it drops a version in which objects are stored, say.
    """
    kind = client.kinds.find(_API, _KIND)
    names = [one["metadata"]["name"] for one in client.list_kind(kind, metadata_only=True).items]
    groups = {name.partition(".")[2] for name in names}
    text = read()
    if not any(group in text for group in groups):
        return  # many lines that need not be read
    wanted = [one for one in objects_in(text, what) if one["kind"] == _KIND and one["spec"]["group"] in groups]
    side_by_side(lambda one: client.apply(without_status(one), force=True), wanted)
    for spec in (one["spec"] for one in wanted):
        for version in (each["name"] for each in spec["versions"] if each["served"]):
            wait_until_served(client, f"{spec['group']}/{version}", spec["names"]["kind"], timeout_s=_SERVED_S)
