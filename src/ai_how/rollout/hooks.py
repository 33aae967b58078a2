"""What the hooks of a chart made: Jobs, their accounts and roles. Helm forgets them when it uninstalls the release.

Source: https://helm.sh/docs/topics/charts_hooks/ ("Hook resources are not managed with corresponding releases").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.discovery import UnknownKindError
from ai_how.kubernetes_api.objects import Ref
from ai_how.kubernetes_api.removal import remove_all

_HOOK, _POLICY = "helm.sh/hook", "helm.sh/resource-policy"


def remove_hooks(client: Client, hooks: Sequence[Mapping[str, Any]], namespace: str) -> None:
    """Remove what is left of them; only what still says that it is a hook, and is not to be kept.

    Args:
        namespace: The release's.

    Raises:
        NotWellError: something did not go in its time.
    """
    left = []
    for hook in hooks:
        try:
            kind = client.kinds.find(hook["apiVersion"], hook["kind"])
        except UnknownKindError:
            continue  # its kind went with the release
        metadata = hook["metadata"]
        where = metadata.get("namespace", namespace) if kind.namespaced else ""
        ref = Ref(api_version=hook["apiVersion"], kind=hook["kind"], namespace=where, name=metadata["name"])
        live = client.get(ref)
        annotations = (live or {}).get("metadata", {}).get("annotations") or {}
        if live is not None and _HOOK in annotations and annotations.get(_POLICY) != "keep":
            left.append((ref, str(live["metadata"]["uid"])))
    remove_all(client, left)
