"""MLflow and the object store of a cluster, as this machine reaches them.

Neither is open to the world, and MLflow asks nobody who they are. So the way is SSH to the very node that a pod runs
on: a node always reaches its own pods, whatever the network policies say, and nothing else gets any closer by it.
Never writes a key anywhere, and leaves no way open behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from ai_how.errors import TryAgainError
from ai_how.kubernetes.reach import Far, Way, tunnels
from ai_how.models.types import ObjectStoreAccess, SecretText, Stores
from ai_how.run.http import request
from ai_how.stack.components import mlflow, object_store
from ai_how.stack.setting import MLOPS
from ai_how.stack_access.running import Place, RunningStack, place_of, read_secret, value_of

_HEALTH_TIMEOUT_S = 20


@dataclass(frozen=True, kw_only=True)
class _Open:
    """One end of a tunnel on this machine."""

    url: str
    way: Way
    place: Place


@contextmanager
def open_cluster_stores(stack: RunningStack) -> Iterator[Stores]:
    """The stores of a cluster for the time of the block, over SSH where they are in the cluster.

    Raises:
        TryAgainError: a store does not run, or the way to it does not open.
        NotFoundError, ProviderError: the Secret with the keys is missing or lacks one.
    """
    store = stack.setting.stack.object_store
    wanted = {mlflow.NAME: place_of(stack, MLOPS, mlflow.APP, port="http", part=mlflow.NAME)}
    if store.type != "external":
        wanted[object_store.NAME] = place_of(stack, MLOPS, object_store.APP, port="s3", part=object_store.NAME)
    access = _keys(stack)
    with _opened(wanted) as near:
        _check(near[mlflow.NAME], "MLflow", path="/health", log=f"stack/{stack.cluster}/{mlflow.NAME}")
        if object_store.NAME in near:
            log = f"stack/{stack.cluster}/{object_store.NAME}"
            _check(near[object_store.NAME], "the object store", path="/", log=log)
        yield Stores(
            access=ObjectStoreAccess(
                endpoint_url=near[object_store.NAME].url if object_store.NAME in near else _external(stack),
                region=store.region,
                bucket=store.bucket,
                access_key=str(access["AWS_ACCESS_KEY_ID"]),
                secret_key=access["AWS_SECRET_ACCESS_KEY"],
            ),
            registry_url=near[mlflow.NAME].url,
            cache_dir=stack.folder.cache,
        )


def _keys(stack: RunningStack) -> Mapping[str, SecretText]:
    name = object_store.credentials(stack.setting)
    yours = stack.setting.stack.object_store.type == "external"
    remedy = f"make the Secret {name} in namespaces {MLOPS} and models" if yours else "ai-how up"
    values = read_secret(stack, MLOPS, name, remedy=remedy)
    wanted = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    return {key: value_of(values, key, of=f"{MLOPS}/{name}") for key in wanted}


def _external(stack: RunningStack) -> str:
    return (stack.setting.stack.object_store.endpoint_url or "").rstrip("/")


@contextmanager
def _opened(wanted: Mapping[str, Place]) -> Iterator[dict[str, _Open]]:
    """Every place as a port of this machine; one ssh for each node."""
    by_node: dict[str, list[str]] = {}
    for name, place in wanted.items():
        by_node.setdefault(place.node.name, []).append(name)
    with ExitStack() as ways:
        found: dict[str, _Open] = {}
        for names in by_node.values():
            found.update(ways.enter_context(_through_node(names, wanted)))
        yield found


@contextmanager
def _through_node(names: Sequence[str], wanted: Mapping[str, Place]) -> Iterator[dict[str, _Open]]:
    fars = [Far(host=wanted[name].address, port=wanted[name].port) for name in names]
    with tunnels(wanted[names[0]].node.access, fars) as way:
        yield {
            name: _Open(url=f"http://127.0.0.1:{port}", way=way, place=wanted[name])
            for name, port in zip(names, way.ports, strict=True)
        }


def _check(near: _Open, what: str, *, path: str, log: str) -> None:
    """Ask once, so that what is wrong with the way is told here and not by the first upload."""
    try:
        request("GET", near.url + path, timeout_s=_HEALTH_TIMEOUT_S)
    except TryAgainError as error:
        node = near.place.node
        raise TryAgainError(
            f"{what} does not answer through {node.name}",
            evidence=f"{node.access.host} -> {near.place.address}:{near.place.port}: {near.way.said or error.evidence}",
            next_step=f"ai-how status, then: ai-how logs {log}; sshd on {node.name} must allow TCP forwarding",
        ) from error
