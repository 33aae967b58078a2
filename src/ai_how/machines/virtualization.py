"""How a host's guests run: by its processor where that may run ours, else emulated."""

from __future__ import annotations

from urllib.parse import urlsplit

from ai_how.host.checks.kvm import kvm_usable
from ai_how.host.facts.kvm import observe_kvm
from ai_how.host.root import Root
from ai_how.machines.connection import explained, open_connection
from ai_how.machines.types import Virtualization


def choose_virtualization(written: str, uri: str, *, kept: str | None) -> Virtualization:
    """As the site file says; ``auto`` keeps what a host's machines have, else asks whether guests really run.

    Args:
        written: The site file's word.
        kept: What the machines that are there have.
    """
    if written != "auto":
        return Virtualization(written)
    if kept is not None:
        return Virtualization(kept)
    return Virtualization.KVM if guests_run(uri) else Virtualization.EMULATED


def guests_run(uri: str) -> bool:
    """Whether KVM may be used at a libvirt address: here, only where guests were seen to run.

    Another machine cannot be probed from here: what its libvirt offers is believed.
    """
    if urlsplit(uri).hostname:
        with explained(f"ask {uri} what it can run"):
            return "<domain type='kvm'>" in str(open_connection(uri).getCapabilities())
    return kvm_usable(observe_kvm(Root()))
