"""The stack section of the site file: every mistake once, at its line, with what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from ai_how.site.load import check_site_text, read_site_text

SITE = """\
name: lab
provider: libvirt
clusters:
  cloud:
    stack:
"""
CPU_ONLY = """\
    nodes:
      - role: control-plane
      - role: cpu-worker
"""


def mistakes(keys: str) -> list[str]:
    return [str(each) for each in check_site_text(SITE + keys, Path("ai-how.yaml"))[1]]


@pytest.mark.parametrize(
    ("keys", "line", "words"),
    [
        ("      domian: ai.example.org\n", 6, "did you mean domain?"),
        ("      domain: AI\n", 6, "write a domain, such as ai.example.org"),
        ("      enabled: maybe\n", 6, "write true or false"),
        ("      access: {type: nodeport}\n", 6, "did you mean node-port?"),
        ("      access: {https_port: 443}\n", 6, "write a whole number from 30000 to 32767"),
        ("      access: {http_port: 30443}\n", 6, "http_port and https_port must differ"),
        ("      access: {issuer: acme}\n", 6, "issuer: acme needs acme_email"),
        ("      access: {issuer: existing}\n", 6, "issuer: existing needs cluster_issuer"),
        ("      access: {acme_email: nobody}\n", 6, "write an e-mail address"),
        ("      object_store: {type: external}\n", 6, "needs endpoint_url and credentials_secret"),
        ("      object_store: {credentials_secret: s3}\n", 6, "are for type: external only"),
        ("      object_store: {size_gib: 100GB}\n", 6, "write 100"),
        ("      database: {type: external, url: 'postgresql://m@h/d'}\n", 6, "needs url and password_secret"),
        ("      database: {url: 'postgresql://m:secret@h/d'}\n", 6, "write postgresql://user@host:port/name"),
        ("      gpus: {time_slices: 4, mig: all-1g.10gb}\n", 6, "two ways to share a card"),
        ("      gpus: {mig: 1g.10gb}\n", 6, "write a profile, such as all-1g.10gb"),
        ("      values: {keda2: {a: 1}}\n", 6, "the stack has no chart of that name; did you mean keda?"),
        ("      images: {mlfow: a:1}\n", 6, "the stack has no image of that name; did you mean mlflow?"),
        ("      images: {mlflow: latest}\n", 6, "write an image with its tag or digest"),
        ("      gpus: {time_slices: 2}\n" + CPU_ONLY, 6, "the cluster has no GPU workers"),
    ],
)
def test_a_mistake_is_told_once_at_its_line(keys: str, line: int, words: str) -> None:
    found = [text for text in mistakes(keys) if words in text]
    assert len(found) == 1, mistakes(keys)
    assert found[0].startswith(f"ai-how.yaml:{line}:")


def test_only_cloud_clusters_have_a_stack() -> None:
    keys = "      domain: a.b\n  hpc:\n    kind: hpc\n    stack: {domain: a.b}\n"
    assert mistakes(keys) == [
        "ai-how.yaml:9:5: clusters.hpc.stack: is for clusters of kind cloud, hpc is hpc; remove it"
    ]


def test_a_stack_needs_kubernetes() -> None:
    keys = "      domain: a.b\n    kubernetes: {enabled: false}\n"
    assert mistakes(keys) == [
        "ai-how.yaml:5:5: clusters.cloud.stack: needs Kubernetes, which is left out; write kubernetes: {enabled: true}"
    ]
    assert mistakes("      enabled: false\n    kubernetes: {enabled: false}\n") == []


def test_a_password_in_an_address_is_not_shown() -> None:
    assert "secret" not in "\n".join(mistakes("      database: {url: 'postgresql://m:secret@h/d'}\n"))


def test_minio_is_warned_of() -> None:
    site, found, warnings = read_site_text(SITE + "      object_store: {type: minio}\n", Path("f"))
    assert (site is not None, found) == (True, [])
    (warning,) = warnings
    assert str(warning).startswith("f:6:") and "no longer maintained" in str(warning)


def test_nothing_need_be_written() -> None:
    site, found = check_site_text("name: lab\nprovider: libvirt\n", Path("f"))
    assert site is not None and not found
    stack = site.planned_clusters["cloud"].stack
    assert (stack.enabled, stack.object_store.type, stack.database.type) == (True, "seaweedfs", "cloudnative-pg")
    assert (stack.object_store.size_gib, stack.database.size_gib, stack.monitoring.size_gib) == (100, 20, 50)
