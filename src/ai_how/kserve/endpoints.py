"""Endpoints on a cluster: implements ``endpoints.rollout.journal.RollingEndpoints`` over the cluster's API.

Everything is kept in the cluster itself. A changed spec changes the revision in place: Kubernetes starts new pods and
ends the old ones when they are ready, whether or not somebody looks on. A revision beside it is made by a rollout only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ai_how.endpoints.cold_start.waterfall import Waterfall
from ai_how.endpoints.digest import process_digest
from ai_how.endpoints.interface import Revision
from ai_how.endpoints.rollout.journal import Journal, Outcome, after_removal, after_shares, begun, explained
from ai_how.endpoints.types import EndpointSpec, EndpointState, EndpointStatus
from ai_how.errors import ConflictError, NotFoundError
from ai_how.kserve.changes import (
    apply_endpoint,
    check_shares,
    last_number,
    remove_endpoint,
    remove_revision,
)
from ai_how.kserve.journal import forget, read_journal, write_journal
from ai_how.kserve.look import Looked, Seen, SeenEndpoint, look
from ai_how.kserve.nodes import Placement
from ai_how.kserve.pods import backs_off, container_to_read, newest
from ai_how.kserve.replicas import wants_replicas
from ai_how.kserve.revision import KServeRevision
from ai_how.kserve.setting import ServingSetting
from ai_how.kserve.start import last_start
from ai_how.kserve.states import Judgement, judge
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.objects import ref_of
from ai_how.models.types import ModelInfo


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a revision needs beside its spec: what the model is, and where it is put."""

    info: ModelInfo
    base: ModelInfo | None = None
    adapter_rank: int = 0
    placement: Placement | None = None


Prepare = Callable[[EndpointSpec], Prepared]
Wake = Callable[[str], None]


