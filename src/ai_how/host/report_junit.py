"""The doctor's report for continuous integration: JUnit XML, one suite a group. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from xml.etree import ElementTree as ET

from ai_how.host.check import Check, Verdict

# what XML 1.0 cannot hold, not even escaped: a device's name may have any byte
_NOT_XML = re.compile(r"[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(checks: Sequence[Check]) -> str:
    """A failed check is a failure, an unknown one is skipped, a warning passes with its text in ``system-out``."""
    return render_junit_of({"": checks})


def render_junit_of(machines: Mapping[str, Sequence[Check]]) -> str:
    """As ``render_junit`` for several machines by name, whose names stand before the groups'."""
    everything = [check for checks in machines.values() for check in checks]
    suites = ET.Element("testsuites", {"name": "ai-how doctor", **_counts(everything)})
    for machine, checks in machines.items():
        for group, members in groupby(checks, key=lambda check: check.group):
            of_group = list(members)
            name = f"{machine}.{group}" if machine else group
            suite = ET.SubElement(suites, "testsuite", {"name": name, **_counts(of_group)})
            for check in of_group:
                _add(suite, check, name)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True)


def _counts(checks: Sequence[Check]) -> dict[str, str]:
    verdicts = [check.verdict for check in checks]
    return {
        "tests": str(len(verdicts)),
        "failures": str(verdicts.count(Verdict.FAIL)),
        "errors": "0",
        "skipped": str(verdicts.count(Verdict.UNKNOWN)),
    }


def _add(suite: ET.Element, check: Check, place: str) -> None:
    case = ET.SubElement(suite, "testcase", classname=f"doctor.{place}", name=_plain(check.id))
    brief = _plain(f"{check.title}: {check.found}, wanted {check.wanted}")
    detail = _plain("\n".join(part for part in (check.why, check.fix) if part))
    if check.verdict is Verdict.FAIL:
        ET.SubElement(case, "failure", message=brief, type="fail").text = detail
    elif check.verdict is Verdict.UNKNOWN:
        ET.SubElement(case, "skipped", message=brief).text = detail
    else:
        ET.SubElement(case, "system-out").text = f"{check.verdict.value}: {brief}"


def _plain(text: str) -> str:
    return _NOT_XML.sub("?", text)
