"""A revision of an endpoint on a cluster: what it is, and how it is read back from the cluster. Pure.

Owns ``KServeRevision`` and its form as an annotation of the revision's ServingRuntime, which is whole: nothing else
need be remembered anywhere. It is not kept at the InferenceService: KServe copies that one's annotations into the pods'
template, so that a changed replica bound would restart every pod (kserve/kserve v0.20.0,
pkg/controller/v1beta1/inferenceservice/components/predictor.go, ``buildPredictorResources``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ai_how.endpoints.types import EndpointSpec
from ai_how.errors import SpecError
from ai_how.kserve.names import check_name, revision_name
from ai_how.kserve.nodes import Placement
from ai_how.kubernetes_api.objects import ApiObject, labels_of
from ai_how.models.types import ModelInfo
from ai_how.stack.setting import ENDPOINT_LABEL

ENDPOINT = ENDPOINT_LABEL
"""Label of every object of an endpoint: its name."""
REVISION = "ai-how/revision"
"""Label of every object of a revision: its number."""
KEPT = "ai-how/kept-revision"
"""Annotation with the revision as JSON."""


@dataclass(frozen=True, kw_only=True)
class KServeRevision:
    """One version of an endpoint on a cluster.

    ``base`` is the base model's info where ``info`` is an adapter's, ``adapter_rank`` the largest ``r`` of its adapters
    (0: no adapter, or not known). ``share_percent`` stands in the route, not in the annotation. ``placement`` None: any
    node with a GPU.
    """

    number: int
    spec: EndpointSpec
    info: ModelInfo
    base: ModelInfo | None = None
    adapter_rank: int = 0
    share_percent: int = 0
    placement: Placement | None = None

    def __post_init__(self) -> None:
        check_name(self.spec.name)
        revision_name(self.spec.name, self.number)

    @property
    def name(self) -> str:
        """Name of its InferenceService and ServingRuntime."""
        return revision_name(self.spec.name, self.number)

    @property
    def labels(self) -> dict[str, str]:
        """What all its objects bear beside our mark."""
        return {ENDPOINT: self.spec.name, REVISION: str(self.number)}


def kept_text(revision: KServeRevision) -> str:
    """The annotation's text; the same for the same revision."""
    values = asdict(replace(revision, share_percent=0))
    del values["share_percent"]
    if not values["spec"]["adapters"]:
        # as it was written before there were any: nothing is changed in the cluster for this
        del values["spec"]["adapters"]
    return json.dumps(values, sort_keys=True)


def revision_of(thing: ApiObject, *, share_percent: int = 0) -> KServeRevision:
    """The revision that a ServingRuntime of ours is part of.

    Raises:
        SpecError: it has no such annotation, or one that others changed.
    """
    from pydantic import TypeAdapter, ValidationError

    metadata = thing.get("metadata") or {}
    text = (metadata.get("annotations") or {}).get(KEPT)
    what = f"{thing.get('kind', 'an object')} {metadata.get('name', '')}".strip()
    remedy = "ai-how deploy up writes it anew"
    if not isinstance(text, str):
        raise SpecError(f"{what} says of no endpoint of ours", evidence=f"it has no {KEPT}", next_step=remedy)
    try:
        found = TypeAdapter(KServeRevision).validate_json(text, strict=True)
    except ValidationError as error:
        mistakes = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise SpecError(f"what {what} says of its endpoint is damaged", evidence=mistakes, next_step=remedy) from error
    return replace(found, share_percent=share_percent)


def revisions_of(things: Iterable[ApiObject], shares: Mapping[int, int]) -> tuple[KServeRevision, ...]:
    """The revisions of one endpoint, by number, from its ServingRuntimes and the shares of its route."""
    found = (revision_of(thing) for thing in things)
    with_shares = (replace(each, share_percent=shares.get(each.number, 0)) for each in found)
    return tuple(sorted(with_shares, key=lambda each: each.number))


def endpoint_of(thing: ApiObject) -> str:
    """The endpoint that an object is part of; empty where it is of none."""
    return labels_of(thing).get(ENDPOINT, "")


def number_of(thing: ApiObject) -> int | None:
    """The number of the revision that an object is part of."""
    text: Any = labels_of(thing).get(REVISION, "")
    return int(text) if text.isdecimal() else None
