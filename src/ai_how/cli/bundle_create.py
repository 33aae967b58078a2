"""What ``ai-how bundle create`` asks of the library: whose needs, and how they are shown beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import click

from ai_how.cli.output import human_bytes, note, print_json, print_table
from ai_how.errors import SpecError

if TYPE_CHECKING:
    from ai_how.bundles.create import Purpose
    from ai_how.bundles.manifest import Manifest
    from ai_how.bundles.needs import Needs
    from ai_how.bundles.plan import Item
    from ai_how.bundles.wanted import Wanted
    from ai_how.models.meter import Progress
    from ai_how.site.kubernetes import Kubernetes
    from ai_how.site.spec import Site


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of the command."""

    site_path: Path | None
    release: str | None
    platform: str
    pythons: tuple[str, ...]
    jobs: int


def make(asked: Asked, folder: Path, *, refresh: bool, progress: Progress) -> Manifest:
    """Make the bundle."""
    from ai_how.bundles.create import check_folder, create_bundle
    from ai_how.bundles.source import packed

    check_folder(folder, refresh=refresh)
    needs, purpose = _needs(asked, whole=True)
    with ExitStack() as stack:
        made = [] if needs.own_checkout else [stack.enter_context(packed(needs.checkout))]
        if needs.own_checkout:
            note("Kubespray's source is left out: the site file names a checkout of its own")
        return create_bundle(
            folder, needs.wanted, purpose, made=made, refresh=refresh, jobs=asked.jobs, progress=progress
        )


def dry_run_of(asked: Asked, folder: Path, output: str) -> None:
    """List what the bundle would hold; nothing is written."""
    from ai_how.bundles.create import earlier_manifest
    from ai_how.bundles.plan import find_all, total_bytes
    from ai_how.bundles.store import Store

    needs, _purpose = _needs(asked, whole=False)
    items = find_all(
        needs.wanted,
        platform=asked.platform,
        store=Store(folder),
        earlier=earlier_manifest(folder),
        stop=Event(),
        jobs=asked.jobs,
        tries=1,
    )
    size, unknown = total_bytes(items)
    if output == "json":
        print_json({"size_bytes": size, "unknown_sizes": unknown, "wanted": [_row(item) for item in items]})
        return
    rows = [(item.kind, _size(item), f"{item.name} {item.version}".strip()) for item in items]
    print_table(("KIND", "SIZE", "NAME"), rows)
    click.echo(f"\n{len(items)} things, {human_bytes(size)}" + (f" and {unknown} of unknown size" if unknown else ""))
    _tell_problems(items)


def _tell_problems(items: Sequence[Item]) -> None:
    """Why servers did not say, each reason once."""
    reasons = dict.fromkeys(item.problem.brief for item in items if item.problem)
    for reason in list(reasons)[:6]:
        note(f"  {reason}")


def _size(item: Item) -> str:
    size = item.size_bytes
    return ("have" if item.ready else human_bytes(size)) if size is not None else "unknown"


def _row(item: Item) -> dict[str, object]:
    return {
        "kind": item.kind,
        "name": item.name,
        "version": item.version,
        "source": item.source,
        "size_bytes": item.size_bytes,
        "digest": item.image.digest if item.image else next((part.digest for part in item.parts), ""),
        "there": item.ready is not None,
        "problem": item.problem.brief if item.problem else "",
    }


def _needs(asked: Asked, *, whole: bool) -> tuple[Needs, Purpose]:
    """What the bundle needs and is for; unless it must be ``whole``, what cannot be found out is only told."""
    from ai_how.bundles.create import Purpose
    from ai_how.bundles.needs import kubernetes_needs
    from ai_how.bundles.wanted import parse_platform
    from ai_how.bundles.wheels import running_python
    from ai_how.releases.sets import DEFAULT_SET
    from ai_how.site.load import SITE_FILE

    parse_platform(asked.platform)
    pythons = asked.pythons or (running_python(),)
    found = _of_site(asked.site_path, whole=whole) if asked.site_path else _of_release(asked.release or DEFAULT_SET)
    if asked.site_path and asked.release is not None:
        _check_release(asked.release, found[0], asked.site_path)
    release, versions, clusters, more = found
    site_folder = asked.site_path.parent if asked.site_path else None
    if asked.site_path is None and asked.release is None and Path(SITE_FILE).is_file():
        note(f"  {SITE_FILE} of this folder does not count: --site {SITE_FILE} makes the bundle for it")
    note(f"  asking Kubespray {versions['kubespray']} what it downloads")
    needs = kubernetes_needs(
        clusters, versions, platform=asked.platform, pythons=pythons, site_folder=site_folder, more=more
    )
    purpose = Purpose(release=release, versions=versions, platform=asked.platform, python=" ".join(pythons))
    return needs, purpose


def _check_release(named: str, of_site: str, path: Path) -> None:
    """A release beside a site file must be the site's: the file decides what is set up.

    Raises:
        NotFoundError: there is no such release set.
        SpecError: it is another one than the site file's.
    """
    from ai_how.releases.sets import load_set

    load_set(named)
    if named != of_site:
        raise SpecError(
            f"--release {named} is not the site's: {path} has release: {of_site}, which is what `ai-how up` sets up",
            next_step=f"leave --release out, or write release: {named} into the site file",
        )


_Found = tuple[str, Mapping[str, str], Sequence["Kubernetes"], Sequence["Wanted"]]


def _of_release(name: str) -> _Found:
    from ai_how.releases.sets import load_set
    from ai_how.site.kubernetes import Kubernetes

    return name, load_set(name).versions, [Kubernetes()], ()


def _of_site(path: Path, *, whole: bool) -> _Found:
    from ai_how.releases.conflict import Conflict
    from ai_how.releases.site_pins import clash, solve_site
    from ai_how.site.load import load_site

    site = load_site(path)
    clusters = {name: one.kubernetes for name, one in site.planned_clusters.items() if one.has_kubernetes}
    if not clusters:
        raise SpecError(f"site {site.name} has no cluster with Kubernetes", evidence=str(path))
    found = solve_site(site)
    if isinstance(found, Conflict):
        raise SpecError(clash(found), next_step=f"ai-how versions check --site {path}")
    return site.release, found.versions, list(clusters.values()), _of_stacks(site, found.versions, path, whole=whole)


def _of_stacks(site: Site, versions: Mapping[str, str], path: Path, *, whole: bool) -> Sequence[Wanted]:
    """What the stacks run; where that need not all be known, a word about what is not."""
    from ai_how.errors import AiHowError
    from ai_how.rollout.chart_images import wants_of_site
    from ai_how.stack.stack import render_stack
    from ai_how.stack.wants import stack_wants

    if not any(cluster.has_stack for cluster in site.planned_clusters.values()):
        return ()
    note("  asking Helm which images the stack's charts run")
    try:
        return wants_of_site(site, versions, site_folder=path.parent)
    except AiHowError as error:
        if whole:
            raise
        note(f"  not known: {error.brief}")
        found: dict[Wanted, None] = {}
        for name, cluster in site.planned_clusters.items():
            parts = render_stack(site, name, versions)
            found.update(dict.fromkeys(stack_wants(parts, own_helm=bool(cluster.stack.helm_path))))
        return tuple(found)