class KServeEndpoints:
    """The endpoints of one cluster.

    Args:
        prepare: Looks a spec's model up and finds a place for it; may refuse with a SpecError.
        wake: Sends a request to an endpoint that sleeps, and does not wait for its answer.
    """

    def __init__(self, client: Client, setting: ServingSetting, *, prepare: Prepare, wake: Wake) -> None:
        self._client = client
        self._setting = setting
        self._prepare = prepare
        self._wake = wake

    def list_endpoints(self) -> list[EndpointStatus]:
        """All endpoints, ordered by name; one whose record is damaged is left out, and ``get`` says why."""
        return [self._status(seen) for seen in look(self._client, self._setting).endpoints.values()]

    def get(self, name: str) -> EndpointStatus:
        """One endpoint.

        Raises:
            NotFoundError: there is none of that name; the evidence names those that exist.
            SpecError: what is kept of it in the cluster is damaged.
        """
        return self._status(self._seen(name))

    def put(self, spec: EndpointSpec) -> EndpointStatus:
        """Create the endpoint or change it; returns at once. The same spec changes nothing; what failed is tried again.

        Raises:
            ConflictError: another revision stands beside it, and this would change what it serves.
            SpecError, ProviderError: the cluster cannot serve it, or refuses its objects.
        """
        there = look(self._client, self._setting, spec.name).endpoints.get(spec.name)
        if there is None:
            first = self._revision(spec, number=1, share_percent=100)
            self._apply((first,), last=1)
            self.keep_journal(spec.name, begun(Journal(), 1, spec, at=_now(), outcome=Outcome.SERVING))
            return self._status(self._seen(spec.name))
        self._apply(self._changed(there, spec), last=last_number(there))
        self._try_again(there.main)
        if process_digest(spec) != process_digest(there.main.revision.spec):
            self.keep_journal(spec.name, _replaced(self.journal(spec.name), there.main.revision.number, spec))
        return self._status(self._seen(spec.name))

    def _try_again(self, seen: Seen) -> None:
        """Who deploys once more has mended something: what waits after a failure, minutes in the end, is tried now."""
        for pod in seen.sight.pods:
            if backs_off(pod):
                self._client.delete(ref_of(pod), uid=str(pod["metadata"]["uid"]))

    def delete(self, name: str) -> None:
        """Take the endpoint's route away, let its pods finish their requests, and remove it.

        Raises:
            NotFoundError: there is none of that name.
        """
        looked = look(self._client, self._setting, name)
        if name not in looked.endpoints and name not in looked.damaged:
            raise self._none_called(name)
        remove_endpoint(self._client, self._setting, name)
        forget(self._client, self._setting, name)

    def want_replicas(self, name: str, count: int) -> EndpointStatus:
        """Want at least ``count`` replicas now, within the endpoint's bounds, until they are idle."""
        seen = self._seen(name)
        spec = seen.main.revision.spec
        if not spec.stopped and wants_replicas(self._client, self._setting, seen.main, count) == 0:
            self._wake(name)
        return self._status(seen)

    def log(self, name: str, lines: int = 50) -> str:
        """The end of the newest replica's log; of what fetches its files, as long as its engine has not begun."""
        pod = newest(self._seen(name).main.sight.pods)
        what = container_to_read(pod) if pod is not None else None
        if pod is None or what is None:
            return ""
        container, previous = what
        pod_name = str(pod["metadata"]["name"])
        return self._client.log(self._setting.namespace, pod_name, container=container, lines=lines, previous=previous)

    def last_start(self, name: str) -> Waterfall | None:
        """Where the time of the newest replica's start went; None where none answers.

        Raises:
            NotFoundError: there is none of that name.
        """
        self._seen(name)
        return last_start(self._client, name, namespace=self._setting.namespace)

    def info(self, name: str) -> ModelInfo:
        """What the checkpoint of an endpoint's main revision says of itself."""
        return self._seen(name).main.revision.info

    def revisions(self, name: str) -> tuple[Revision, ...]:
        """What runs for an endpoint, by number.

        Raises:
            NotFoundError: there is none of that name.
        """
        return tuple(_shown(self._seen(name)))

    def add_revision(self, spec: EndpointSpec) -> Revision:
        """Start another revision of an endpoint that exists, with a share of 0; returns at once.

        Raises:
            NotFoundError: there is no such endpoint.
            ConflictError: it is stopped.
        """
        there = self._seen(spec.name)
        if there.main.revision.spec.stopped:
            raise ConflictError(
                f"endpoint {spec.name} is stopped", next_step=f"ai-how deploy start {spec.name}, then do this again"
            )
        number = last_number(there) + 1
        added = self._revision(replace(spec, stopped=False), number=number, share_percent=0)
        self._apply((*(one.revision for one in there.revisions), added), last=number)
        journal = begun(self.journal(spec.name), number, added.spec, at=_now(), outcome=Outcome.UNDER_WAY)
        self.keep_journal(spec.name, journal)
        return next(one for one in _shown(self._seen(spec.name)) if one.number == number)

    def set_shares(self, name: str, shares: Mapping[int, int]) -> None:
        """Give each revision its part of the requests, in percent by number.

        Raises:
            SpecError: they do not add up to 100, or name a revision that is not there.
        """
        there = self._seen(name)
        revisions = [one.revision for one in there.revisions]
        check_shares(name, shares, numbers=[revision.number for revision in revisions])
        shared = [replace(revision, share_percent=shares.get(revision.number, 0)) for revision in revisions]
        self._apply(shared, last=last_number(there))
        self.keep_journal(name, after_shares(self.journal(name), shares))

    def remove_revision(self, name: str, number: int) -> None:
        """Take a revision out of the route, let its pods finish their requests, and remove it.

        Raises:
            NotFoundError: there is no such revision.
            ConflictError: it still has a share, or it is the only one.
        """
        there = self._seen(name)
        gone = next((one.revision for one in there.revisions if one.revision.number == number), None)
        if gone is None:
            numbers = ", ".join(str(one.revision.number) for one in there.revisions)
            raise NotFoundError(f"endpoint {name} has no revision {number}", evidence=f"it has: {numbers}")
        if len(there.revisions) == 1:
            raise ConflictError(
                f"revision {number} is the only one of endpoint {name}", next_step=f"ai-how deploy delete {name}"
            )
        if gone.share_percent:
            raise ConflictError(
                f"revision {number} of endpoint {name} still gets {gone.share_percent} % of the requests"
            )
        kept = [one.revision for one in there.revisions if one.revision.number != number]
        self._apply(kept, last=last_number(there))
        remove_revision(self._client, self._setting, name, number)
        self.keep_journal(name, after_removal(self.journal(name), number, at=_now()))

    def journal(self, name: str) -> Journal:
        """What is remembered of an endpoint's revisions."""
        return read_journal(self._client, self._setting, name)

    def keep_journal(self, name: str, journal: Journal) -> None:
        """Remember this instead of what was remembered."""
        write_journal(self._client, self._setting, name, journal)

    def _apply(self, revisions: Sequence[KServeRevision], *, last: int) -> None:
        apply_endpoint(self._client, self._setting, revisions, last=last)

    def _changed(self, there: SeenEndpoint, spec: EndpointSpec) -> tuple[KServeRevision, ...]:
        """The revisions that an endpoint has after a change of its spec."""
        main = there.main.revision
        if process_digest(spec) != process_digest(main.spec):
            if len(there.revisions) > 1:
                raise _rollout_under_way(spec.name, there)
            share = main.share_percent or 100
            return (self._revision(spec, number=main.number, share_percent=share),)

        def followed(revision: KServeRevision) -> KServeRevision:
            kept = replace(revision.spec, autoscaling=spec.autoscaling, stopped=spec.stopped)
            return replace(revision, spec=spec if revision is main else kept)

        alone = len(there.revisions) == 1
        revisions = tuple(followed(one.revision) for one in there.revisions)
        return (replace(revisions[0], share_percent=100),) if alone else revisions

    def _revision(self, spec: EndpointSpec, *, number: int, share_percent: int) -> KServeRevision:
        found = self._prepare(spec)
        return KServeRevision(
            number=number,
            spec=spec,
            info=found.info,
            base=found.base,
            adapter_rank=found.adapter_rank,
            share_percent=share_percent,
            placement=found.placement,
        )

    def _seen(self, name: str) -> SeenEndpoint:
        looked = look(self._client, self._setting, name)
        if name in looked.damaged:
            raise looked.damaged[name]
        if name not in looked.endpoints:
            raise self._none_called(name)
        return looked.endpoints[name]

    def _none_called(self, name: str) -> NotFoundError:
        looked: Looked = look(self._client, self._setting)
        names = sorted({*looked.endpoints, *looked.damaged})
        return NotFoundError(
            f"there is no endpoint {name!r}",
            evidence=f"there are: {', '.join(names)}" if names else "there are none",
            next_step="ai-how deploy list",
        )

    def _status(self, seen: SeenEndpoint) -> EndpointStatus:
        judged = _judged(seen)
        main = seen.main.revision
        message = judged[main.number].message
        if seen.route is None and judged[main.number].state is EndpointState.RUNNING:
            message = "it has no route: nobody can call it\nwhat to do: ai-how deploy up writes it anew"
        return EndpointStatus(
            spec=main.spec,
            state=judged[main.number].state,
            url=self._setting.url(seen.name),
            replicas=tuple(
                replace(replica, revision=number) for number, found in judged.items() for replica in found.replicas
            ),
            held_requests=None,
            message=message,
        )


