"""CustomResourceDefinitions made from the extracts of schemas, so that a server serves the kinds of the charts."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from ai_how.stack.checks.schemas import Schema, load_extracts


def definitions() -> list[dict[str, Any]]:
    """One for each custom kind that is known, with every version."""
    found: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
    scopes = {}
    for extract in load_extracts():
        if extract.project == "kubernetes":
            continue
        for (api_version, kind), schema in extract.kinds.items():
            group, _, version = api_version.rpartition("/")
            found[group, kind][version] = _whole(schema)
            scopes[group, kind] = "Namespaced" if extract.namespaced[api_version, kind] else "Cluster"
    return [_definition(group, kind, scopes[group, kind], versions) for (group, kind), versions in found.items()]


def _definition(group: str, kind: str, scope: str, versions: dict[str, Any]) -> dict[str, Any]:
    low = kind.lower()
    plural = f"{low}es" if low.endswith("s") else f"{low}s"
    if low.endswith("y") and low[-2] not in "aeiou":
        plural = f"{low[:-1]}ies"
    names = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": low}
    entries = [
        {
            "name": version,
            "served": True,
            "storage": index == 0,
            "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}},
        }
        for index, (version, schema) in enumerate(sorted(versions.items(), reverse=True))
    ]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        # what is of Kubernetes' own community needs an approval, which a test's definition has not
        "metadata": {
            "name": f"{plural}.{group}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
        },
        "spec": {"group": group, "scope": scope, "names": names, "versions": entries},
    }


def _whole(schema: Schema) -> dict[str, Any]:
    whole = {key: value for key, value in schema.facts.items() if key not in ("properties", "items")}
    names = list(schema.field_names)
    if names:
        whole["properties"] = {name: _whole(part) for name in names if (part := schema.field(name)) is not None}
    if schema.items is not None:
        whole["items"] = _whole(schema.items)
    if schema.values is not None:
        whole["additionalProperties"] = _whole(schema.values)
    keys = whole.get("x-kubernetes-list-map-keys")
    if keys and not set(keys) <= set(whole["items"].get("required", ())):
        # such a key needs a default, which an extract does not have
        del whole["x-kubernetes-list-map-keys"]
        whole["x-kubernetes-list-type"] = "atomic"
    return whole
