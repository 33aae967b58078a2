"""Replicas of a revision by number: what its Deployment is told."""

from __future__ import annotations

from ai_how.kserve.look import Seen
from ai_how.kserve.names import service_name
from ai_how.kserve.setting import ServingSetting
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.objects import Ref

_MERGE = "application/merge-patch+json"


def wants_replicas(client: Client, setting: ServingSetting, seen: Seen, count: int) -> int:
    """Have the Deployment keep at least ``count`` replicas, within the bounds; how many it keeps now.

    KEDA takes back what is idle. From none it would take them back at once: then nothing is done, and a request has to
    wake the revision.
    """
    revision = seen.revision
    name = service_name(revision.spec.name, revision.number)
    deployment = client.get(Ref(api_version="apps/v1", kind="Deployment", namespace=setting.namespace, name=name))
    if deployment is None:
        return 1  # KServe is about to make it, with its first replica
    now = int((deployment.get("spec") or {}).get("replicas", 1))
    wanted = min(count, revision.spec.autoscaling.max_replicas)
    if 0 < now < wanted:
        path = client.kinds.find("apps/v1", "Deployment").path(setting.namespace, name) + "/scale"
        what = f"scale Deployment {setting.namespace}/{name}"
        client.connection.ask("PATCH", path, what=what, body={"spec": {"replicas": wanted}}, content_type=_MERGE)
        return wanted
    return now
