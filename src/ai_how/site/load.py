"""Loads the site file: text -> ``Site``, or every mistake in it with file and line.

Owns what is particular to the site file; YAML is ``yaml_lines``', the check against the model is ``check``'s.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ai_how.errors import NotFoundError, SpecError
from ai_how.site.cluster_rules import cluster_mistakes, cluster_warnings
from ai_how.site.kubernetes_rules import kubernetes_mistakes, kubernetes_warnings
from ai_how.site.mistakes import Key, Mistake, dotted, in_order, spec_error
from ai_how.site.server_rules import server_mistakes
from ai_how.site.serving_rules import serving_mistakes
from ai_how.site.spec import Site
from ai_how.site.stack_rules import stack_mistakes, stack_warnings
from ai_how.site.yaml_lines import Document, parse, read_text, shown_path

SITE_FILE = "ai-how.yaml"

_REMARKS: dict[tuple[str, str | None], tuple[str, str]] = {
    ("name", None): ("has no value", "write name: and a name for this site, such as demo"),
}
_APART = ("state_dir", "gateway", "object_store", "registry", "targets", "virtualization", "placement", "storage")
"""Keys that no rule of hosts, clusters, their versions and paths reads."""
_PORTS: tuple[Key, ...] = (("gateway", "port"), ("object_store", "port"), ("registry", "port"))
_ADDRESSES: dict[Key, str] = {
    ("registry", "database"): "registry.password_file",
    ("object_store", "endpoint_url"): "object_store.credentials_file",
}


def load_site(path: Path) -> Site:
    """Read and check a site file.

    Raises:
        SpecError: the evidence lists every mistake as ``file:line:column: message``.
    """
    return load_site_with_warnings(path)[0]


def load_site_with_warnings(path: Path) -> tuple[Site, list[Mistake]]:
    """As ``load_site``, with what works but is unwise."""
    site, mistakes, warnings = read_site_file(path)
    if site is None:
        raise _refusal(path, mistakes)
    return site, warnings


def _refusal(path: Path, mistakes: list[Mistake]) -> SpecError:
    again = "" if path.name == SITE_FILE else f" --site {shlex.quote(str(path))}"
    return spec_error(shown_path(path), mistakes, next_step=f"correct it, then check with: ai-how validate{again}")


def check_site_file(path: Path) -> tuple[Site | None, list[Mistake]]:
    """Read a site file; the site, or the mistakes that keep it from being one."""
    site, mistakes, _ = read_site_file(path)
    return site, mistakes


@dataclass(frozen=True, kw_only=True)
class Read:
    """A file as far as it could be read. ``site`` is one to work with only where there are no mistakes.

    With mistakes it is there only for other checks, that read nothing of what is wrong.
    """

    document: Document
    site: Site | None = None
    mistakes: list[Mistake]
    warnings: list[Mistake] = field(default_factory=list)


def read_file(path: Path) -> Read:
    """Read and check a site file."""
    text, mistakes = read_text(path, where_from="write one with: ai-how init")
    shown = Path(shown_path(path))
    return Read(document=Document(file=str(shown)), mistakes=mistakes) if mistakes else _read(text, shown)


def read_site_file(path: Path) -> tuple[Site | None, list[Mistake], list[Mistake]]:
    """As ``check_site_file``, with the warnings too: what works but is unwise. Warnings come with a site only."""
    return _answer(read_file(path))


def _answer(read: Read) -> tuple[Site | None, list[Mistake], list[Mistake]]:
    return None if read.mistakes else read.site, read.mistakes, read.warnings


def check_site_text(text: str, path: Path) -> tuple[Site | None, list[Mistake]]:
    """Check a site file's text: the site, or all mistakes from top to end. Pure; ``path`` only names the file."""
    site, mistakes, _ = read_site_text(text, path)
    return site, mistakes


def read_site_text(text: str, path: Path) -> tuple[Site | None, list[Mistake], list[Mistake]]:
    """As ``check_site_text``, with the warnings too."""
    return _answer(_read(text, path))


def _read(text: str, path: Path) -> Read:
    from ai_how.site.check import check

    document = parse(text, str(path))
    if document.mistakes and not document.data:
        return Read(document=document, mistakes=document.mistakes)
    checked = check(Site, document, remarks=_REMARKS)
    mistakes = [*document.mistakes, *checked.mistakes, *checked.unknown_keys]
    wrong = {mistake.key for mistake in mistakes}
    mistakes += [mistake for mistake in _across_keys(document) if mistake.key not in wrong]
    # of a default in the place of what is wrong a rule would say what nobody has written
    site = checked.rest if all(key and key[0] in _APART for key in checked.wrong) else None
    if site is not None:
        mistakes += [
            *cluster_mistakes(site, document),
            *server_mistakes(site, document),
            *kubernetes_mistakes(site, document),
            *stack_mistakes(site, document),
            *serving_mistakes(site, document),
        ]
    if site is None or mistakes:
        return Read(document=document, site=site, mistakes=in_order(mistakes))
    warnings = (cluster_warnings, kubernetes_warnings, stack_warnings)
    found = in_order([each for rule in warnings for each in rule(site, document)])
    return Read(document=document, site=site, mistakes=[], warnings=found)


def _across_keys(document: Document) -> Iterator[Mistake]:
    """What the model cannot say: ports given twice, passwords where they would be seen."""
    taken: dict[int, Key] = {}
    for key in _PORTS:
        port = document.get(key)
        if isinstance(port, int) and taken.setdefault(port, key) != key:
            yield document.at_value(
                key, f"{port} is the port of {dotted(taken[port])} too", "write another one, or auto"
            )
    for key, secret_file in _ADDRESSES.items():
        address = document.get(key)
        if isinstance(address, str) and re.search(r"://[^/@\s]*:[^@\s]*@", address):
            yield document.at_value(key, "holds a password", f"put it into a file and name that in {secret_file}")


def has_site_file(start: Path) -> bool:
    """Whether ``find_site`` would find one."""
    folder = start.absolute()
    return any((candidate / SITE_FILE).is_file() for candidate in (folder, *folder.parents))


def find_site(start: Path) -> Path:
    """The site file of a folder: ai-how.yaml in it or in the nearest folder above.

    Raises:
        NotFoundError: there is none.
    """
    folder = start.absolute()
    for candidate in (folder, *folder.parents):
        if (candidate / SITE_FILE).is_file():
            return candidate / SITE_FILE
    raise NotFoundError(f"no {SITE_FILE} in {folder} or a folder above", next_step="ai-how init")
