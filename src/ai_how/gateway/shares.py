"""Whose turn it is: requests dealt out by weight, smoothly and without chance. Pure.

Smooth weighted round robin, as nginx deals out requests to servers: of any hundred requests in a row, each revision
gets its share to within one request for each revision, and never many in a row.
"""

from __future__ import annotations

from collections.abc import Mapping

from ai_how.errors import SpecError


class Turns:
    """Deals out turns by ``shares``, percent by revision number."""

    def __init__(self, shares: Mapping[int, int]) -> None:
        self._shares = {number: share for number, share in sorted(shares.items()) if share > 0}
        self._credit = dict.fromkeys(self._shares, 0)

    def next(self) -> int:
        """The revision whose turn it is."""
        if len(self._shares) == 1:
            return next(iter(self._shares))
        for number, share in self._shares.items():
            self._credit[number] += share
        chosen = max(self._credit, key=lambda number: (self._credit[number], -number))
        self._credit[chosen] -= sum(self._shares.values())
        return chosen


def check_shares(shares: Mapping[int, int], *, numbers: frozenset[int]) -> dict[int, int]:
    """Shares for all revisions; one that is not named gets 0.

    Raises:
        SpecError: they do not add up to 100, are out of bounds, or name a revision that is not there.
    """
    unknown = sorted(set(shares) - numbers)
    if unknown:
        there = ", ".join(map(str, sorted(numbers)))
        raise SpecError(f"there is no revision {unknown[0]}", evidence=f"there are: {there}")
    if any(not 0 <= share <= 100 for share in shares.values()) or sum(shares.values()) != 100:
        said = ", ".join(f"{number}: {share}" for number, share in sorted(shares.items()))
        raise SpecError("the shares of an endpoint's revisions must add up to 100", evidence=said or "none is given")
    return {number: shares.get(number, 0) for number in numbers}
