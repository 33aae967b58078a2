"""Where the objects of a kind live: from (apiVersion, kind) to a path, as the server itself says.

Owns the cache of what the server has told. Never guesses a plural.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ai_how.errors import AiHowError, NotFoundError
from ai_how.kubernetes_api.connection import Connection
from ai_how.kubernetes_api.refusals import NotThereError
from ai_how.kubernetes_api.side_by_side import side_by_side


class UnknownKindError(NotFoundError):
    """The server has no such kind (yet)."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind that the server has. ``api_version`` is ``v1`` or ``group/version``."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool
    verbs: frozenset[str]

    def path(self, namespace: str = "", name: str = "") -> str:
        """The path of the object, or of the whole list where no name is given."""
        root = "/apis/" if "/" in self.api_version else "/api/"
        inside = f"/namespaces/{quote(namespace, safe='')}" if self.namespaced and namespace else ""
        return f"{root}{self.api_version}{inside}/{self.plural}" + (f"/{quote(name, safe='')}" if name else "")


class Kinds:
    """The kinds of one server, looked up once. Safe to use from several threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[str, dict[str, Kind]] = {}
        self._lock = threading.Lock()

    def find(self, api_version: str, kind: str) -> Kind:
        """Where that kind lives.

        Raises:
            UnknownKindError: the server does not have it.
        """
        found = self._of(api_version).get(kind) or self._of(api_version, anew=True).get(kind)
        if found is None:
            raise UnknownKindError(
                f"the cluster knows no {kind} of {api_version}",
                evidence=self._connection.access.server,
                next_step="what brings this kind (a chart or its CustomResourceDefinition) is to be installed first",
            )
        return found

    def all(self) -> tuple[list[Kind], list[str]]:
        """Every kind in its group's preferred version, and a line for each group that could not be looked at."""
        groups = self._connection.ask("GET", "/apis", what="list the API's groups").get("groups") or []
        versions = ["v1", *(group["preferredVersion"]["groupVersion"] for group in groups)]
        answers = side_by_side(self._or_trouble, versions)
        kinds = [kind for answer in answers if not isinstance(answer, str) for kind in answer.values()]
        return kinds, [answer for answer in answers if isinstance(answer, str)]

    def _or_trouble(self, api_version: str) -> dict[str, Kind] | str:
        try:
            return self._of(api_version, anew=True)
        except AiHowError as error:
            return f"{api_version}: {error.brief}"

    def _of(self, api_version: str, *, anew: bool = False) -> dict[str, Kind]:
        with self._lock:
            known = self._known.get(api_version)
        if known is not None and not anew:
            return known
        root = "/apis/" if "/" in api_version else "/api/"
        try:
            document = self._connection.ask("GET", root + api_version, what=f"look up the kinds of {api_version}")
        except NotThereError:
            return {}
        kinds = _read_kinds(api_version, document.get("resources") or [])
        with self._lock:
            self._known[api_version] = kinds
        return kinds


def _read_kinds(api_version: str, resources: Iterable[Mapping[str, Any]]) -> dict[str, Kind]:
    kinds = {}
    for resource in resources:
        if "/" in resource["name"]:
            continue  # a subresource: deployments/scale
        kinds[resource["kind"]] = Kind(
            api_version=api_version,
            kind=resource["kind"],
            plural=resource["name"],
            namespaced=bool(resource.get("namespaced")),
            verbs=frozenset(resource.get("verbs") or ()),
        )
    return kinds
