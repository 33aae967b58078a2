"""What to do about failures of Kubespray that users meet again and again. Pure; says nothing where it knows nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ai_how.kubernetes.progress import Failure


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """A failure that is known by its words, and what it takes; ``{host}`` is the node."""

    words: re.Pattern[str]
    remedy: str


def _remedy(words: str, remedy: str) -> Remedy:
    return Remedy(words=re.compile(words, re.IGNORECASE), remedy=remedy)


REMEDIES: tuple[Remedy, ...] = (
    _remedy(
        r"host key verification failed|remote host identification has changed",
        "{host} shows another host key than the one that is pinned: make sure that it is the machine that you mean",
    ),
    _remedy(r"permission denied \(publickey", "{host} does not accept the site's SSH key for this user"),
    _remedy(
        r"no route to host|connection timed out|connection refused|operation timed out|could not resolve hostname",
        "{host} does not answer: see ai-how status, start the machine, then: ai-how up",
    ),
    _remedy(
        r"missing sudo password|a password is required|sudo: .*not allowed|privilege escalation prompt",
        "the user on {host} must be able to become root without a password (sudo -n true)",
    ),
    _remedy(
        r"\b429\b|too ?many ?requests|pull rate limit",
        "the registry limits how often it may be asked: wait, or name a mirror or a login in kubernetes.extra_vars "
        "(containerd_registries_mirrors, containerd_registry_auth), then: ai-how up",
    ),
    _remedy(
        r"checksum.*(did not match|mismatch)|hash.*mismatch",
        "a download on {host} is damaged or was changed on its way: see whether a proxy answers, then: ai-how up",
    ),
    _remedy(
        r"could not get lock|dpkg frontend lock|unable to acquire the dpkg",
        "another program installs packages on {host}, often unattended-upgrades: wait for it, then: ai-how up",
    ),
    _remedy(
        r"memory is too small|minimal_(master|node)_memory_mb",
        "{host} has less memory than Kubespray takes: give it more memory_gib in the site file, then: ai-how up",
    ),
    _remedy(
        r"running with swap on is not supported|swap is (enabled|on)",
        "{host} has swap: sudo swapoff -a there, and take it out of /etc/fstab, then: ai-how up",
    ),
    _remedy(
        r"modprobe: fatal: module|module \S+ not found in directory|nf_conntrack",
        "the kernel of {host} lacks a module that Kubernetes needs: use Debian's linux-image-amd64, not a cut-down one",
    ),
    _remedy(
        r"temporary failure (in name resolution|resolving)|could not resolve|name or service not known",
        "{host} cannot resolve names: see its /etc/resolv.conf and its way to the internet",
    ),
    _remedy(r"no space left on device", "the disk of {host} is full: free space or give it more disk_gib"),
    _remedy(
        r"ip var does not match local ips|do not contain '",
        "{host} does not have the address that was planned for it: see ip address there, then: ai-how up",
    ),
    _remedy(
        r"disruption budget",
        "{host} cannot be drained, as a PodDisruptionBudget forbids it: add a replica elsewhere, then: ai-how up",
    ),
    _remedy(
        r"certificate has expired or is not yet valid|certificate is not yet valid",
        "the clock of {host} is wrong, or a certificate has expired: see timedatectl there",
    ),
)


def remedy_for(failure: Failure) -> str:
    """What to do about a failure; empty where it is not a known one."""
    text = f"{failure.task}\n{failure.message}"
    return next((one.remedy.format(host=failure.host) for one in REMEDIES if one.words.search(text)), "")
