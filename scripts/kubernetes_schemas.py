#!/usr/bin/env python3
"""Writes the extracts of schemas that rendered objects are checked against.

    .venv/bin/python scripts/kubernetes_schemas.py --crds FOLDER --core DEFINITIONS --kubernetes 1.35.0

FOLDER holds a folder ``project-version`` for each project, with its CustomResourceDefinitions as YAML. DEFINITIONS is
the ``_definitions.json`` of a Kubernetes release, as the Python package kubernetes-validate carries it. It needs no
network.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from ai_how.stack.checks.schemas import write_extract

OUT = Path(__file__).parent.parent / "src" / "ai_how" / "stack" / "data" / "schemas"
PREFIX = "io.k8s."
# kinds that a stack may have, by their definition; * marks what lies in no namespace
CORE = {
    "api.core.v1": "ConfigMap Endpoints Event LimitRange Namespace* Node* PersistentVolume* PersistentVolumeClaim Pod "
    "ResourceQuota Secret Service ServiceAccount",
    "api.apps.v1": "DaemonSet Deployment ReplicaSet StatefulSet",
    "api.batch.v1": "CronJob Job",
    "api.autoscaling.v2": "HorizontalPodAutoscaler",
    "api.networking.v1": "Ingress IngressClass* NetworkPolicy",
    "api.policy.v1": "PodDisruptionBudget",
    "api.rbac.v1": "ClusterRole* ClusterRoleBinding* Role RoleBinding",
    "api.scheduling.v1": "PriorityClass*",
    "api.storage.v1": "StorageClass*",
    "api.admissionregistration.v1": "MutatingWebhookConfiguration* ValidatingWebhookConfiguration*",
    "apiextensions-apiserver.pkg.apis.apiextensions.v1": "CustomResourceDefinition*",
    "kube-aggregator.pkg.apis.apiregistration.v1": "APIService*",
}
NUMBER_OR_TEXT = {"x-kubernetes-int-or-string": True}
# a quantity may be written as a number; its form: Kubernetes' resource.Quantity
DECIMAL = r"(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))"
QUANTITY = {
    **NUMBER_OR_TEXT,
    "pattern": rf"^(\+|-)?{DECIMAL}(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?{DECIMAL}))?$",
}
ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
SPECIAL: Mapping[str, Mapping[str, Any]] = {
    "apimachinery.pkg.util.intstr.IntOrString": NUMBER_OR_TEXT,
    "apimachinery.pkg.api.resource.Quantity": QUANTITY,
    "apimachinery.pkg.apis.meta.v1.FieldsV1": ANYTHING,
    "apimachinery.pkg.runtime.RawExtension": ANYTHING,
}


def custom_extract(folder: Path) -> str:
    """The extract of one project's CustomResourceDefinitions: every served version."""
    project, _, version = folder.name.rpartition("-")
    kinds = []
    for path in sorted(folder.glob("*.yaml")):
        for crd in YAML(typ="safe").load_all(path.read_text(encoding="utf-8")):
            spec = crd["spec"]
            kinds += [
                (
                    f"{spec['group']}/{entry['name']}",
                    spec["names"]["kind"],
                    spec["scope"] == "Namespaced",
                    entry["schema"]["openAPIV3Schema"],
                )
                for entry in spec["versions"]
                if entry.get("served")
            ]
    return write_extract(project, version, f"{project} {version}, its CustomResourceDefinitions", kinds)


def core_extract(definitions: Mapping[str, Any], version: str) -> str:
    """The extract of Kubernetes' own kinds."""
    known = {name: _cleaned(schema) for name, schema in definitions.items()}
    known.update({PREFIX + name: schema for name, schema in SPECIAL.items()})
    kinds = [
        (api_version, kind, namespaced, known[definition]) for definition, api_version, kind, namespaced in _core(known)
    ]
    return write_extract("kubernetes", version, f"Kubernetes {version}, its OpenAPI definitions", kinds, known)


def _core(known: Mapping[str, Any]) -> Iterator[tuple[str, str, str, bool]]:
    for package, names in CORE.items():
        for word in names.split():
            kind = word.removesuffix("*")
            definition = f"{PREFIX}{package}.{kind}"
            entry = next(e for e in known[definition]["x-kubernetes-group-version-kind"] if e["kind"] == kind)
            api_version = "/".join(part for part in (entry["group"], entry["version"]) if part)
            yield definition, api_version, kind, not word.endswith("*")


def _cleaned(node: Any) -> Any:
    """kubernetes-validate lets null stand anywhere: nothing that we render needs that."""
    if isinstance(node, list):
        return [_cleaned(part) for part in node]
    if not isinstance(node, dict):
        return node
    cleaned = {key: _cleaned(value) for key, value in node.items() if key not in ("description", "default")}
    if isinstance(cleaned.get("type"), list):
        kinds = [kind for kind in cleaned["type"] if kind != "null"]
        cleaned["type"] = kinds[0] if len(kinds) == 1 else kinds
    return cleaned


def main() -> None:
    """Write the extracts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crds", type=Path, help="folder with a folder project-version for each project")
    parser.add_argument("--core", type=Path, help="_definitions.json of a Kubernetes release")
    parser.add_argument("--kubernetes", default="", help="the release that --core is of")
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    if arguments.crds:
        for folder in sorted(path for path in arguments.crds.iterdir() if re.search(r"-\d", path.name)):
            (OUT / f"{folder.name.rpartition('-')[0]}.json").write_text(custom_extract(folder), encoding="utf-8")
    if arguments.core:
        definitions = json.loads(arguments.core.read_text(encoding="utf-8"))["$defs"]
        (OUT / "kubernetes.json").write_text(core_extract(definitions, arguments.kubernetes), encoding="utf-8")


if __name__ == "__main__":
    main()
