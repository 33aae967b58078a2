"""``ai-how kubeconfig``: the file that lets kubectl and others into a site's cluster."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ai_how.cli.next_step import say_next
from ai_how.cli.nodes import complete_cluster
from ai_how.cli.open_site import open_kubernetes
from ai_how.cli.options import output_option, site_option
from ai_how.cli.output import note, print_json
from ai_how.errors import NotFoundError, SpecError

if TYPE_CHECKING:
    from ai_how.kubernetes.cluster_of_site import SiteKubernetes
    from ai_how.kubernetes.kubeconfig import Kubeconfig
    from ai_how.kubernetes_api.kubeconfig import Access


@click.command()
@click.argument("cluster", required=False, shell_complete=complete_cluster)
@site_option
@output_option
@click.option("--path", "show_path", is_flag=True, help="Print the file's path alone.")
@click.option("--print", "show_text", is_flag=True, help="Print the file itself; it holds a key.")
@click.option("--merge", is_flag=True, help="Add the cluster to your own kubeconfig ($KUBECONFIG, ~/.kube/config).")
@click.option("--renew", is_flag=True, help="Fetch it again from the control plane, as when its certificate ends.")
def kubeconfig(
    cluster: str | None,
    site_path: Path | None,
    output: str,
    show_path: bool,
    show_text: bool,
    merge: bool,
    renew: bool,
) -> None:
    """Show the kubeconfig of CLUSTER: its file, context, address and end.

    CLUSTER may be left out where the site has one with Kubernetes. Your own
    kubeconfig is changed with --merge alone; `ai-how destroy` takes the cluster
    out of it again, and nothing else.

    \b
    Example:
      export KUBECONFIG=$(ai-how kubeconfig --path)
      ai-how kubeconfig cloud --merge
    """
    from ai_how.kubernetes.merging import Merge, user_kubeconfig

    if sum((show_path, show_text, merge, output == "json")) > 1:
        raise SpecError("--path, --print, --merge and -o json go one at a time", next_step="ai-how kubeconfig --help")
    provider = open_kubernetes(site_path)
    name = _cluster(provider.kubernetes, cluster)
    if renew:
        ours = provider.kubernetes.renew_kubeconfig(name, provider.clusters())
        note(f"fetched {ours.path}")
    else:
        ours = provider.kubernetes.kubeconfig(name)
    text = ours.text()
    if show_text:
        click.echo(text, nl=False)
        return
    access = ours.read()
    expired = access.expires is not None and access.expires <= datetime.now(UTC)
    if merge:
        into = user_kubeconfig()
        Merge(ours).add(into)
        click.echo(f"{into} has the context {ours.context}")
        say_next(f"kubectl --context {shlex.quote(ours.context)} get nodes")
    elif show_path:
        click.echo(ours.path)
    else:
        _show(name, ours, access, expired=expired, output=output)
    if expired:
        note("The client certificate has expired: the cluster does not let it in any more.")
        say_next(f"ai-how kubeconfig {name} --renew")


def _show(name: str, ours: Kubeconfig, access: Access, *, expired: bool, output: str) -> None:
    if output == "json":
        ends = None if access.expires is None else access.expires.isoformat()
        found = {"cluster": name, "path": ours.path, "context": ours.context, "server": access.server}
        print_json({**found, "expires": ends, "expired": expired})
        return
    ends = "unknown" if access.expires is None else f"{access.expires:%Y-%m-%d %H:%M} UTC"
    for title, value in (("file", ours.path), ("context", ours.context), ("server", access.server)):
        click.echo(f"{title + ':':<13}{value}")
    click.echo(f"{'certificate:':<13}{'ended' if expired else 'ends'} {ends}")
    if not expired:
        say_next(f"export KUBECONFIG={shlex.quote(str(ours.path))}    (or: ai-how kubeconfig --merge)")


def _cluster(kubernetes: SiteKubernetes, asked: str | None) -> str:
    """The cluster that is meant.

    Raises:
        NotFoundError: there is no such one, or none with Kubernetes.
        SpecError: there are several.
    """
    names = kubernetes.names
    if not names:
        raise NotFoundError(
            f"no cluster of site {kubernetes.site.name} has Kubernetes",
            next_step="write a cluster of kind: cloud, without kubernetes: {enabled: false}",
        )
    if asked is None and len(names) > 1:
        raise SpecError("several clusters have Kubernetes: say which", evidence=", ".join(names))
    if asked is not None and asked not in names:
        raise NotFoundError(f"cluster {asked!r} has no Kubernetes", evidence="with Kubernetes: " + ", ".join(names))
    return asked or names[0]
