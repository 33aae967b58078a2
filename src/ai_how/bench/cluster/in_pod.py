"""Runs inside a probe's pod: look-ups, an echo, round trips. Standard library of Python 3.9 only; prints JSON.

python3 -c SOURCE dns NAME COUNT
python3 -c SOURCE serve PORT SECONDS
python3 -c SOURCE ping HOST PORT COUNT
"""

from __future__ import annotations

import json
import socket
import sys
import time

CONNECT_WITHIN_S = 20
PAUSE_S = 0.01


def dns(name: str, count: int) -> list[float]:
    """Milliseconds of each look-up, as a program's own would take: the node's cache is in it, the first one too."""
    found = []
    for _ in range(count):
        began = time.perf_counter()
        socket.getaddrinfo(name, None)
        found.append((time.perf_counter() - began) * 1000)
        time.sleep(PAUSE_S)
    return found


def serve(port: int, seconds: float) -> None:
    """Send back what comes, one client after the other, until the time is over."""
    end = time.monotonic() + seconds
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("", port))
        listener.listen(4)
        while time.monotonic() < end:
            listener.settimeout(max(0.1, end - time.monotonic()))
            try:
                client, _ = listener.accept()
                with client:
                    _echo(client, end)
            except OSError:
                continue


def _echo(client: socket.socket, end: float) -> None:
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.settimeout(max(0.1, end - time.monotonic()))
    while True:
        data = client.recv(64)
        if not data:
            return
        client.sendall(data)


def ping(host: str, port: int, count: int) -> list[float]:
    """Milliseconds of each round trip of one byte over one TCP connection."""
    found = []
    with _connected(host, port) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(10)
        for _ in range(count):
            began = time.perf_counter()
            connection.sendall(b"x")
            if not connection.recv(1):
                raise OSError("the other side has closed the connection")
            found.append((time.perf_counter() - began) * 1000)
            time.sleep(PAUSE_S)
    return found


def _connected(host: str, port: int) -> socket.socket:
    end = time.monotonic() + CONNECT_WITHIN_S
    while True:
        try:
            return socket.create_connection((host, port), timeout=5)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def main(words: list[str]) -> None:
    """Do what the words say."""
    if words[0] == "serve":
        serve(int(words[1]), float(words[2]))
        return
    found = dns(words[1], int(words[2])) if words[0] == "dns" else ping(words[1], int(words[2]), int(words[3]))
    sys.stdout.write(json.dumps({"ms": found}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
