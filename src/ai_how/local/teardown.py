"""Stops a site, and removes it. Only what we made is ever touched."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from ai_how.local.layout import Layout
from ai_how.local.marks import end_all, marked
from ai_how.local.provider import LocalProvider, remove_leftovers

Say = Callable[[str], None]

# the gateway first, so that requests in flight finish while the engines still run; the watchdog before all,
# so that it does not bring back what is being stopped
_ORDER = ("watchdog", "gateway")
_LAST = ("registry", "database", "object-store")


def stop_site(provider: LocalProvider, say: Say) -> bool:
    """Stop every process of the site and keep all data; returns whether anything was running."""
    supervisor = provider.supervisor
    any_running = False
    if supervisor.alive():
        any_running = True
        names = list(supervisor.processes())
        between = [name for name in names if name not in (*_ORDER, *_LAST)]
        for name in (*_ORDER, *sorted(between), *_LAST):
            if name in names:
                say(f"stopping {name}")
                supervisor.remove(name)
                remove_leftovers(provider.layout, name)
        say("stopping supervisor")
        supervisor.stop()
    left = marked(str(provider.layout.root))
    if left:
        any_running = True
        say(f"ending {len(left)} process(es) that nobody watches any more")
        end_all(left, grace_s=10)
    return any_running


def remove_site(provider: LocalProvider) -> list[str]:
    """Remove the files of a stopped site; returns what was left because it is not ours."""
    layout = provider.layout
    for path in _made(layout):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    layout.supervisor_socket.unlink(missing_ok=True)
    foreign = sorted(path.name for path in layout.root.iterdir()) if layout.root.exists() else []
    if not foreign and layout.root.exists():
        layout.root.rmdir()
        parent = layout.root.parent
        if parent.name == ".ai-how" and not any(parent.iterdir()):
            parent.rmdir()
    return foreign


def _made(layout: Layout) -> list[Path]:
    return [
        layout.secrets,
        layout.conf,
        layout.logs,
        layout.data,
        layout.endpoints,
        layout.cache,
        layout.reports,
        layout.run,
        layout.events,
        layout.root / ".gitignore",
        layout.lock,
        layout.state,
    ]
