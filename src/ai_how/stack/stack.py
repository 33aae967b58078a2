"""The whole stack of a cluster: its parts in the order in which they are applied. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ai_how.site.spec import Site
from ai_how.stack.components import (
    cert_manager,
    database,
    gateway,
    gateway_api,
    gateway_controller,
    gpu_operator,
    keda,
    keda_http_add_on,
    kserve,
    mlflow,
    monitoring,
    namespaces,
    object_store,
    observability,
    postgresql_operator,
    warm_nodes,
)
from ai_how.stack.part import Part
from ai_how.stack.setting import NodeAddresses, Setting, setting_of


def render_stack(
    site: Site, name: str, versions: Mapping[str, str], *, addresses: NodeAddresses | None = None
) -> tuple[Part, ...]:
    """The parts of the cluster of that name; none where its site file wants none.

    Args:
        versions: By component: those of the release set, with the pins taken in.
        addresses: As ``setting_of``.

    Raises:
        SpecError, NotFoundError: a version that a part needs is missing or cannot be used.
    """
    if not site.planned_clusters[name].has_stack:
        return ()
    return render_parts(setting_of(site, name, versions, addresses=addresses))


def render_parts(setting: Setting) -> tuple[Part, ...]:
    """As ``render_stack``, from the setting itself."""
    found = [
        namespaces.render(setting),
        gateway_api.render(setting),
        cert_manager.render(setting),
        monitoring.render(setting),
        gateway_controller.render(setting),
        object_store.render(setting),
        mlflow.render(setting),
        database.render(setting),
        keda.render(setting),
        keda_http_add_on.render(setting),
        kserve.render(setting),
        gateway.render(setting),
        observability.render(setting),
    ]
    if setting.stack.database.type == "cloudnative-pg":
        found.append(postgresql_operator.render(setting))
    if warm_nodes.wanted(setting):
        found.append(warm_nodes.render(setting))
    if setting.has_gpus:
        found.append(gpu_operator.render(setting))
    return in_order(found)


def in_order(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Every part behind those that it needs, otherwise as given.

    Raises:
        ValueError: parts need each other in a circle, or one that is not there.
    """
    left, placed = list(parts), list[Part]()
    while left:
        names = {part.name for part in placed}
        ready = next((part for part in left if set(part.component.needs) <= names), None)
        if ready is None:
            raise ValueError(f"no order for {', '.join(part.name for part in left)}")
        placed.append(ready)
        left.remove(ready)
    return tuple(placed)
