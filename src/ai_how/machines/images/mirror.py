"""Where Debian's packages come from: the mirror that the user names, or the one that this host uses itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ai_how.errors import SpecError
from ai_how.machines.images.recipe import Recipe

_APT = Path("/etc/apt")


def archive_lines(recipe: Recipe, mirror: str | None, *, apt: Path = _APT) -> list[str]:
    """Lines of apt's ``sources.list`` for a recipe; none leaves the choice to mmdebstrap, which takes Debian's own.

    Raises:
        SpecError: ``mirror`` is no address.
    """
    if mirror is not None and not re.fullmatch(r"(https?|file|ftp)://\S+|copy:\S+", mirror):
        raise SpecError(f"{mirror!r} is no address of a mirror", next_step="write it as http://HOST/debian")
    base = mirror or host_mirror(apt)
    if base is None:
        return []
    areas = " ".join(recipe.components)
    lines = [f"deb {base} {recipe.suite} {areas}", f"deb {base} {recipe.suite}-updates {areas}"]
    # what a mirror of the user's own has besides is not known; so only what every mirror has is asked of it
    security = None if mirror else host_mirror(apt, security=True)
    return [*lines, f"deb {security} {recipe.suite}-security {areas}"] if security else lines


def host_mirror(apt: Path = _APT, *, security: bool = False) -> str | None:
    """The first Debian archive in the host's own apt settings, or the first of security updates; None without."""
    for path in (apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        found = next(_archives(text, security=security), None)
        if found:
            return found
    return None


def _archives(text: str, *, security: bool) -> Iterator[str]:
    """Addresses of archives that have Debian's ``main`` area of a Debian suite, in either of apt's two forms."""
    for match in re.finditer(r"^deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+(.*)$", text, re.MULTILINE):
        if _is_debian(suites=match[2], areas=match[3], security=security):
            yield match[1]
    for stanza in re.split(r"\n\s*\n", text):
        fields = {key.lower(): value.strip() for key, value in re.findall(r"^(\w[\w-]*):(.*)$", stanza, re.MULTILINE)}
        if "deb" in fields.get("types", "").split():
            for address in fields.get("uris", "").split():
                if _is_debian(suites=fields.get("suites", ""), areas=fields.get("components", ""), security=security):
                    yield address


def _is_debian(*, suites: str, areas: str, security: bool) -> bool:
    releases = {"stable", "testing", "bullseye", "bookworm", "trixie", "forky", "sid"}
    known = {f"{release}-security" for release in releases} if security else releases
    return "main" in areas.split() and bool(known & set(suites.split()))
