"""Versions, constraints and pins: their order, their grammar, what matches what. Pure.

A version is numbers with dots (``1.28.0``), or a family and numbers (``debian-13``). Neither PEP 440 nor semantic
versioning fits all components (``595.91.07``, ``debian-13``), and the facts hold no pre-releases, so the order is that
of the numbers, and versions of different families have none.
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from functools import cache, total_ordering

from ai_how.errors import SpecError

_VERSION = re.compile(r"(?:(?P<family>[a-z][a-z0-9]*)-)?v?(?P<numbers>\d+(?:\.\d+)*)")
_CLAUSE = re.compile(r"(?P<operator>>=|<=|==|!=|=|>|<|)\s*(?P<version>\S+)")
_PIN = re.compile(r"(?P<component>[A-Za-z][A-Za-z0-9-]*?)\s*(?P<constraint>(?:[=<>!]|$).*)")
_COMPARISONS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_GRAMMAR = "write a pin as kubernetes=1.34, 'containerd>=1.7.23,<2.3' or 'guest=debian-13|ubuntu-24.04'"


@total_ordering
@dataclass(frozen=True)
class Version:
    """A version that can be compared with others of its family."""

    family: str
    numbers: tuple[int, ...]

    def __lt__(self, other: Version) -> bool:
        return (self.family, _trimmed(self.numbers)) < (other.family, _trimmed(other.numbers))

    @property
    def series(self) -> tuple[str, tuple[int, ...]]:
        """What people call a minor version: the family and the first two numbers."""
        return self.family, (*self.numbers, 0)[:2]


def _trimmed(numbers: tuple[int, ...]) -> tuple[int, ...]:
    while numbers and numbers[-1] == 0:
        numbers = numbers[:-1]
    return numbers


@cache
def parse_version(text: str) -> Version:
    """Read a version; a leading ``v`` is dropped.

    Raises:
        ValueError: it is not of that form.
    """
    found = _VERSION.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is no version: write numbers with dots (1.28.0), or a name and numbers (debian-13)")
    return Version(found["family"] or "", tuple(int(number) for number in found["numbers"].split(".")))


@dataclass(frozen=True, kw_only=True)
class Clause:
    """One comparison. ``=`` takes every version that begins with these numbers: ``=1.34`` takes 1.34.2."""

    operator: str
    version: Version

    def matches(self, version: Version) -> bool:
        """Whether a version is one of those; a version of another family is none but for ``!=``."""
        width = len(self.version.numbers)
        begins = version.family == self.version.family and (version.numbers + (0,) * width)[:width] == (
            self.version.numbers
        )
        if self.operator in ("=", "!="):
            return begins == (self.operator == "=")
        if version.family != self.version.family:
            return False
        return bool(_COMPARISONS[self.operator](_trimmed(version.numbers), _trimmed(self.version.numbers)))


@dataclass(frozen=True)
class Constraint:
    """Which versions will do: alternatives, each a list of clauses that must all hold. Empty text takes any."""

    text: str
    alternatives: tuple[tuple[Clause, ...], ...]

    def matches(self, version: str) -> bool:
        """Whether a version satisfies it."""
        parsed = parse_version(version)
        return any(all(clause.matches(parsed) for clause in clauses) for clauses in self.alternatives)


@cache
def parse_constraint(text: str) -> Constraint:
    """Read ``>=1.7.23,<2.3``, ``=debian-13|>=ubuntu-22.04``, or nothing (any version).

    Raises:
        ValueError: it is not of that form.
    """
    parts = [part.strip() for part in text.split("|")]
    if any(not part for part in parts) and len(parts) > 1:
        raise ValueError(f"{text!r} has an empty alternative")
    alternatives = tuple(tuple(_clause(word) for word in part.split(",")) if part else () for part in parts)
    return Constraint(text.strip(), alternatives)


def _clause(word: str) -> Clause:
    found = _CLAUSE.fullmatch(word.strip())
    if not found:
        raise ValueError(f"{word!r} is no comparison with a version")
    sign = "=" if found["operator"] in ("", "==") else found["operator"]
    return Clause(operator=sign, version=parse_version(found["version"]))


@dataclass(frozen=True)
class Pin:
    """A demand on one component. ``origin`` says who demands it where that is not the person who asks."""

    component: str
    constraint: Constraint
    origin: str = ""

    def __str__(self) -> str:
        return f"{self.component}{self.constraint.text}"


def parse_pin(text: str, origin: str = "") -> Pin:
    """Read a pin: a component's name, then a constraint; the name alone asks for any version of it.

    Raises:
        SpecError: it is not of that form.
    """
    found = _PIN.fullmatch(text.strip())
    if not found:
        raise SpecError(f"{text!r} is no pin", next_step=_GRAMMAR)
    return make_pin(found["component"], found["constraint"], origin)


def make_pin(component: str, constraint: str, origin: str = "") -> Pin:
    """A pin from its two halves; a constraint that is a version alone means ``=``, ``latest`` means any.

    Raises:
        SpecError: the constraint is not of the form of ``parse_constraint``.
    """
    text = re.sub(r"\s+", "", constraint)
    if text in ("latest", "*"):
        text = ""
    if text and text[0] not in "=<>!":
        text = f"={text}"
    try:
        return Pin(component.lower(), parse_constraint(text), origin)
    except ValueError as error:
        raise SpecError(f"{component}{text} is no pin", evidence=str(error), next_step=_GRAMMAR) from error
