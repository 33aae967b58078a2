"""Asking a machine that has started whether it sees its cards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ai_how.errors import ProviderError
from ai_how.run.ssh import SshTarget, run_remote

_LIST = 'for d in /sys/bus/pci/devices/*; do echo "$(cat "$d/vendor") $(cat "$d/device") $(cat "$d/class")"; done'
_DISPLAY = "0x03"


def check_cards_seen(target: SshTarget, node: str, ids: Sequence[str]) -> str:
    """See that a machine has its cards on its bus; says so in words.

    Args:
        ids: ``10de:2230``, one entry a card.

    Raises:
        ProviderError: one is missing; the evidence says which display controllers it has.
    """
    done = run_remote(target, ["sh", "-c", _LIST])
    return judge_cards_seen(done.stdout, node, ids)


def judge_cards_seen(printed: str, node: str, ids: Sequence[str]) -> str:
    """As ``check_cards_seen``, from what the machine printed: a line of vendor, device and class a function. Pure."""
    rows = [words for line in printed.splitlines() if len(words := line.split()) == 3]
    there = Counter(f"{vendor.removeprefix('0x')}:{device.removeprefix('0x')}" for vendor, device, _ in rows)
    missing = Counter(ids) - there
    if missing:
        displays = [f"{vendor[2:]}:{device[2:]}" for vendor, device, code in rows if code.startswith(_DISPLAY)]
        raise ProviderError(
            f"{node} runs, but does not see its GPU {', '.join(sorted(missing.elements()))}",
            evidence=f"display controllers on its bus: {', '.join(displays) or 'none'}",
            next_step=f"see what its kernel says: ai-how logs {node}",
        )
    return f"sees {', '.join(ids)}"
