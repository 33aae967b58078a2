"""Which versions a cluster gets: those of its release set, with the site file's pins taken in. Pure but for the facts."""

from __future__ import annotations

from collections.abc import Mapping

from ai_how.errors import SpecError
from ai_how.site.kubernetes import Kubernetes


def versions_of(wanted: Kubernetes) -> Mapping[str, str]:
    """Versions by component.

    Raises:
        NotFoundError: there is no such release set, or a pin names a component that no file knows.
        SpecError: the pins do not go together with the rest of the set; the evidence names those that clash.
    """
    from ai_how.releases import Conflict, load_set, load_world, solve
    from ai_how.releases.pins import parse_pin

    chosen = load_set(wanted.release)
    if not wanted.pins:
        return chosen.versions
    world = load_world()
    pins = [world.resolve(parse_pin(text, "kubernetes.pins")) for text in wanted.pins]
    named = {pin.component for pin in pins}
    rest = [pin for pin in chosen.pins() if pin.component not in named]
    answer = solve([*pins, *rest], world=world, wanted=chosen.versions)
    if isinstance(answer, Conflict):
        clashes = [" and ".join(f"{pin} ({pin.origin})" for pin in core) for core in answer.cores]
        raise SpecError(
            f"the pins do not go together with release set {wanted.release}",
            evidence="\n".join(f"not together: {clash}" for clash in clashes),
            next_step=f"ai-how versions check {' '.join(f'--pin {text}' for text in wanted.pins)}",
        )
    return answer.versions
