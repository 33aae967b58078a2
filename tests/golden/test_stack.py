"""The stack of the resource requirements' layout, of other ways to build it, and of every example, as it is applied."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ai_how.kubernetes.yaml_text import yaml_text
from ai_how.releases import load_set
from ai_how.site.load import load_site
from ai_how.stack.part import Part
from ai_how.stack.stack import render_parts, render_stack
from tests.golden.conftest import ROOT, Golden
from tests.stacks import VARIANTS, setting

EXAMPLES = [path for path in sorted((ROOT / "examples").glob("*.yaml")) if "provider: libvirt" in path.read_text()]


def part_text(part: Part) -> str:
    head = f"{part.title} {part.version}".strip()
    return "".join(
        [
            *(
                yaml_text(
                    {
                        "release": chart.release,
                        "namespace": chart.namespace,
                        "repository": chart.repository,
                        "name": chart.name,
                        "version": chart.version,
                        "values": chart.values,
                    },
                    head=f"{head}: chart",
                )
                for chart in part.component.charts
            ),
            *(yaml_text(thing, head=head) for thing in part.component.objects),
        ]
    )


def summary(parts: tuple[Part, ...]) -> Iterator[str]:
    for part in parts:
        yield f"{part.name} {part.version}".rstrip()
        for chart in part.component.charts:
            yield f"  chart {chart.repository} {chart.name} {chart.version} in {chart.namespace}"
        for manifest in part.manifests:
            yield f"  manifest {manifest.url} sha256 {manifest.sha256 or 'not read'}"
        yield from (f"  image {name}" for name in part.images)
        yield from (f"  object {thing['kind']} {thing['metadata']['name']}" for thing in part.component.objects)
        for secret in part.component.secrets:
            keys = ", ".join(sorted({*secret.random, *secret.texts}))
            yield f"  secret {secret.namespace}/{secret.name}: {keys}"
        for pod in part.workloads:
            asked = f"{pod.request.cpu_m}m {pod.request.memory_mib}Mi"
            yield f"  pods {pod.name} x{pod.replicas} on {pod.place}: {asked}, ended at {pod.request.limit_mib}Mi"
        yield from (f"  volume {volume.name} {volume.size_gib}Gi x{volume.claims}" for volume in part.volumes)
        for awaited in part.component.awaited:
            yield f"  awaited {awaited.kind} {awaited.name} {awaited.condition}".rstrip()
        yield from (f"  address {each.title}: {each.url} {each.login}".rstrip() for each in part.addresses)
        for backup in part.backups:
            yield f"  backup {backup.kind} {backup.source} {', '.join(backup.items)}"
        yield from (f"  label of nodes with GPUs {name}={value}" for name, value in part.node_labels.items())
        yield from (f"  note {note}" for note in part.notes)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_applied(golden: Golden, variant: str) -> None:
    parts = render_parts(setting(variant))
    golden(f"tests/golden/stack/{variant}/summary.txt", "\n".join(summary(parts)) + "\n")
    for part in parts:
        # the document's layout whole; of the others what they change
        if part.component.objects or part.component.charts:
            text = part_text(part)
            file = f"tests/golden/stack/{variant}/{part.name}.yaml"
            first = ROOT / "tests/golden/stack/document" / f"{part.name}.yaml"
            if variant == "document" or not first.exists() or first.read_text(encoding="utf-8") != text:
                golden(file, text)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_stack_of_every_example(golden: Golden, example: Path) -> None:
    site = load_site(example)
    versions = load_set(site.release).versions
    lines = [
        line
        for name, cluster in site.planned_clusters.items()
        if cluster.kind == "cloud"
        for line in (f"cluster {name}", *summary(render_stack(site, name, versions)))
    ]
    golden(f"tests/golden/stack/examples/{example.stem}.txt", "\n".join(lines) + "\n")
