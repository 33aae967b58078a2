"""What is made of ansible-runner's events: where each host is, which failure counts, what helps."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.kubernetes.progress import Failure, Progress, advance, message_of, read_event
from ai_how.kubernetes.progress_text import duration, progress_lines
from ai_how.kubernetes.remedies import REMEDIES, remedy_for


def event(kind: str, host: str = "", **data: object) -> dict[str, object]:
    return {"event": kind, "event_data": {"host": host, "task": "Do it", "role": "etcd", **data}}


def after(*events: dict[str, object]) -> Progress:
    progress = Progress()
    for one in events:
        progress = advance(progress, one)
    return progress


def failed(host: str, message: str = "no", **data: object) -> dict[str, object]:
    return event("runner_on_failed", host, res={"msg": message}, **data)


def stats(**counts: dict[str, int]) -> dict[str, object]:
    return {"event": "playbook_on_stats", "event_data": counts}


def test_each_host_has_its_own_place() -> None:
    progress = after(
        event("playbook_on_play_start", play="Install etcd"),
        event("runner_on_start", "b"),
        event("runner_on_ok", "a", res={"changed": True}),
        event("runner_on_skipped", "a"),
    )
    assert (progress.play, progress.hosts["b"].state) == ("Install etcd", "working")
    assert (progress.hosts["a"].tasks, progress.hosts["a"].changed) == (2, 1)


def test_only_what_nothing_caught_is_a_failure() -> None:
    progress = after(
        failed("a", "ignored", ignore_errors=True),
        failed("b", "caught by a rescue"),
        failed("c", "first of all"),
        failed("d", "caught, too"),
        failed("d", "the end of it"),
        event("runner_on_unreachable", "e", res={"msg": "gone", "unreachable": True}),
        stats(failures={"c": 1, "d": 1}, dark={"e": 1}, rescued={"b": 1}),
    )
    assert [(one.host, one.message) for one in progress.failures] == [
        ("c", "first of all"), ("d", "the end of it"), ("e", "gone")
    ]  # fmt: skip
    assert progress.failures[-1].unreachable


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (
            {"msg": "non-zero return code", "stderr": "E: locked", "stdout": "Reading"},
            "non-zero return code\nE: locked",
        ),
        ({"results": [{"failed": False, "msg": "a"}, {"failed": True, "msg": "b"}], "msg": "some failed"}, "b"),
        ({"msg": ["one", "two"]}, "one\ntwo"),
        ({}, "it says nothing"),
        ({"stdout": "only this"}, "only this"),
    ],
)
def test_a_message_is_what_explains(result: dict[str, object], message: str) -> None:
    assert message_of(result) == message


def test_a_long_message_keeps_its_beginning_and_its_end() -> None:
    lines = message_of({"msg": "\n".join(map(str, range(100)))}).splitlines()
    assert (lines[:2], lines[-1], len(lines)) == (["0", "..."], "99", 12)


KEYS = st.sampled_from(["host", "res", "results", "failed", "msg", "task"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)
KINDS = st.sampled_from(["runner_on_failed", "runner_on_ok", "playbook_on_stats", "playbook_on_task_start", "new"])


@given(st.lists(st.fixed_dictionaries({"event": KINDS, "event_data": JSON})))
def test_no_event_is_too_odd(events: list[dict[str, object]]) -> None:
    progress = after(*events)
    assert all(len(line) <= 80 for line in progress_lines(progress, elapsed_s=1))
    assert isinstance(progress.failures, tuple)


@pytest.mark.parametrize("line", ["", "{", "[1]", "null", '{"event": 1}', "ERROR! no such file"])
def test_other_lines_are_no_events(line: str) -> None:
    assert read_event(line) is None
    assert read_event(json.dumps({"event": "x"})) == {"event": "x"}


@pytest.mark.parametrize(
    ("task", "message", "words"),
    [
        ("Gathering", "Host key verification failed.", "another host key"),
        ("Gathering", "ai-how@1.2.3.4: Permission denied (publickey).", "does not accept the site's SSH key"),
        ("Gathering", "ssh: connect to host 1.2.3.4 port 22: No route to host", "start the machine"),
        ("Gathering", "Missing sudo password", "sudo -n true"),
        ("Pull image", "toomanyrequests: You have reached your pull rate limit", "containerd_registries_mirrors"),
        ("Download", "The checksum for /tmp/x did not match abc; it was def.", "damaged"),
        ("Install packages", "E: Could not get lock /var/lib/dpkg/lock-frontend", "unattended-upgrades"),
        ("Stop if memory is too small for control plane nodes", "Assertion failed", "memory_gib"),
        ("Start kubelet", "running with swap on is not supported", "swapoff"),
        ("Modprobe nf_conntrack", "modprobe: FATAL: Module nf_conntrack not found in directory", "linux-image-amd64"),
        ("Update apt", "Temporary failure resolving 'mirror.example.org'", "resolv.conf"),
        ("Copy", "[Errno 28] No space left on device", "disk of n1 is full"),
        ("Stop if ip var does not match local ips", "Assertion failed", "planned for it"),
        ("Drain", "Cannot evict pod as it would violate the pod's disruption budget.", "PodDisruptionBudget"),
        ("Wait", "x509: certificate has expired or is not yet valid", "clock"),
    ],
)
def test_a_known_failure_has_a_remedy(task: str, message: str, words: str) -> None:
    assert words in remedy_for(Failure(host="n1", task=task, role="", message=message))


def test_an_unknown_failure_has_none_and_every_remedy_is_tried() -> None:
    assert remedy_for(Failure(host="n1", task="x", role="", message="never seen")) == ""
    # one case above for each
    assert len(REMEDIES) == 15


def test_times_are_short_and_the_lines_fit() -> None:
    assert [duration(seconds) for seconds in (0, 59.9, 60, 3599, 3600, 7260)] == [
        "0s", "59s", "1m 00s", "59m 59s", "1h 00m", "2h 01m"
    ]  # fmt: skip
    progress = after(event("runner_on_start", "node-10", task="t" * 200), event("runner_on_ok", "node-9"))
    lines = progress_lines(progress, elapsed_s=65, expected_s=600)
    assert lines[0] == "1m 05s (about 10m 00s the last time)"
    assert [line.split()[0] for line in lines[1:]] == ["node-9", "node-10"]
    assert max(map(len, lines)) == 80
    assert "no earlier run" in progress_lines(progress, elapsed_s=1)[0]


def test_the_first_line_alone_says_where_a_play_is() -> None:
    play = {"event": "playbook_on_play_start", "event_data": {"play": "Install etcd"}}
    task = {"event": "playbook_on_task_start", "event_data": {"task": "Download item", "role": "download"}}
    assert progress_lines(after(play), elapsed_s=1)[0].endswith("Install etcd")
    assert progress_lines(after(play, task), elapsed_s=1)[0].endswith("Install etcd: download")


def test_of_a_long_line_the_end_is_shown() -> None:
    """A template that fails prints all of Kubespray's downloads before it says what it misses."""
    said = message_of({"msg": "an undefined variable: " + "x" * 9000 + " has no attribute '3.5.30'"})
    assert len(said) == 600 and said.startswith("an undefined") and said.endswith("has no attribute '3.5.30'")
