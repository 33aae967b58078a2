"""Which variables a Kubespray checkout knows, and whether what it is told is among them. Only reads the checkout.

A misspelt variable is silently nothing to Ansible. Known is what a role or the sample inventory defines (the sample's
commented lines too), and what a task, template or playbook asks for where nothing defines it. What a role sets in its
``vars`` stands above the inventory: telling it is silently nothing too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ai_how.errors import SpecError
from ai_how.site.words import either, nearest

_DEFINED = re.compile(r"^([a-z][A-Za-z0-9_]*):(?:\s|$)", re.MULTILINE)
_COMMENTED = re.compile(r"^#\s?([a-z][a-z0-9]*_[A-Za-z0-9_]*):(?:\s|$)", re.MULTILINE)
_ASKED = re.compile(r"(?<![\w.'\"])([a-z]\w*)\s*(?:\|\s*(?:d|default)\(|is (?:not )?(?:defined|undefined))")
_DEFINING = ("roles/**/defaults/**/*.y*ml", "roles/**/vars/**/*.y*ml", "inventory/sample/**/*.y*ml")
_FIXING = ("roles/**/vars/main.y*ml", "roles/**/vars/main/*.y*ml")
_ASKING = (
    "roles/**/tasks/**/*.y*ml",
    "roles/**/templates/**/*.j2",
    "playbooks/**/*.y*ml",
    "inventory/sample/**/*.y*ml",
)
_ANSIBLE = ("ansible_", "molecule_")


@dataclass(frozen=True, kw_only=True)
class Unheard:
    """A name that the checkout does not know or sets itself, and those that it may be a slip of."""

    name: str
    near: tuple[str, ...]
    fixed: bool = False

    def __str__(self) -> str:
        why = "a role sets it itself" if self.fixed else "unknown"
        return f"{self.name}: {why}" + (f", did you mean {either(self.near)}?" if self.near else "")


def known_names(checkout: Path) -> frozenset[str]:
    """Every variable's name that a Kubespray checkout defines or asks for."""
    names: set[str] = set()
    for text in _texts(checkout, _DEFINING):
        names.update(_DEFINED.findall(text), _COMMENTED.findall(text))
    for text in _texts(checkout, _ASKING):
        names.update(_ASKED.findall(text))
    return frozenset(name for name in names if not name.startswith(_ANSIBLE))


def fixed_names(checkout: Path) -> frozenset[str]:
    """Every variable's name that a role of the checkout sets whatever the inventory says."""
    return frozenset(name for text in _texts(checkout, _FIXING) for name in _DEFINED.findall(text))


def _texts(checkout: Path, patterns: Iterable[str]) -> Iterator[str]:
    for pattern in patterns:
        for path in sorted(checkout.glob(pattern)):
            if path.is_file():
                yield path.read_text(encoding="utf-8", errors="replace")


def unheard_names(
    names: Iterable[str], known: frozenset[str], fixed: frozenset[str] = frozenset()
) -> tuple[Unheard, ...]:
    """Those of the names that are not known or cannot be changed, each with the nearest that can. Pure."""
    free = known - fixed
    return tuple(
        Unheard(name=name, near=tuple(sorted(nearest(name, free))[:3]), fixed=name in fixed)
        for name in sorted(set(names) - free)
    )


def check_names(names: Iterable[str], checkout: Path, *, version: str) -> None:
    """Refuse to tell Kubespray what it would not hear.

    Raises:
        SpecError: a name is unknown to it, or set by itself; the evidence lists each with the nearest.
    """
    wrong = unheard_names(names, known_names(checkout), fixed_names(checkout))
    if wrong:
        verb = "does not let change" if all(each.fixed for each in wrong) else "has no"
        raise SpecError(
            f"Kubespray {version} {verb} {'variable' if len(wrong) == 1 else 'variables'} "
            f"{', '.join(each.name for each in wrong)}",
            evidence="\n".join(map(str, wrong)),
            next_step="correct kubernetes.extra_vars in the site file; all names: grep -r NAME "
            + str(checkout / "roles"),
        )
