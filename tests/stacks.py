"""Stacks for tests: settings from site files, and what is true of a pod that may do little."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ai_how.releases import load_set
from ai_how.site.load import check_site_text
from ai_how.stack.part import Part
from ai_how.stack.setting import Setting, setting_of

HEAD = "name: lab\nprovider: libvirt\n"
VARIANTS = {
    "document": "",
    "other-ways": """\
serving: {node_cache_gib: 60, keep_image: true}
clusters:
  cloud:
    stack:
      domain: ai.example.org
      storage_class: fast
      access: {type: load-balancer, issuer: acme, acme_email: admin@example.org}
      object_store: {type: minio, size_gib: 200, bucket: weights}
      database: {instances: 2}
      monitoring: {webhook_url_secret: alerts}
      gpus: {time_slices: 4}
""",
    "external": """\
clusters:
  cloud:
    stack:
      access: {issuer: existing, cluster_issuer: company}
      object_store: {type: external, endpoint_url: "https://s3.example.org", credentials_secret: s3}
      database: {type: external, url: "postgresql://mlflow@db.example.org/registry", password_secret: db}
      gpus: {driver: operator, mig: all-1g.10gb}
""",
    "without-gpus": """\
clusters:
  cloud:
    nodes:
      - role: control-plane
      - role: cpu-worker
""",
}


def setting(variant: str = "document", *, release: str = "current", **versions: str) -> Setting:
    """The stack's setting of a variant's cloud cluster."""
    site, mistakes = check_site_text(HEAD + VARIANTS[variant], Path("ai-how.yaml"))
    assert site is not None, mistakes
    return setting_of(site, "cloud", {**load_set(release).versions, **versions})


def part_of(parts: tuple[Part, ...], name: str) -> Part:
    return next(part for part in parts if part.name == name)


def objects_of(parts: tuple[Part, ...], kind: str) -> list[Mapping[str, Any]]:
    return [thing for part in parts for thing in part.component.objects if thing["kind"] == kind]


def pods_of(things: list[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Each object that makes pods, with its pods' template."""
    for thing in things:
        if thing["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            yield thing, thing["spec"]["template"]


def what_restricted_refuses(pod: Mapping[str, Any]) -> list[str]:
    """Why the restricted Pod Security level would refuse a pod; the fields that our charts and objects use.

    Source: Kubernetes' documentation, "Pod Security Standards".
    """
    found = []
    own = pod.get("securityContext") or {}
    for container in (*pod.get("containers", ()), *(pod.get("initContainers") or ())):
        its, name = container.get("securityContext") or {}, container["name"]
        if not its.get("runAsNonRoot", own.get("runAsNonRoot")):
            found.append(f"{name} may run as root")
        if its.get("allowPrivilegeEscalation") is not False:
            found.append(f"{name} may gain privileges")
        if "ALL" not in [each.upper() for each in (its.get("capabilities") or {}).get("drop", ())]:
            found.append(f"{name} keeps capabilities")
        if (its.get("seccompProfile") or own.get("seccompProfile") or {}).get("type") != "RuntimeDefault":
            found.append(f"{name} names no seccomp profile")
    found += [f"uses {key}" for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key)]
    found += [f"mounts {volume['name']} from the host" for volume in pod.get("volumes") or () if "hostPath" in volume]
    return found
