"""What Helm itself has recorded of its releases, read from the labels of its Secrets; their content is never asked for.

Our own labels on them say which chart and values a release was made from, so that nothing of this has to be kept here.
Source of names and labels: Helm's storage driver, pkg/storage/driver/secrets.go.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.marks import COMPONENT, SITE
from ai_how.kubernetes_api.objects import Ref, labels_of, ref_of

DIGEST = "ai-how/digest"
_OWNER = "owner=helm"
_PENDING = "pending-"
UNINSTALLED = "uninstalled"
FOREIGN_HELM_S = 900
"""So long a release that another Helm works on is left to it: longer than we give ours."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """One revision of a release."""

    name: str
    namespace: str
    revision: int
    status: str
    labels: Mapping[str, str]
    changed_s: float
    ref: Ref
    uid: str

    @property
    def is_pending(self) -> bool:
        """Whether a Helm works on it, or was killed while it did."""
        return self.status.startswith(_PENDING) or self.status == "uninstalling"


Key = tuple[str, str]
"""Namespace and name."""
History = Mapping[Key, tuple[Release, ...]]
"""By release, its revisions, oldest first."""


def read_history(client: Client) -> dict[Key, tuple[Release, ...]]:
    """Every release of the cluster."""
    kind = client.kinds.find("v1", "Secret")
    return history_of(client.list_kind(kind, labels=_OWNER, metadata_only=True).items)


def history_of(secrets: Iterable[Mapping[str, Any]]) -> dict[Key, tuple[Release, ...]]:
    """As ``read_history``, from the Secrets' metadata. Pure."""
    found: dict[Key, list[Release]] = {}
    for thing in secrets:
        labels = labels_of(thing)
        revision = labels.get("version", "")
        if not labels.get("name") or not revision.isdecimal():
            continue
        ref = ref_of(thing)
        when = labels.get("modifiedAt") or labels.get("createdAt") or "0"
        release = Release(
            name=labels["name"],
            namespace=ref.namespace,
            revision=int(revision),
            status=labels.get("status", "unknown"),
            labels=labels,
            changed_s=float(when) if when.isdecimal() else 0.0,
            ref=ref,
            uid=str(thing["metadata"].get("uid", "")),
        )
        found.setdefault((ref.namespace, release.name), []).append(release)
    return {key: tuple(sorted(each, key=lambda one: one.revision)) for key, each in found.items()}


def release_trouble(releases: Sequence[Release], *, digest: str, revision: int | None) -> str:
    """Why a chart has to be installed or upgraded, in a few words; empty where it is as wanted. Pure.

    Args:
        releases: Its revisions.
        digest: Of what is wanted.
        revision: The one that we made last; None: not known.
    """
    if not releases:
        return "is not installed"
    last = releases[-1]
    if last.is_pending:
        return f"was broken off ({last.status})"
    if last.status != "deployed":
        return f"did not end well the last time ({last.status})"
    if last.labels.get(DIGEST) != digest:
        return "has other values or another version"
    if revision is not None and last.revision != revision:
        return f"was changed by other hands (revision {last.revision}, ours was {revision})"
    return ""


def ours(history: History, *, site: str, component: str) -> list[Release]:
    """The newest revision of each release that a part of the site has. Pure."""
    newest = [releases[-1] for releases in history.values()]
    return [one for one in newest if one.labels.get(SITE) == site and one.labels.get(COMPONENT) == component]


def is_anothers(release: Release, *, now_s: float | None = None) -> bool:
    """Whether a pending release may still be worked on by a Helm that is not ours."""
    return (time.time() if now_s is None else now_s) - release.changed_s < FOREIGN_HELM_S
