"""What every component is rendered from."""

from __future__ import annotations

from dataclasses import dataclass

from ai_how.local.layout import Layout
from ai_how.local.ports import PortBook
from ai_how.local.secrets import Secrets
from ai_how.site.spec import Site


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The site, where its files lie, and the ports it may use."""

    site: Site
    layout: Layout
    secrets: Secrets
    ports: PortBook


def local_url(port: int) -> str:
    return f"http://127.0.0.1:{port}"
