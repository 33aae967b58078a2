"""What a cluster has of the stack, and what would change: by dry runs and Helm's own records. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ai_how.errors import AiHowError
from ai_how.kubernetes_api.apply import plan_objects
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.marks import COMPONENT, Mark
from ai_how.kubernetes_api.objects import Ref, labels_of
from ai_how.kubernetes_api.plans import ObjectChange, ObjectPlan, OnConflict, Verb
from ai_how.kubernetes_api.removal import Found, Marked, marked_objects
from ai_how.rollout.objects import published
from ai_how.rollout.releases import History, read_history, release_trouble
from ai_how.rollout.supply import Supply
from ai_how.rollout.wish import Wish, chart_digest
from ai_how.stack.objects import GeneratedSecret

# each of them looks at several objects at once
_AT_ONCE = 2
_MOST = 3


@dataclass(frozen=True, kw_only=True)
class PartLook:
    """What a part lacks, one line each; empty where it is as wanted. ``left``: fields that other hands keep."""

    changes: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """In one line."""
        more = len(self.changes) - _MOST
        return "; ".join([*self.changes[:_MOST], *([f"and {more} more"] if more > 0 else [])])


@dataclass(frozen=True, kw_only=True)
class StackLook:
    """A cluster as it was seen. ``there`` is what bears the site's mark; ``why_not``: why it could not be looked at."""

    parts: Mapping[str, PartLook] = field(default_factory=dict)
    there: Marked | None = None
    why_not: str = ""


def look_at_stack(
    client: Client, wishes: Sequence[Wish], supply: Supply, *, site: str, revisions: Mapping[str, Mapping[str, int]]
) -> StackLook:
    """Look at every part.

    Args:
        revisions: By part, those of its releases that we made last.

    Raises:
        AiHowError: the cluster cannot be asked.
    """
    history = read_history(client)
    # a part must not remove what another one has taken over
    there = marked_by(client, site, wishes)

    def looked(wish: Wish) -> PartLook:
        try:
            name = wish.part.name
            return _look(client, wish, supply, history=history, there=there, revisions=revisions.get(name, {}))
        except AiHowError as error:
            return PartLook(changes=(error.brief,))

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        parts = dict(zip([wish.part.name for wish in wishes], pool.map(looked, wishes), strict=True))
    return StackLook(parts=parts, there=there)


def marked_by(client: Client, site: str, wishes: Sequence[Wish]) -> Marked:
    """What bears the site's mark on a cluster, as far as parts may remove it."""
    return not_wanted_elsewhere(marked_objects(client, Mark(site=site)), wishes)


def not_wanted_elsewhere(there: Marked, wishes: Sequence[Wish]) -> Marked:
    """What bears the site's mark, but for what another part than the one it was made for wants now. Pure."""
    wanted: dict[tuple[str, str, str], str] = {}
    for wish in wishes:
        for thing in wish.part.component.objects:
            metadata = thing["metadata"]
            wanted[thing["kind"], metadata.get("namespace", ""), metadata["name"]] = wish.part.name

    def stays_its_own(one: Found) -> bool:
        part = labels_of(one.thing).get(COMPONENT, "")
        return wanted.get((one.ref.kind, one.ref.namespace, one.ref.name), part) == part

    return Marked(objects=tuple(filter(stays_its_own, there.objects)), unseen=there.unseen)


def _look(
    client: Client,
    wish: Wish,
    supply: Supply,
    *,
    history: History,
    there: Marked,
    revisions: Mapping[str, int],
) -> PartLook:
    component = wish.part.component
    missing = [f"Secret {ref.namespace}/{ref.name} is not there" for ref in _absent(client, component.secrets)]
    others, unfetched = published(wish.part, supply, fetch=False)
    plan = plan_objects(
        client,
        [*component.objects, *others],
        wish.mark,
        on_conflict=OnConflict.LEAVE,
        prune=not unfetched,
        there=there,
    )
    charts = []
    for chart in component.charts:
        releases = history.get((chart.namespace, chart.release), ())
        trouble = release_trouble(releases, digest=chart_digest(chart), revision=revisions.get(chart.release))
        if trouble:
            charts.append(f"chart {chart.release} {chart.version} {trouble}")
    kept = [
        f"{change.ref}: {entry.path} is left to {entry.manager}" for change in plan.changes for entry in change.left
    ]
    return PartLook(changes=(*missing, *lines_of(plan), *charts), left=tuple(kept))


def _absent(client: Client, secrets: Sequence[GeneratedSecret]) -> Iterator[Ref]:
    for secret in secrets:
        for namespace in (secret.namespace, *secret.also_in):
            ref = Ref(api_version="v1", kind="Secret", namespace=namespace, name=secret.name)
            if client.get(ref) is None:
                yield ref


def lines_of(plan: ObjectPlan) -> Iterator[str]:
    """What would be done to objects: changed fields in short, the rest counted. Pure."""
    for verb, words in ((Verb.REFUSE, ""), (Verb.CHANGE, ""), (Verb.REPLACE, "is made anew")):
        for change in plan.of(verb):
            yield f"{change.ref}: {_fields(change) if verb is Verb.CHANGE else change.reason or words}"
    for verb, words in ((Verb.CREATE, "to be made"), (Verb.DELETE, "to be removed")):
        named = [str(change.ref) for change in plan.of(verb)]
        if named:
            yield named[0] + (f" and {len(named) - 1} more" if len(named) > 1 else "") + f" {words}"


def _fields(change: ObjectChange) -> str:
    shown: list[Any] = [str(entry) for entry in change.fields[:_MOST]]
    more = len(change.fields) - _MOST
    return ", ".join([*shown, *([f"and {more} more"] if more > 0 else [])])
