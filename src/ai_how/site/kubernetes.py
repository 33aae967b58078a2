"""The part of a cluster's section that says how Kubernetes is set up on its nodes.

Owns the meaning of these keys. What spans several of them is ``kubernetes_rules``'; whether Kubespray knows the names
under ``extra_vars`` is only known with that Kubespray at hand, and checked there.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ai_how.site.section import Section

Subnet = Annotated[str, Field(pattern=r"^[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}$")]


class Kubernetes(Section):
    """How Kubernetes is set up on a cloud cluster's nodes, by Kubespray."""

    enabled: bool = True
    """Whether `ai-how up` sets it up; without it the cluster is machines alone."""
    pod_cidr: Subnet = "10.233.64.0/18"
    """IPv4 range of pods. Cannot be changed later."""
    service_cidr: Subnet = "10.233.0.0/18"
    """IPv4 range of services. Cannot be changed later."""
    kubespray_path: str | None = None
    """A folder with the Kubespray of the site's release set; default: its tag is fetched and verified."""
    download: Literal["nodes", "host"] = "nodes"
    """Who downloads files and images where there is no bundle: each node, or this host once for all of them."""
    bundle: str | None = None
    """A folder with a bundle (`ai-how bundle create`) for nodes without internet; default: a loaded one that fits."""
    bundle_server: Annotated[str, Field(pattern=r"^https?://[^/\s]+/?$")] | None = None
    """Where you serve the bundle yourself (`ai-how bundle serve`); default: ai-how does, on this host."""
    install_packages: bool = True
    """Whether Kubespray installs Debian packages on nodes, from their mirror; our images have all that it asks for."""
    extra_vars: dict[str, Any] = Field(default_factory=dict)
    """Kubespray variables, as they are; `up`, and `plan` with Kubespray at hand, refuse names that it does not have."""
