"""The versions of a site below its plan: whether release set and pins fit together, and what to write if not."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ai_how.cli.output import wrap

if TYPE_CHECKING:
    from ai_how.site.spec import Site


@dataclass(frozen=True, kw_only=True)
class SiteVersions:
    """The answer: in a few lines, and as data for JSON."""

    summary: str
    fit: bool
    ways: tuple[str, ...]
    data: dict[str, Any]

    def lines(self, site_path: Path | None) -> Iterator[str]:
        """An empty line, the answer, and for a clash its ways out and where the reasons are."""
        yield ""
        yield from wrap(f"Versions: {self.summary}", hanging="    ")
        for number, way in enumerate(self.ways):
            words = f"or {way}" if number else f"to mend it, {way}"
            yield from wrap(words, first="    ", hanging="      ")
        file = shlex.quote(str(site_path or "ai-how.yaml"))
        yield f"    all of it, with sources: ai-how versions check --site {file}"


def answer(site: Site) -> SiteVersions | None:
    """Whether the site's versions fit; None where it says nothing of them, for the default set was tested as a whole.

    Raises:
        SpecError, NotFoundError: there is no such set or component, or a pin cannot be read.
    """
    if site.release == "current" and not site.pins:
        return None
    from ai_how.cli.versions_text import conflict_data
    from ai_how.releases.conflict import Conflict
    from ai_how.releases.sets import load_set
    from ai_how.releases.site_pins import clash, pins_line, pins_to_write, solve_site, ways_in_words

    found = solve_site(site)
    what = f"release set {site.release}" + (f" with {pins_line(dict(site.pins))}" if site.pins else "")
    data: dict[str, Any] = {"release": site.release, "pins": dict(site.pins)}
    if isinstance(found, Conflict):
        return SiteVersions(
            summary=f"{what} does not hold: {clash(found)}",
            fit=False,
            ways=ways_in_words(site, found),
            data=data | {"fit": False, **conflict_data(found), "pins_to_write": pins_to_write(site, found)},
        )
    return SiteVersions(
        summary=f"{what} fits together",
        fit=True,
        ways=(),
        data=data | {"fit": True, "versions": dict(found.versions), "set": dict(load_set(site.release).versions)},
    )
