"""What the hooks of a chart made: Jobs, their accounts and roles. Helm forgets them when it uninstalls the release.

Source: https://helm.sh/docs/topics/charts_hooks/ ("Hook resources are not managed with corresponding releases").
"""

from __future__ import annotations

from collections.abc import Sequence

from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.discovery import UnknownKindError
from ai_how.kubernetes_api.objects import ApiObject, ref_of
from ai_how.kubernetes_api.removal import remove_all

_HOOK, _POLICY = "helm.sh/hook", "helm.sh/resource-policy"


def remove_hooks(client: Client, hooks: Sequence[ApiObject], namespace: str) -> None:
    """Remove what is left of them; only what still says that it is a hook, and is not to be kept.

    Args:
        namespace: The release's, where a hook names none.

    Raises:
        NotWellError: something did not go in its time.
    """
    left = []
    for hook in hooks:
        try:
            live = client.get(ref_of({**hook, "metadata": {"namespace": namespace, **hook["metadata"]}}))
        except UnknownKindError:
            continue  # its kind went with the release
        annotations = (live or {}).get("metadata", {}).get("annotations") or {}
        if live is not None and _HOOK in annotations and annotations.get(_POLICY) != "keep":
            left.append((ref_of(live), str(live["metadata"]["uid"])))
    remove_all(client, left)
