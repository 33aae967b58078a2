"""Stops a site, and removes it. Only what we made is ever touched."""

from __future__ import annotations

from ai_how.apply.provider import Say
from ai_how.apply.site_folder import remove_folder
from ai_how.local.marks import end_all, marked
from ai_how.local.provider import LocalProvider, remove_leftovers

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
    for name in provider.known_specs():
        # also of those that died with their supervisor
        remove_leftovers(provider.layout, name)
    return any_running


def remove_site(provider: LocalProvider) -> list[str]:
    """Remove the files of a stopped site; returns what was left because it is not ours."""
    layout = provider.layout
    layout.supervisor_socket.unlink(missing_ok=True)
    made = (layout.conf, layout.data, layout.endpoints, layout.run)
    return remove_folder(layout, *made)
