"""The versions of a site: its release set with its own pins in place, whether they fit, and what to write if not. Pure.

Only clusters have versions; of provider local ai-how brings its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from ai_how.errors import NotFoundError, SpecError
from ai_how.releases.conflict import Conflict, Solution, WayOut, read_pins, solve
from ai_how.releases.explain import explain
from ai_how.releases.files import load_world
from ai_how.releases.pins import make_pin, parse_version
from ai_how.releases.sets import filled, load_set
from ai_how.site.mistakes import Key, Mistake
from ai_how.site.spec import Site
from ai_how.site.yaml_lines import Document

STREAMS_SINCE = "0.23"
"""The oldest vLLM whose image was seen to carry the Run:ai streamer; source: its repository's docker/Dockerfile."""
_MOST_PINS = 5


def solve_site(site: Site) -> Solution | Conflict:
    """The site's release set, its pins in the place of the set's; or what clashes.

    Raises:
        SpecError, NotFoundError: there is no such set or component, or a pin cannot be read.
    """
    chosen = load_set(site.release)
    return solve(filled(read_pins(site.pins, load_world()), chosen.pins()), wanted=chosen.versions)


def pins_to_write(site: Site, conflict: Conflict) -> tuple[dict[str, str], ...]:
    """The site's pins after each way out; of those that leave out what the set has, none, for pins cannot say that."""
    return tuple(_pins_after(site, way) for way in conflict.ways_out if all(to for _, to in way.changes))


def _pins_after(site: Site, way: WayOut) -> dict[str, str]:
    world, of_set = load_world(), load_set(site.release).versions
    names = {world.resolve(make_pin(name, text)).component: name for name, text in site.pins.items()}
    pins = dict(site.pins)
    for pin, to in way.changes:
        name = names.get(pin.component, pin.component)
        pins.pop(name, None)
        if to and to != of_set.get(pin.component):
            pins[name] = to
    return pins


def clash(conflict: Conflict) -> str:
    """The first clash and where it leads, in a sentence without a full stop."""
    pins = " and ".join(str(pin) for pin in conflict.cores[0])
    return f"{pins} do not go together: {explain(conflict)[0][-1].text.removeprefix('so ')}"


def ways_in_words(site: Site, conflict: Conflict) -> tuple[str, ...]:
    """What to write, one way out each; of ways with many pins only how many, as nobody writes those by hand."""
    ways = pins_to_write(site, conflict)
    return tuple(
        f"write {pins_line(pins)}" if len(pins) <= _MOST_PINS else f"give {len(pins)} components other versions"
        for pins in ways
    )


def pins_line(pins: dict[str, str]) -> str:
    """The line of a site file that holds pins; versions in quotes, as 1.30 would be read as the number 1.3."""
    inside = ", ".join(f'{name}: "{text}"' for name, text in pins.items())
    return f"pins: {{{inside}}}" if pins else "no pins"


def version_mistakes(site: Site, document: Document) -> Iterator[Mistake]:
    """What is wrong with a site's release and pins, each at its line."""
    try:
        load_set(site.release)
    except NotFoundError as error:
        yield document.at_value(("release",), error.brief, error.evidence)
        return
    wrong = False
    for name, text in site.pins.items():
        try:
            read_pins({name: text}, load_world())
        except (SpecError, NotFoundError) as error:
            wrong = True
            yield document.at_value(("pins", name), error.brief, error.evidence or error.next_step)
    if wrong:
        return
    answer = solve_site(site)
    if isinstance(answer, Conflict):
        at: Key = ("pins",) if site.pins else ("release",)
        yield document.at_key(at, clash(answer), " or ".join(ways_in_words(site, answer)))
    elif site.serving.loader == "streamer" and not streams(vllm := answer.versions["vllm"]) and site.clusters:
        problem = f"streamer is not for vLLM {vllm}: its image is known to carry it from {STREAMS_SINCE} on"
        yield document.at_value(("serving", "loader"), problem, "take the current release set, or leave it out")


def streams(vllm: str) -> bool:
    """Whether vLLM's image of a version is known to carry the streamer."""
    return parse_version(vllm) >= parse_version(STREAMS_SINCE)
