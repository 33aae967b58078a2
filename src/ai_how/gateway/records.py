"""Endpoint records: one JSON file an endpoint, in the gateway's own folder.

Owns what a valid ``EndpointSpec`` is, and the files. Knows no replicas. What
a record says of revisions changes in ``record_changes``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ai_how.apply.files import write_json
from ai_how.endpoints.rollout.journal import Entry, Journal, Outcome
from ai_how.endpoints.types import TAG_PATTERN, Autoscaling, EndpointSpec, Hardware, ServedAdapter
from ai_how.errors import SpecError

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_MAX_REPLICAS = 1000


@dataclass(frozen=True, kw_only=True)
class RevisionRecord:
    """One revision. It was started as number ``first``; each change of its spec in place gave it the next number.

    Replicas that were started under any of these numbers are its own.
    """

    number: int
    first: int
    share_percent: int
    spec: EndpointSpec


@dataclass(frozen=True, kw_only=True)
class Record:
    """One endpoint: its revisions by number, the number of the next one, and what is remembered."""

    revisions: tuple[RevisionRecord, ...]
    next_number: int
    journal: Journal = field(default_factory=Journal)

    @property
    def main(self) -> RevisionRecord:
        """The revision that most requests go to; of two alike, the one that was there first."""
        return min(self.revisions, key=lambda revision: (-revision.share_percent, revision.number))

    @property
    def shares(self) -> dict[int, int]:
        return {revision.number: revision.share_percent for revision in self.revisions}


@dataclass(frozen=True, kw_only=True)
class Records:
    """What was found in the folder: sound records by name, and for broken files what is wrong."""

    sound: Mapping[str, Record]
    broken: Mapping[str, str]


def parse_spec(data: Any, *, name: str) -> EndpointSpec:
    """An ``EndpointSpec`` from JSON's values; unknown keys, wrong types and impossible bounds are refused.

    Raises:
        SpecError: the evidence names every mistake.
    """
    from pydantic import TypeAdapter, ValidationError

    brief = f"the spec of endpoint {name!r} is wrong"
    if not isinstance(data, dict):
        raise SpecError(brief, evidence="it must be a JSON object")
    problems = [
        *_unknown(data, EndpointSpec, ""),
        *_unknown(data.get("hardware"), Hardware, "hardware."),
        *_unknown(data.get("autoscaling"), Autoscaling, "autoscaling."),
        *(problem for one in _listed(data.get("adapters")) for problem in _unknown(one, ServedAdapter, "adapters.")),
    ]
    try:
        spec = TypeAdapter(EndpointSpec).validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        problems += [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False)]
        raise SpecError(brief, evidence="; ".join(problems)) from error
    problems += _impossible(spec, name)
    if problems:
        raise SpecError(brief, evidence="; ".join(problems))
    return spec


def first_record(spec: EndpointSpec) -> Record:
    """The record of an endpoint that was just made, or of one from before there were revisions."""
    entry = Entry(number=1, spec=spec, started_at=spec.created_at, outcome=Outcome.SERVING)
    return Record(
        revisions=(RevisionRecord(number=1, first=1, share_percent=100, spec=spec),),
        next_number=2,
        journal=Journal(history=(entry,)),
    )


def parse_record(data: Any, *, name: str) -> Record:
    """A record from JSON's values; one that holds nothing but a spec is of an earlier version.

    Raises:
        SpecError: the evidence names every mistake.
    """
    if not isinstance(data, dict) or "revisions" not in data:
        return first_record(parse_spec(data, name=name))
    from pydantic import TypeAdapter, ValidationError

    try:
        record = TypeAdapter(Record).validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False)]
        raise SpecError(f"the record of endpoint {name!r} is wrong", evidence="; ".join(problems)) from error
    problems = [problem for revision in record.revisions for problem in _impossible(revision.spec, name)]
    numbers = [revision.number for revision in record.revisions]
    if not numbers or len(set(numbers)) != len(numbers) or max(numbers) >= record.next_number:
        problems.append("revisions: at least one, each with a number of its own, below next_number")
    if sum(revision.share_percent for revision in record.revisions) != 100:
        problems.append("revisions: their shares do not add up to 100")
    if problems:
        raise SpecError(f"the record of endpoint {name!r} is wrong", evidence="; ".join(problems))
    return record


def parse_journal(data: Any, *, name: str) -> Journal:
    """A ``Journal`` from JSON's values.

    Raises:
        SpecError: the evidence names every mistake.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Journal).validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False)]
        raise SpecError(f"the journal of endpoint {name!r} is wrong", evidence="; ".join(problems)) from error


def load_records(folder: Path) -> Records:
    """Read all records; one that is broken does not hide the others."""
    sound: dict[str, Record] = {}
    broken: dict[str, str] = {}
    for path in sorted(folder.glob("[!.]*.json")):
        try:
            sound[path.stem] = parse_record(json.loads(path.read_text(encoding="utf-8")), name=path.stem)
        except SpecError as error:
            broken[path.stem] = f"{path.name}: {error.evidence}"
        except (OSError, ValueError, RecursionError) as error:
            broken[path.stem] = f"{path.name} cannot be read: {error}"
    return Records(sound=sound, broken=broken)


def save_record(folder: Path, record: Record) -> None:
    """Write the endpoint's record in one step.

    Raises:
        ProviderError: the disk is full.
    """
    write_json(folder / f"{record.main.spec.name}.json", asdict(record))


def delete_record(folder: Path, name: str) -> None:
    """Forget an endpoint; one that is unknown is fine."""
    if _NAME.fullmatch(name):
        (folder / f"{name}.json").unlink(missing_ok=True)


def _unknown(data: Any, kind: type, prefix: str) -> list[str]:
    if not isinstance(data, dict):
        return []
    known = {item.name for item in fields(kind)}
    return [f"{prefix}{key}: there is no such key" for key in data if key not in known]


def _listed(data: Any) -> list[Any]:
    return data if isinstance(data, list) else []


def _impossible(spec: EndpointSpec, name: str) -> list[str]:
    problems = []
    if not _NAME.fullmatch(spec.name):
        problems.append(
            "name: letters, digits, dots, dashes and underscores, 63 at most, a letter or digit at both ends"
        )
    elif spec.name != name:
        problems.append(f"name: it says {spec.name!r}")
    bounds = spec.autoscaling
    if not 0 <= bounds.min_replicas <= bounds.max_replicas:
        problems.append("autoscaling: 0 <= min_replicas <= max_replicas must hold")
    if not 1 <= bounds.max_replicas <= _MAX_REPLICAS:
        problems.append(f"autoscaling.max_replicas: from 1 to {_MAX_REPLICAS}")
    if spec.hardware.count < 1:
        problems.append("hardware.count: at least 1")
    tags = [one.tag for one in spec.adapters]
    if not all(re.fullmatch(TAG_PATTERN, tag) for tag in tags):
        problems.append("adapters.tag: lower-case letters, digits and dashes, 20 at most")
    if len(set(tags)) != len(tags):
        problems.append("adapters.tag: each but once")
    return problems