def _judged(seen: SeenEndpoint) -> dict[int, Judgement]:
    """How each revision is, by number."""
    alone, now = len(seen.revisions) == 1, datetime.now(UTC)
    return {one.revision.number: judge(one.revision.spec, one.sight, now=now, alone=alone) for one in seen.revisions}


def _shown(seen: SeenEndpoint) -> Iterator[Revision]:
    judged = _judged(seen)
    for revision in (one.revision for one in seen.revisions):
        found = judged[revision.number]
        yield Revision(
            number=revision.number,
            spec=revision.spec,
            share_percent=revision.share_percent,
            state=found.state,
            message=found.message,
        )


def _replaced(journal: Journal, number: int, spec: EndpointSpec) -> Journal:
    """A revision follows another spec in place: its number stays, and what it was is forgotten."""
    others = tuple(entry for entry in journal.history if entry.number != number)
    changed = begun(replace(journal, history=others), number, spec, at=_now(), outcome=Outcome.SERVING)
    return explained(changed, number, "changed in place")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _rollout_under_way(name: str, there: SeenEndpoint) -> ConflictError:
    shares = ", ".join(f"revision {r.revision.number}: {r.revision.share_percent} %" for r in there.revisions)
    return ConflictError(
        f"endpoint {name} has {len(there.revisions)} revisions: a rollout is under way",
        evidence=shares,
        next_step=f"wait for its end, or go back: ai-how deploy rollback {name}",
    )
