"""The names of an endpoint's objects, and which names an endpoint may have. Pure.

A revision N of endpoint NAME is ``NAME-rN``; KServe makes a Deployment and a Service ``NAME-rN-predictor`` of it and
puts ``isvc.NAME-rN-predictor`` into a label. Source: kserve/kserve v0.20.0, pkg/constants/constants.go and
pkg/apis/serving/v1beta1/inference_service_validation.go (``IsvcNameFmt``).
"""

from __future__ import annotations

import re

from ai_how.errors import SpecError

LABEL_CHARACTERS = 63
"""What a part of a host name, the name of a Service and the value of a label may have."""
REVISION_DIGITS = 4
"""Room for so many digits of a revision's number."""
_DERIVED = f"isvc.{{name}}-r{'9' * REVISION_DIGITS}-predictor"
MOST_CHARACTERS = LABEL_CHARACTERS - len(_DERIVED.format(name=""))
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def check_name(name: str) -> str:
    """The name, if every name that is made of it will do.

    Raises:
        SpecError: it will not; the next step has one that would.
    """
    if _NAME.fullmatch(name) and len(name) <= MOST_CHARACTERS:
        return name
    problem = (
        f"it has {len(name)} characters; as {_DERIVED.format(name='NAME')} is a label, {MOST_CHARACTERS} have room"
        if _NAME.fullmatch(name)
        else "it must be lower-case letters, digits and dashes, with a letter first and no dash at the end"
    )
    raise SpecError(
        f"an endpoint on this cluster cannot be named {name!r}",
        evidence=problem,
        next_step=f"write model_name: {near_name(name)} in the deploy file, or pass --name {near_name(name)}",
    )


def near_name(name: str) -> str:
    """A name like that one that would do."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not plain[:1].isalpha():
        plain = f"m-{plain}".strip("-")
    return plain[:MOST_CHARACTERS].strip("-")


def revision_name(name: str, number: int) -> str:
    """The name of a revision's InferenceService, ServingRuntime and scaling objects.

    Raises:
        SpecError: the number has too many digits.
    """
    if not 0 < number < 10**REVISION_DIGITS:
        raise SpecError(
            f"endpoint {name} cannot have a revision {number}",
            evidence=f"names have room for numbers up to {10**REVISION_DIGITS - 1}",
            next_step=f"delete the endpoint and make it anew: ai-how deploy delete {name}",
        )
    return f"{name}-r{number}"


def service_name(name: str, number: int) -> str:
    """The Service and the Deployment that KServe makes of a revision."""
    return f"{revision_name(name, number)}-predictor"
