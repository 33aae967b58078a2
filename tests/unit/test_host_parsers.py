"""Truncated and nonsense files give unknown, never a crash: for every reader, and for single parsers what must hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_network

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ai_how.host.doctor import Wanted, examine, judge
from ai_how.host.facts.cpu import observe_cpu
from ai_how.host.facts.limits import observe_limits
from ai_how.host.facts.memory import observe_memory
from ai_how.host.facts.mounts import mounts
from ai_how.host.facts.network import observe_network
from ai_how.host.facts.numa import observe_numa
from ai_how.host.facts.parse import cpu_list, kib_table, version
from ai_how.host.facts.routes import observe_routes, parse_fib_trie, parse_ipv6_route, parse_route
from ai_how.host.facts.sockets import observe_listeners, parse_sockets
from ai_how.host.facts.storage import observe_storage
from ai_how.host.facts.system import observe_system
from ai_how.host.report_junit import render_junit
from ai_how.host.root import Root

from ..host_trees import good_host, socket_line, tree

READERS: list[Callable[[Root], object]] = [
    observe_cpu,
    observe_limits,
    observe_memory,
    observe_numa,
    observe_network,
    observe_routes,
    observe_listeners,
    observe_system,
    mounts,
    lambda root: observe_storage(root, path="/srv"),
]
GOOD = good_host(cores=1, memory_gib=4)
PATHS = sorted(GOOD)
WANTED = Wanted(tier="production", subnet=ip_network("192.168.200.0/24"))

quick = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Root:
    return tree(tmp_path_factory.mktemp("good"), GOOD)


@contextmanager
def with_files(root: Root, broken: Mapping[str, bytes]) -> Iterator[None]:
    """Some of the tree's files replaced, for a while."""
    tree(root.path, broken)
    try:
        yield
    finally:
        tree(root.path, {path: GOOD[path] for path in broken})


@quick
@given(broken=st.dictionaries(st.sampled_from(PATHS), st.binary(max_size=60), min_size=1, max_size=6))
def test_nobody_falls_over_a_file_of_nonsense(good: Root, broken: dict[str, bytes]) -> None:
    with with_files(good, broken):
        report = examine(good, wanted=WANTED, disk_path="/srv", site_path="/srv")
    assert judge(report.facts, wanted=WANTED) == list(report.checks)
    assert render_junit(report.checks)


@quick
@given(path=st.sampled_from(PATHS), share=st.floats(0, 1))
def test_no_reader_falls_over_a_file_cut_short(good: Root, path: str, share: float) -> None:
    whole = GOOD[path].encode()
    with with_files(good, {path: whole[: int(len(whole) * share)]}):
        for read in READERS:
            read(good)


@given(st.text())
def test_parsers_take_any_text(text: str) -> None:
    parse_route(text)
    parse_ipv6_route(text)
    parse_fib_trie(text)
    parse_sockets(text, "tcp")
    kib_table(text)
    version(text)
    cpu_list(text)


@given(st.sets(st.integers(0, 8191)))
def test_a_list_of_processors_comes_back(numbers: set[int]) -> None:
    assert cpu_list(",".join(map(str, numbers))) == tuple(sorted(numbers))


@pytest.mark.parametrize("text", ["0-99999999999", "3-1", "a", "1-", "-1", "1-2-3", "99999999"])
def test_a_nonsense_list_of_processors_is_unknown(text: str) -> None:
    assert cpu_list(text) is None


@given(port=st.integers(0, 65535), inode=st.integers(0, 2**31))
def test_a_socket_comes_back(port: int, inode: int) -> None:
    (found,) = parse_sockets(socket_line(port, inode=inode), "tcp")
    assert (found.port, found.inode) == (port, inode)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)", (7, 2, 22)),
        ("libvirtd (libvirt) 9.0.0", (9, 0, 0)),
        ("ansible-playbook [core 2.14.18]\n  python version = 3.11.2", (2, 14, 18)),
        ("6.12.48+deb13-amd64", (6, 12, 48)),
        ("6.18.44-fc-v657", (6, 18, 44)),
        ("v1.2", (1, 2)),
        ("no number", None),
        ("", None),
    ],
)
def test_versions_as_programs_print_them(text: str, found: tuple[int, ...] | None) -> None:
    assert version(text) == found
