"""Brings one part of the stack onto a cluster: secrets, objects, charts; then waits until it is well.

Does only what is not as wanted, so that a run that was broken off anywhere is taken further by the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ai_how.errors import AiHowError, InterruptionError, ProviderError, TryAgainError
from ai_how.kubernetes_api.apply import apply_plan, plan_objects
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.diagnosis import diagnose_namespace
from ai_how.kubernetes_api.generated import make_secret
from ai_how.kubernetes_api.marks import COMPONENT, SITE, Mark
from ai_how.kubernetes_api.objects import ApiObject, Ref, ref_of
from ai_how.kubernetes_api.order import is_custom
from ai_how.kubernetes_api.plans import ObjectPlan, OnConflict, Verb
from ai_how.kubernetes_api.removal import Marked, remove_marked
from ai_how.kubernetes_api.states import Health
from ai_how.kubernetes_api.waiting import NotWellError, wait_until_well
from ai_how.rollout.definitions import bring_definitions
from ai_how.rollout.documents import objects_in
from ai_how.rollout.helm import Helm
from ai_how.rollout.hooks import remove_hooks
from ai_how.rollout.objects import published
from ai_how.rollout.releases import DIGEST, UNINSTALLED, Release, is_anothers, ours, read_history, release_trouble
from ai_how.rollout.supply import Supply
from ai_how.rollout.wish import Wish, chart_digest, charts_in_order
from ai_how.stack.objects import Awaited, Chart

_ROUND_S = 5.0
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What applying a part needs. ``helm`` is asked for when the first chart needs it.

    ``there`` is what bore the site's mark when the run began: what of it is no longer wanted is removed.
    """

    client: Client
    supply: Supply
    helm: Callable[[], Helm]
    there: Callable[[], Marked]
    say: Say
    cancelled: Callable[[], bool]
    timeout_s: float


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What was done, in a few words each, and the revisions that the part's releases have now."""

    done: tuple[str, ...]
    revisions: Mapping[str, int]

    @property
    def summary(self) -> str:
        return ", ".join(self.done) or "is as wanted"


def apply_part(tools: Tools, wish: Wish, *, revisions: Mapping[str, int]) -> Applied:
    """Apply a part and wait until it is well.

    Args:
        revisions: Those of its releases that we made last.

    Raises:
        AiHowError: something could not be applied, or did not become well in its time; the evidence says why.
        InterruptionError: the user wants out.
    """
    component, client = wish.part.component, tools.client
    done = [f"Secret {name} made" for name in _make_secrets(client, wish)]
    files, _ = published(wish.part, tools.supply, fetch=True)
    things: list[ApiObject] = [*component.objects, *files]
    if component.charts:
        # the kinds of the others may come with the charts
        done += _apply(tools, [thing for thing in things if not is_custom(ref_of(thing))], wish, None)
    made, upgraded = dict[str, int](), list[tuple[Chart, Release | None]]()
    for chart in charts_in_order(component.charts):
        said, before = _install(tools, wish, chart, revisions.get(chart.release))
        if said:
            done.append(said)
            upgraded.append((chart, before))
    done += _apply(tools, things, wish, tools.there())
    _uninstall_others(tools, wish)
    try:
        _wait(tools, component.awaited)
    except NotWellError as error:
        _take_back(tools, upgraded, error)
        raise
    history = read_history(client)
    for chart in component.charts:
        releases = history.get((chart.namespace, chart.release), ())
        if releases:
            made[chart.release] = releases[-1].revision
    return Applied(done=tuple(done), revisions=made)


def _make_secrets(client: Client, wish: Wish) -> list[str]:
    made = []
    for secret in wish.part.component.secrets:
        if make_secret(
            client,
            secret.name,
            namespaces=[secret.namespace, *secret.also_in],
            random=secret.random,
            texts=secret.texts,
            mark=wish.mark,
            labels=secret.labels,
            type_name=secret.type,
        ):
            made.append(f"{secret.namespace}/{secret.name}")
    return made


def _apply(tools: Tools, things: Sequence[ApiObject], wish: Wish, there: Marked | None) -> list[str]:
    """Apply objects; with ``there``, remove those of it that are no longer wanted."""
    _stop_if(tools.cancelled)
    plan = plan_objects(
        tools.client, things, wish.mark, on_conflict=OnConflict.LEAVE, prune=there is not None, there=there
    )
    apply_plan(tools.client, plan, report=lambda change: tools.say(f"{change.verb} {change.ref}"))
    return list(_counted(plan))


def _counted(plan: ObjectPlan) -> list[str]:
    words = ((Verb.CREATE, "made"), (Verb.CHANGE, "changed"), (Verb.REPLACE, "made anew"), (Verb.DELETE, "removed"))
    found = []
    for verb, said in words:
        some = plan.of(verb)
        if len(some) == 1:
            found.append(f"{some[0].ref} {said}")
        elif some:
            found.append(f"{len(some)} objects {said}")
    return found


