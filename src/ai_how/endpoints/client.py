"""The gateway's admin API, as its callers see it: endpoints in, statuses out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ai_how.endpoints.cold_start.waterfall import Waterfall
from ai_how.endpoints.interface import Revision
from ai_how.endpoints.rollout.journal import Journal
from ai_how.endpoints.types import EndpointSpec, EndpointStatus
from ai_how.endpoints.wire import journal_from_json, revision_from_json, status_from_json
from ai_how.errors import AiHowError, ConflictError, NotFoundError, ProviderError, SpecError, TryAgainError
from ai_how.models.types import SecretText
from ai_how.run.http import request


@dataclass(frozen=True, kw_only=True)
class EndpointClient:
    """Creates, changes, shows and removes endpoints. ``admin_url`` has no slash at the end."""

    admin_url: str
    admin_key: SecretText

    def list_endpoints(self) -> list[EndpointStatus]:
        """All endpoints, ordered by name."""
        return [status_from_json(item) for item in self._send("GET", "")]

    def get(self, name: str) -> EndpointStatus:
        """One endpoint.

        Raises:
            NotFoundError: there is none of that name; the evidence names those that exist.
        """
        try:
            return status_from_json(self._send("GET", f"/{name}"))
        except NotFoundError as error:
            names = [status.spec.name for status in self.list_endpoints()]
            raise NotFoundError(
                f"there is no endpoint {name!r}",
                evidence=f"there are: {', '.join(names)}" if names else "there are none",
                next_step="ai-how deploy list",
            ) from error

    def put(self, spec: EndpointSpec) -> EndpointStatus:
        """Create the endpoint or change it; returns at once."""
        return status_from_json(self._send("PUT", f"/{spec.name}", asdict(spec)))

    def delete(self, name: str) -> None:
        """Drain the endpoint, stop its replicas and forget it."""
        self.get(name)
        self._send("DELETE", f"/{name}", timeout_s=300)

    def want_replicas(self, name: str, count: int) -> EndpointStatus:
        """Want at least ``count`` replicas now, within the endpoint's bounds, until they are idle."""
        return status_from_json(self._send("PUT", f"/{name}/replicas", {"replicas": count}))

    def log(self, name: str, lines: int = 50) -> str:
        """The end of the newest replica's log."""
        data = self._send("GET", f"/{name}/log?lines={lines}")
        return str(data.get("log", "")) if isinstance(data, dict) else str(data)

    def last_start(self, name: str) -> Waterfall | None:
        """Where the time of the last start from nothing went; None where the gateway saw none since it began."""
        return self.get(name).last_start

    def revisions(self, name: str) -> tuple[Revision, ...]:
        """What runs for an endpoint, by number; one where no rollout is under way."""
        return tuple(revision_from_json(item) for item in self._send("GET", f"/{name}/revisions"))

    def add_revision(self, spec: EndpointSpec) -> Revision:
        """Start another revision of an endpoint that exists, with a share of 0; returns at once.

        Raises:
            ConflictError: a rollout is under way already.
        """
        return revision_from_json(self._send("POST", f"/{spec.name}/revisions", asdict(spec)))

    def set_shares(self, name: str, shares: Mapping[int, int]) -> None:
        """Give each revision its part of the requests, in percent by number."""
        self._send("PUT", f"/{name}/shares", {str(number): share for number, share in shares.items()})

    def remove_revision(self, name: str, number: int) -> None:
        """Drain a revision and stop its replicas; returns once they have gone."""
        self._send("DELETE", f"/{name}/revisions/{number}", timeout_s=300)

    def journal(self, name: str) -> Journal:
        """What is remembered of an endpoint's revisions."""
        return journal_from_json(self._send("GET", f"/{name}/journal"))

    def keep_journal(self, name: str, journal: Journal) -> None:
        """Remember this instead of what was remembered."""
        self._send("PUT", f"/{name}/journal", asdict(journal))

    def _send(self, method: str, path: str, body: Any = None, *, timeout_s: float = 30) -> Any:
        try:
            answer = request(
                method,
                f"{self.admin_url}/admin/v1/endpoints{path}",
                json_body=body,
                headers={"authorization": f"Bearer {self.admin_key}"},
                timeout_s=timeout_s,
            )
        except TryAgainError as error:
            raise TryAgainError(
                "the gateway does not answer", evidence=error.evidence, next_step="ai-how status, then: ai-how up"
            ) from error
        if answer.status < 300:
            return answer.json()
        data = answer.json()
        refusal = data.get("error", {}) if isinstance(data, dict) else {"message": answer.text[:200]}
        kinds: Mapping[int, type[AiHowError]] = {400: SpecError, 404: NotFoundError, 409: ConflictError}
        said = refusal.get("message") or f"the gateway answered {answer.status}"
        raise kinds.get(answer.status, ProviderError)(said, next_step=refusal.get("next_step", ""))
