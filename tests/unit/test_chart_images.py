"""Every way in which the objects of charts name images that run; and what only looks like one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.stack.chart_images import images_of

DIGEST = "sha256:" + "0f" * 32


def deployment(**container: Any) -> dict[str, Any]:
    pod = {"containers": [{"name": "main", **container}]}
    return {"kind": "Deployment", "metadata": {"name": "it"}, "spec": {"template": {"spec": pod}}}


@pytest.mark.parametrize(
    ("thing", "found"),
    [
        (deployment(image="quay.io/a/b:v1"), ("quay.io/a/b:v1",)),
        (deployment(image=f"a/b:v1@{DIGEST}"), (f"a/b:v1@{DIGEST}",)),
        (deployment(image="localhost:5000/b:1"), ("localhost:5000/b:1",)),
        (deployment(args=["--reloader=quay.io/a/reloader:v2", "--listen=:8080"]), ("quay.io/a/reloader:v2",)),
        (deployment(args=["--thanos-default-base-image=quay.io/thanos/thanos:v1"]), ()),
        (deployment(env=[{"name": "OPERATOR", "value": "ghcr.io/a/b:1.2"}]), ("ghcr.io/a/b:1.2",)),
        (deployment(args=["http://store.mlops.svc:9000/x", "kv://a/b:1", "a/b:1"]), ()),
        ({"kind": "Prometheus", "spec": {"image": "quay.io/p/p:v3"}}, ("quay.io/p/p:v3",)),
        (
            {"kind": "NginxProxy", "spec": {"image": {"repository": "ghcr.io/n/nginx", "tag": "2.6"}}},
            ("ghcr.io/n/nginx:2.6",),
        ),
        (
            {"kind": "ClusterPolicy", "spec": {"dcgm": {"repository": "nvcr.io/n", "image": "dcgm", "version": "4"}}},
            ("nvcr.io/n/dcgm:4",),
        ),
        (
            {"spec": {"dcgm": {"repository": "nvcr.io/n", "image": "dcgm", "version": DIGEST}}},
            (f"nvcr.io/n/dcgm@{DIGEST}",),
        ),
        (
            {"spec": {"driver": {"enabled": False, "repository": "nvcr.io/n", "image": "driver", "version": "5"}}},
            (),
        ),
        ({"spec": {"vgpu": {"repository": "", "image": "vgpu-manager", "version": ""}}}, ()),
        (
            {"kind": "ConfigMap", "data": {"init": json.dumps({"image": "kserve/init:v1", "memory": "1Gi"})}},
            ("kserve/init:v1",),
        ),
        ({"kind": "ConfigMap", "data": {"explainers": '{"image": "kserve/art", "x": 1}', "text": "{not JSON}"}}, ()),
        ({"kind": "CustomResourceDefinition", "spec": {"image": "a/b:1"}}, ()),
        ({"kind": "ClusterServingRuntime", "spec": {"containers": [{"image": "a/server:1"}]}}, ()),
    ],
)
def test_where_images_are_named(thing: dict[str, Any], found: tuple[str, ...]) -> None:
    assert images_of([thing]) == found


def test_each_is_named_once_in_the_order_of_names() -> None:
    things = [deployment(image="b/b:1"), deployment(image="a/a:1"), deployment(image="b/b:1")]
    assert images_of(things) == ("a/a:1", "b/b:1")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["image", "enabled"]), inner),
)


@given(st.dictionaries(st.text() | st.sampled_from(["image", "kind", "repository", "version"]), VALUES))
def test_anything_is_looked_through(thing: dict[str, Any]) -> None:
    assert all(isinstance(each, str) and each for each in images_of([thing]))