def _install(tools: Tools, wish: Wish, chart: Chart, revision: int | None) -> tuple[str, Release | None]:
    """Bring a release to what is wanted; says what was done, and the revision that worked before."""
    releases = read_history(tools.client).get((chart.namespace, chart.release), ())
    digest = chart_digest(chart)
    if not release_trouble(releases, digest=digest, revision=revision):
        return "", None
    _stop_if(tools.cancelled)
    helm = tools.helm()
    broken_off = helm.end_left(chart.release)
    releases = _without_pending(tools, chart, broken_off=broken_off)
    if releases and releases[-1].status == UNINSTALLED and releases[-1].labels.get(SITE) == wish.site:
        _uninstall(tools, releases[-1])
        releases = ()
    deployed = next((one for one in reversed(releases) if one.status == "deployed"), None)
    what = "upgraded:" if deployed else "installed:"
    named = f"chart {chart.name} {chart.version}"
    tools.say(named)
    archive = tools.supply.chart(chart)
    labels = {SITE: wish.site, COMPONENT: wish.part.name, DIGEST: digest}
    if releases:
        bring_definitions(tools.client, lambda: helm.definitions(chart, archive), named)
    try:
        helm.upgrade(chart, archive, labels=labels)
    except ProviderError as error:
        why = diagnose_namespace(tools.client, chart.namespace)
        error.evidence = "\n".join(filter(None, (error.evidence, why)))
        raise
    return f"chart {chart.release} {what} {chart.version}", deployed


def _without_pending(tools: Tools, chart: Chart, *, broken_off: bool) -> tuple[Release, ...]:
    """Forget the revision that a Helm was killed in: the one before it counts again, and what is there is taken over.

    Raises:
        TryAgainError: a Helm that is not ours may be at work.
    """
    key = (chart.namespace, chart.release)
    releases = read_history(tools.client).get(key, ())
    while releases and releases[-1].is_pending:
        last = releases[-1]
        # labels are handed down to the next revision: they do not say who is at work
        if not broken_off and is_anothers(last):
            raise TryAgainError(
                f"another Helm is at work on {chart.release}",
                evidence=f"revision {last.revision} in {chart.namespace} is {last.status}",
                next_step="wait until it has ended, then: ai-how up",
            )
        tools.say(f"{chart.release}: revision {last.revision} was broken off")
        tools.client.delete(last.ref, uid=last.uid)
        releases = releases[:-1]
    return releases


def _uninstall_others(tools: Tools, wish: Wish) -> None:
    """Releases of this part that it no longer has."""
    wanted = {(chart.namespace, chart.release) for chart in wish.part.component.charts}
    for release in ours(read_history(tools.client), site=wish.site, component=wish.part.name):
        if (release.namespace, release.name) not in wanted:
            _uninstall(tools, release)


def _uninstall(tools: Tools, release: Release) -> None:
    """Uninstall a release, and remove what its hooks left, which Helm does not.

    Its record goes last: what was broken off before is found by it and taken further.
    """
    tools.say(f"uninstall {release.name}")
    helm = tools.helm()
    helm.end_left(release.name)
    if release.status != UNINSTALLED:
        helm.uninstall(release.name, release.namespace)
    hooks = objects_in(helm.hooks(release.name, release.namespace), f"what Helm says of the hooks of {release.name}")
    remove_hooks(tools.client, hooks, release.namespace)
    helm.forget(release.name, release.namespace)


def _wait(tools: Tools, awaited: Sequence[Awaited]) -> None:
    until = time.monotonic() + tools.timeout_s
    for each in awaited:
        ref = Ref(api_version=each.api_version, kind=each.kind, namespace=each.namespace, name=each.name)
        tools.say(f"waiting for {ref}")
        while True:
            _stop_if(tools.cancelled)
            left_s = max(0.0, until - time.monotonic())
            try:
                wait_until_well(tools.client, ref, condition=each.condition, timeout_s=min(_ROUND_S, left_s))
                break
            except NotWellError as error:
                if error.state.health is Health.FAILED or left_s <= _ROUND_S:
                    raise _in_its_words(tools, ref, error) from error
            except TryAgainError:
                # a control plane that restarts does not end the wait
                if left_s <= _ROUND_S:
                    raise


def _in_its_words(tools: Tools, ref: Ref, error: NotWellError) -> NotWellError:
    failed = error.state.health is Health.FAILED
    how = "failed" if failed else f"is not well after {tools.timeout_s:g} s"
    why = error.evidence or diagnose_namespace(tools.client, ref.namespace) if ref.namespace else error.evidence
    told = NotWellError(
        f"{ref} {how}: {error.state.reason}",
        evidence=why,
        next_step=f"mend it, then: ai-how up; see more: ai-how status, or {error.next_step.removeprefix('see more: ')}",
    )
    told.state = error.state
    return told


def _take_back(tools: Tools, upgraded: Sequence[tuple[Chart, Release | None]], error: NotWellError) -> None:
    """What worked before works again: upgrades that did not become well are rolled back. An installation stays."""
    for chart, before in reversed(upgraded):
        if before is None:
            continue
        try:
            tools.helm().rollback(chart.release, chart.namespace, before.revision)
            said = f"chart {chart.release} was rolled back to revision {before.revision}"
        except AiHowError as failure:
            said = f"chart {chart.release} could not be rolled back: {failure.brief}"
        error.evidence = "\n".join(filter(None, (error.evidence, said)))


def remove_part(tools: Tools, site: str, part: str, *, data: bool = False) -> str:
    """Remove what a part has on the cluster: its releases, then its objects; says what stays.

    Raises:
        AiHowError: something did not go in its time; the evidence says what holds it.
    """
    said = []
    for release in ours(read_history(tools.client), site=site, component=part):
        _uninstall(tools, release)
        said.append(f"chart {release.name} uninstalled")
    gone = remove_marked(
        tools.client, Mark(site=site, component=part), data=data, report=lambda ref: tools.say(f"removed {ref}")
    )
    if gone.removed:
        said.append(f"{len(gone.removed)} objects removed")
    if gone.kept:
        first, why = gone.kept[0]
        more = f" and {len(gone.kept) - 1} more" if len(gone.kept) > 1 else ""
        said.append(f"{first}{more} kept: {why}")
    return ", ".join(said) or "nothing of it was there"


def _stop_if(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise InterruptionError("broken off", next_step="ai-how up goes on from there")
