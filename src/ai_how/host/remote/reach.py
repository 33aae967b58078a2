"""Sent to several machines at once and run there: each listens for the others and tries to reach them. Writes nothing.

Argument: JSON with ``name``, ``listen`` (address, then protocol and port pairs), ``peers`` (name, address, ports) and
``seconds``. Prints one line of JSON. Ends early when everybody was reached and was heard.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from typing import Any, Dict, List, Set, Tuple

MARK = "ai-how-reach:"
TRY_S = 2.0
PAUSE_S = 0.3
LINGER_S = 0.5
Key = Tuple[str, str, int]
"""A server's name, a protocol, a port."""


def main() -> None:
    wish = json.loads(sys.argv[1])
    deadline = time.monotonic() + wish["seconds"]
    heard: Set[Key] = set()
    bound, busy = listen(wish["listen"], heard)
    failed = call_all(wish, deadline)
    expected = {
        (peer["name"], protocol, port)
        for peer in wish["peers"]
        for protocol, port in peer["asks"]
        if [protocol, port] in bound
    }
    while time.monotonic() < deadline and not expected <= set(heard):
        time.sleep(PAUSE_S / 3)
    time.sleep(LINGER_S)
    rows = [[peer, protocol, port, why] for (peer, protocol, port), why in sorted(failed.items())]
    print("\n" + MARK + json.dumps({"failed": rows, "busy": busy}))


def listen(wish: dict[str, Any], heard: Set[Key]) -> Tuple[List[Any], List[Any]]:
    """Listen on what is free; which ports are, and which are not."""
    bound, busy = [], []
    for protocol, port in wish["ports"]:
        ear = socket.socket(socket.AF_INET, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, protocol == "tcp")
        try:
            ear.bind((wish["address"], port))
            if protocol == "tcp":
                ear.listen(64)
        except OSError:
            busy.append([protocol, port])
            continue
        bound.append([protocol, port])
        work = hear_tcp if protocol == "tcp" else hear_udp
        threading.Thread(target=work, args=(ear, port, heard), daemon=True).start()
    return bound, busy


def call_all(wish: dict[str, Any], deadline: float) -> Dict[Key, str]:
    """Try to reach all ports of all peers at once; why not, for those that were not reached."""
    failed: Dict[Key, str] = {}
    calls = []
    for peer in wish["peers"]:
        for protocol, port in peer["ports"]:
            work = call_tcp if protocol == "tcp" else call_udp
            place, key = (peer["address"], port), (peer["name"], protocol, port)
            calls.append(threading.Thread(target=work, args=(place, wish["name"], key, failed, deadline), daemon=True))
    for call in calls:
        call.start()
    for call in calls:
        call.join(max(0.0, deadline + 2 * TRY_S - time.monotonic()))
    return dict(failed)


def hear_tcp(ear: socket.socket, port: int, heard: Set[Key]) -> None:
    while True:
        try:
            line, _ = ear.accept()
        except OSError:
            continue
        with line:
            try:
                line.settimeout(TRY_S)
                name = line.recv(300).decode(errors="replace")
            except OSError:
                continue
            heard.add((name, "tcp", port))


def hear_udp(ear: socket.socket, port: int, heard: Set[Key]) -> None:
    while True:
        try:
            data, sender = ear.recvfrom(300)
            ear.sendto(b"ok", sender)
        except OSError:
            continue
        heard.add((data.decode(errors="replace"), "udp", port))


def call_tcp(place: Tuple[str, int], name: str, key: Key, failed: Dict[Key, str], deadline: float) -> None:
    while True:
        try:
            with socket.create_connection(place, timeout=TRY_S) as line:
                line.sendall(name.encode())
        except OSError as error:
            failed[key] = words_of(error)
        else:
            failed.pop(key, None)
            return
        if time.monotonic() >= deadline:
            return
        time.sleep(PAUSE_S)


def call_udp(place: Tuple[str, int], name: str, key: Key, failed: Dict[Key, str], deadline: float) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
        mouth.settimeout(PAUSE_S)
        while True:
            try:
                mouth.sendto(name.encode(), place)
                mouth.recvfrom(10)
            except OSError as error:
                failed[key] = words_of(error)
            else:
                failed.pop(key, None)
                return
            if time.monotonic() >= deadline:
                return
            time.sleep(PAUSE_S / 3)


def words_of(error: OSError) -> str:
    if isinstance(error, socket.timeout):
        return "no answer"
    return (error.strerror or str(error)).lower()


main()
