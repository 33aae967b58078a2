"""The form of the data files: pydantic models with unknown keys refused. Knows no folder and no solver."""

from __future__ import annotations

import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ai_how.releases.pins import parse_constraint, parse_version


def _is_version(text: str) -> str:
    parse_version(text)
    return text


def _is_constraint(text: str) -> str:
    parse_constraint(text)
    return text


VersionText = Annotated[str, AfterValidator(_is_version)]
ConstraintText = Annotated[str, AfterValidator(_is_constraint)]
Text = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OfferFile(_Strict):
    """What a Kubespray release can install of one component, and which version it takes by itself."""

    file: Text
    versions: Annotated[list[VersionText], Field(min_length=1)]
    default: VersionText | None = None


class NeedFile(_Strict):
    """What a Kubespray release asks of the machine that runs it."""

    file: Text
    constraint: ConstraintText


class KubesprayFile(_Strict):
    """A file of ``data/kubespray``: one release. ``commit`` is what its tag names."""

    version: VersionText
    released: datetime.date
    read: datetime.date
    source: Text
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    offers: dict[str, OfferFile]
    needs: dict[str, NeedFile] = {}


class VersionEntry(_Strict):
    """A version of a component. ``tested_with`` is what its authors test with: told to people, never demanded."""

    version: VersionText
    released: datetime.date | None = None
    needs: dict[str, ConstraintText] = {}
    tested_with: dict[str, VersionText] = {}
    source: Text | None = None
    notes: list[Text] = []


class RuleEntry(_Strict):
    """A need that many versions share."""

    versions: ConstraintText
    needs: dict[str, ConstraintText]
    source: Text


class LifecycleEntry(_Strict):
    """The last day of care for some versions."""

    versions: ConstraintText
    end: datetime.date
    note: str = ""


class UnmaintainedEntry(_Strict):
    """A component that its authors have given up."""

    since: datetime.date
    reason: Text
    source: Text


class ComponentFile(_Strict):
    """A file of ``data/components``: one component."""

    title: Text
    group: Text
    order: int
    read: datetime.date
    source: Text
    aliases: list[Text] = []
    families: list[Text] = []
    lifecycle_source: Text | None = None
    notes: list[Text] = []
    version: list[VersionEntry] = []
    rule: list[RuleEntry] = []
    lifecycle: list[LifecycleEntry] = []
    unmaintained: UnmaintainedEntry | None = None


class GivesWay(_Strict):
    """A pin that a set could not keep, and why."""

    pin: Text
    takes: Text
    why: Text


class SetFile(_Strict):
    """A file of ``data/sets``: one release set."""

    title: Text
    summary: Text
    checked: datetime.date
    versions: dict[str, VersionText]
    gives_way: list[GivesWay] = []
    notes: list[Text] = []


class DocumentPin(_Strict):
    """A pin that the resource requirements name, and the table in which they name it."""

    pin: Text
    table: Text


class DocumentFile(_Strict):
    """The pins of the resource requirements, and what of them is not a matter of versions here."""

    title: Text
    dated: datetime.date
    pin: list[DocumentPin]
    elsewhere: dict[str, Text] = {}
