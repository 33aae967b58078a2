"""Finds a Helm chart in its repository's index: the address of its archive, and the digest that the index states."""

from __future__ import annotations

import threading
from typing import Any
from urllib.parse import urljoin

from ai_how.bundles.wanted import Chart, Reference, is_digest, parse_reference
from ai_how.errors import NotFoundError, ProviderError, SpecError
from ai_how.run.outside import Patience, ask

CONTENT = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
"""The type of an OCI artifact's layer that is the chart's archive."""
_OCI = "oci://"
_MOST_BYTES = 64 << 20


def chart_reference(chart: Chart) -> Reference | None:
    """The reference of a chart that lies in a container registry; None for other repositories."""
    if not chart.repository.startswith(_OCI):
        return None
    # a tag cannot hold the plus of a version; Helm writes it so
    place = f"{chart.repository.removeprefix(_OCI).rstrip('/')}/{chart.name}"
    return parse_reference(f"{place}:{chart.version.replace('+', '_')}")


class Indexes:
    """Indexes of chart repositories, each read once."""

    def __init__(self, *, patience: Patience) -> None:
        self._patience = patience
        self._read: dict[str, dict[str, Any]] = {}
        self._guard = threading.Lock()

    def find(self, chart: Chart) -> tuple[str, str]:
        """The address of a chart's archive and its digest, empty where the index states none.

        Raises:
            NotFoundError: the repository does not have it.
            ProviderError: there is no index that can be read.
        """
        index = self._index(chart.repository)
        listed = index["entries"].get(chart.name) or ()
        for entry in listed:
            if str(entry.get("version", "")).removeprefix("v") == chart.version.removeprefix("v"):
                address = urljoin(f"{chart.repository.rstrip('/')}/", str(next(iter(entry.get("urls") or ()), "")))
                digest = f"sha256:{str(entry.get('digest') or '').removeprefix('sha256:')}"
                return address, digest if is_digest(digest) else ""
        have = ", ".join(str(entry.get("version")) for entry in listed[:5])
        raise NotFoundError(
            f"{chart.repository} has no chart {chart.name} {chart.version}",
            evidence=f"it has: {have}" if have else "it has no chart of that name",
            next_step="ai-how versions check says which versions fit",
        )

    def _index(self, repository: str) -> dict[str, Any]:
        with self._guard:
            if repository not in self._read:
                self._read[repository] = self._fetch(repository)
            return self._read[repository]

    def _fetch(self, repository: str) -> dict[str, Any]:
        if not repository.startswith(("https://", "http://")):
            raise SpecError(f"{repository!r} is no address of charts", next_step="write https://HOST/PATH or oci://")
        url = f"{repository.rstrip('/')}/index.yaml"
        with ask(url, patience=self._patience) as answer:
            status, body = answer.status, answer.read(_MOST_BYTES)
        data = _yaml(body) if status == 200 else None
        if not isinstance(data, dict) or not isinstance(data.get("entries"), dict):
            told = f"HTTP status {status}" if status != 200 else "it is no index of charts"
            raise ProviderError(f"{repository} is no repository of charts", evidence=f"{url}: {told}")
        return data


def _yaml(body: bytes) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe").load(body)
    except (YAMLError, UnicodeDecodeError):
        return None
