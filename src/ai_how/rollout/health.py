"""What ``status`` shows of a stack: every part with its version, health and address, and what is wrong in one line."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from ai_how.apply.provider import ComponentStatus
from ai_how.errors import AiHowError
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.diagnosis import diagnose, diagnose_namespace
from ai_how.kubernetes_api.objects import Ref, ref_of
from ai_how.kubernetes_api.order import is_custom
from ai_how.kubernetes_api.states import Health, State, state_of
from ai_how.kubernetes_api.terminating import why_still_there
from ai_how.plan.model import Condition
from ai_how.rollout.disk_floor import below_floor
from ai_how.rollout.releases import History, read_history
from ai_how.rollout.wish import Wish
from ai_how.stack.objects import Chart

_AT_ONCE = 4
_WORKS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "PersistentVolumeClaim")
_REMEDIES = (
    (
        "cannot get its image",
        "see whether the registry can be reached, or name another image under stack.images; then: ",
    ),
    ("fits no node", "ai-how plan says what the workers have and what is asked for; then: "),
    ("memory than its limit", "give it more under stack.values; then: "),
    ("of the disk of", "free space there, or give it a larger disk; then: "),
    ("has no volume", "see: kubectl get pvc,storageclass -A; then: "),
)


def part_statuses(client: Client, wishes: Sequence[Wish], made: Collection[str]) -> list[ComponentStatus]:
    """Every part as the cluster says it now.

    Args:
        made: The resources that were applied.

    Raises:
        AiHowError: the cluster cannot be asked.
    """
    history = read_history(client)

    def status(wish: Wish) -> ComponentStatus:
        try:
            condition, detail = _health(client, wish, history, made=wish.name in made)
        except AiHowError as error:
            condition, detail = Condition.FAILING, error.brief
        return _status(wish, condition, detail)

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return list(pool.map(status, wishes))


def silent_status(wish: Wish, *, made: bool, error: AiHowError | None = None) -> ComponentStatus:
    """A part of a cluster that cannot be asked."""
    if error is None or not made:
        return _status(wish, Condition.ABSENT, "is not applied yet")
    told = _status(wish, Condition.FAILING, error.brief)
    step = error.next_step if "ai-how" in error.next_step else "ai-how up"
    return ComponentStatus(
        name=told.name,
        condition=told.condition,
        version=told.version,
        address=told.address,
        detail=told.detail,
        remedy=step,
    )


def _status(wish: Wish, condition: Condition, detail: str) -> ComponentStatus:
    addresses = wish.part.addresses
    remedy = next((words for sign, words in _REMEDIES if sign in detail), "")
    if not remedy and condition is Condition.FAILING:
        remedy = f"ai-how logs {wish.name}, then: "
    return ComponentStatus(
        name=wish.name,
        condition=condition,
        version=wish.part.version,
        address=addresses[0].url if addresses else "",
        detail=detail,
        remedy=f"{remedy}ai-how up" if detail else "",
        login=login_of(wish) if condition is Condition.HEALTHY else "",
    )


def login_of(wish: Wish) -> str:
    """The command that shows the password of a part that people log in to; empty where there is none."""
    secret = next((address.login for address in wish.part.addresses if address.login), "")
    space, _, name = secret.partition("/")
    shown = "-o go-template='{{.data.password | base64decode}}'"
    config = f'KUBECONFIG="$(ai-how kubeconfig {wish.cluster} --path)"'
    return f"{config} kubectl -n {space} get secret {name} {shown}" if secret else ""


def _health(client: Client, wish: Wish, history: History, *, made: bool) -> tuple[Condition, str]:
    held = _terminating(client, wish)
    if held:
        return Condition.FAILING, held
    for chart in wish.part.component.charts:
        trouble = _release(history, chart)
        if trouble and made:
            return Condition.FAILING, trouble
    absent, waits = False, ""
    for ref, condition in _asked(wish):
        thing = client.get(ref)
        if thing is None:
            absent = True
            waits = waits or f"{ref} is not there"
            continue
        state = state_of(thing, condition)
        if not state.is_well:
            return _not_well(client, ref, state, diagnose(client, thing))
    if not made:
        return Condition.ABSENT, "is not applied yet"
    detail = waits if absent else below_floor(client, wish.part)
    return (Condition.FAILING if detail else Condition.HEALTHY), detail


def _asked(wish: Wish) -> Iterator[tuple[Ref, str]]:
    """What says whether a part is well: what is awaited, and its own objects that have a state."""
    seen = set()
    for each in wish.part.component.awaited:
        ref = Ref(api_version=each.api_version, kind=each.kind, namespace=each.namespace, name=each.name)
        seen.add(ref)
        yield ref, each.condition
    for thing in wish.part.component.objects:
        ref = ref_of(thing)
        if ref not in seen and (ref.kind in _WORKS or is_custom(ref)):
            yield ref, ""


def _terminating(client: Client, wish: Wish) -> str:
    space = wish.part.component.namespace
    live = client.get(Ref(api_version="v1", kind="Namespace", namespace="", name=space)) if space else None
    if live is None or not live["metadata"].get("deletionTimestamp"):
        return ""
    return f"its namespace {space} is going away: {'; '.join(why_still_there(live)) or 'what holds it is not said'}"


def _release(history: History, chart: Chart) -> str:
    releases = history.get((chart.namespace, chart.release), ())
    if not releases:
        return f"chart {chart.release} is not installed"
    last = releases[-1]
    if last.status != "deployed":
        return f"chart {chart.release} is {last.status} (revision {last.revision})"
    return ""


def _not_well(client: Client, ref: Ref, state: State, why: str) -> tuple[Condition, str]:
    cause = why or (diagnose_namespace(client, ref.namespace) if ref.namespace else "")
    said = f"{ref}: {state.reason}"
    if cause:
        said = f"{said}: {cause.splitlines()[0]}"
    waiting = state.health is Health.WAITING and not cause
    return (Condition.STARTING if waiting else Condition.FAILING), said
