"""A stand-in for Helm: behaves as it does for the calls that are made, with its records in Secrets as it keeps them.

A "chart" is a JSON list of objects. Files beside it order faults: CHART.fail is what Helm says, CHART.wait holds it up;
CHART.crds is its folder of definitions, which Helm itself never upgrades.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import time
from pathlib import Path
from typing import Any

from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.connection import APPLY_TYPE
from ai_how.kubernetes_api.objects import Ref, ref_of

VERSION = "v3.18.4"
HOOK = "helm.sh/hook"


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    for name, arguments in {
        "version": (),
        "upgrade": ("release", "chart"),
        "template": ("release", "chart"),
        "rollback": ("release", "revision"),
        "uninstall": ("release",),
        "get": ("what", "release"),
        "show": ("what", "chart"),
    }.items():
        one = commands.add_parser(name)
        for argument in arguments:
            one.add_argument(argument)
        for option in (
            "--namespace",
            "--values",
            "--history-max",
            "--labels",
            "--kubeconfig",
            "--timeout",
            "--kube-version",
        ):
            one.add_argument(option, default="")
        for flag in ("--install", "--reset-values", "--keep-history"):
            one.add_argument(flag, action="store_true")
        one.add_argument("--template", default="")
    asked = parser.parse_args(words)
    if asked.command == "version":
        print(VERSION)
        return 0
    if asked.command == "show":
        kinds = Path(f"{asked.chart}.crds")
        print(kinds.read_text() if kinds.exists() else "")
        return 0
    if asked.command == "template":
        return template(asked)
    file = Path(asked.kubeconfig)
    assert file.stat().st_mode & 0o077 == 0, "others can read the kubeconfig"
    helm = Helm(Client.from_kubeconfig(file), asked.namespace, asked.release)
    try:
        return int(getattr(helm, asked.command)(asked) or 0)
    finally:
        helm.client.close()


def template(asked: argparse.Namespace) -> int:
    """The objects as YAML documents, hooks and all; no cluster is asked."""
    failure = Path(f"{asked.chart}.fail")
    if failure.exists():
        return said(f"execution error at ({failure.read_text().strip()})")
    values = json.loads(Path(asked.values).read_text())
    for thing in json.loads(Path(asked.chart).read_text()):
        print(f"---\n# Source: {asked.release}/templates/one.yaml")
        print(json.dumps(_with(thing, values)))
    return 0


class Helm:
    """One release."""

    def __init__(self, client: Client, namespace: str, release: str) -> None:
        self.client, self.namespace, self.release = client, namespace, release

    def upgrade(self, asked: argparse.Namespace) -> int:
        history = self.history()
        if history and self.label(history[-1], "status").startswith("pending"):
            return said("UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress")
        values = json.loads(Path(asked.values).read_text())
        given = dict(part.split("=") for part in asked.labels.split(","))
        kept = {
            key: value for key, value in (history[-1]["metadata"]["labels"] if history else {}).items() if "/" in key
        }
        objects = [_with(thing, values) for thing in json.loads(Path(asked.chart).read_text())]
        status = "pending-upgrade" if history else "pending-install"
        revision = 1 + max((int(self.label(one, "version")) for one in history), default=0)
        self.record(revision, status, {**kept, **given}, objects)
        hold = Path(f"{asked.chart}.wait")
        if hold.exists() and not hold.read_text():
            # the first one alone is held up
            hold.write_text("held")
            while hold.exists():
                time.sleep(0.05)
        failure = Path(f"{asked.chart}.fail")
        if failure.exists():
            self.mark(revision, "failed")
            return said(failure.read_text())
        self.apply(objects)
        self.supersede(history)
        self.mark(revision, "deployed")
        return 0

    def rollback(self, asked: argparse.Namespace) -> int:
        history = self.history()
        old = next((one for one in history if self.label(one, "version") == asked.revision), None)
        if old is None:
            return said("release: not found")
        objects = json.loads(base64.b64decode(old["data"]["release"]))
        labels = {key: value for key, value in old["metadata"]["labels"].items() if "/" in key}
        revision = 1 + int(self.label(history[-1], "version"))
        self.record(revision, "pending-rollback", labels, objects)
        self.apply(objects)
        self.supersede(history)
        self.mark(revision, "deployed")
        return 0

    def uninstall(self, asked: argparse.Namespace) -> int:
        history = self.history()
        if not history:
            return said(f"uninstall: Release not loaded: {asked.release}: release: not found")
        if self.label(history[-1], "status") == "uninstalled":
            if asked.keep_history:
                return said(f'the release named "{self.release}" is already deleted')
        else:
            for thing in self.recorded(history):
                if not is_hook(thing):
                    self.client.delete(ref_of(thing))
        if asked.keep_history:
            self.mark(int(self.label(history[-1], "version")), "uninstalled")
            return 0
        for one in history:
            self.client.delete(ref_of(one))
        return 0

    def get(self, asked: argparse.Namespace) -> int:
        """What hooks made: Helm knows of it for as long as the release is there."""
        assert asked.what == "hooks", asked.what
        history = self.history()
        if not history:
            return said("release: not found")
        for thing in self.recorded(history):
            if is_hook(thing):
                print(f"---\n# Source: {self.release}/templates/one.yaml\n{json.dumps(thing)}")
        return 0

    @staticmethod
    def recorded(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(base64.b64decode(history[-1]["data"]["release"]))
        return found

    def history(self) -> list[dict[str, Any]]:
        labels = f"owner=helm,name={self.release}"
        found = self.client.list_objects("v1", "Secret", self.namespace, labels=labels).items
        return sorted(found, key=lambda one: int(self.label(one, "version")))

    def record(self, revision: int, status: str, labels: dict[str, str], objects: list[dict[str, Any]]) -> None:
        own = {"name": self.release, "owner": "helm", "status": status, "version": str(revision)}
        content = base64.b64encode(json.dumps(objects).encode()).decode()
        self.client.create(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {
                    "name": self.name(revision),
                    "namespace": self.namespace,
                    "labels": {**labels, **own, "createdAt": str(int(time.time()))},
                },
                "type": "helm.sh/release.v1",
                "data": {"release": content},
            }
        )

    def mark(self, revision: int, status: str) -> None:
        ref = Ref(api_version="v1", kind="Secret", namespace=self.namespace, name=self.name(revision))
        body = {"metadata": {"labels": {"status": status, "modifiedAt": str(int(time.time()))}}}
        self.send("PATCH", ref, body, "application/merge-patch+json")

    def supersede(self, history: list[dict[str, Any]]) -> None:
        for one in history:
            if self.label(one, "status") == "deployed":
                self.mark(int(self.label(one, "version")), "superseded")

    def apply(self, objects: list[dict[str, Any]]) -> None:
        for thing in objects:
            self.send("PATCH", ref_of(thing), thing, APPLY_TYPE)

    def send(self, method: str, ref: Ref, body: dict[str, Any], content_type: str) -> None:
        path = self.client.kinds.find(ref.api_version, ref.kind).path(ref.namespace, ref.name)
        query = {"fieldManager": "helm", "force": "true"}
        self.client.connection.ask(method, path, what="helm", query=query, body=body, content_type=content_type)

    def name(self, revision: int) -> str:
        return f"sh.helm.release.v1.{self.release}.v{revision}"

    @staticmethod
    def label(one: dict[str, Any], name: str) -> str:
        return str(one["metadata"]["labels"].get(name, ""))


def said(text: str) -> int:
    print(f"Error: {text}", file=sys.stderr)
    return 1


def _with(thing: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """The object as a chart with these values would make it: it shows them."""
    shown = {"values": json.dumps(values, sort_keys=True)}
    own = thing["metadata"].get("annotations", {})
    return {**thing, "metadata": {**thing["metadata"], "annotations": {**own, **shown}}}


def is_hook(thing: dict[str, Any]) -> bool:
    return HOOK in thing["metadata"].get("annotations", {})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
