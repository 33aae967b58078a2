"""Whether a host's processor may run our guests."""

from __future__ import annotations

from urllib.parse import urlsplit

from ai_how.host.checks.kvm import kvm_usable
from ai_how.host.facts.kvm import observe_kvm
from ai_how.host.root import Root
from ai_how.machines.connection import open_connection


def guests_run(uri: str) -> bool:
    """Whether KVM may be used at a libvirt address: here, only where guests were seen to run.

    Another machine cannot be probed from here: what its libvirt offers is believed.
    """
    if urlsplit(uri).hostname:
        return "<domain type='kvm'>" in str(open_connection(uri).getCapabilities())
    return kvm_usable(observe_kvm(Root()))
