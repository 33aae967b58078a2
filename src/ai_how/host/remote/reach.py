"""Sent to several machines at once and run there: each listens for the others and tries to reach them. Writes nothing.

Argument: JSON with ``name``, ``listen`` (address, then protocol and port pairs), ``peers`` (name, address, ports) and
``seconds``. Prints one line of JSON. Ends early when everybody was reached and was heard.
"""

import json
import socket
import sys
import threading
import time

MARK = "ai-how-reach:"
TRY_S = 2.0
PAUSE_S = 0.3
LINGER_S = 0.5


def main():
    wish = json.loads(sys.argv[1])
    deadline = time.monotonic() + wish["seconds"]
    heard, busy, failed, guard = set(), [], {}, threading.Lock()
    bound = []
    for protocol, port in wish["listen"]["ports"]:
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        ear = socket.socket(socket.AF_INET, kind)
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, protocol == "tcp")
        try:
            ear.bind((wish["listen"]["address"], port))
            if protocol == "tcp":
                ear.listen(64)
        except OSError:
            busy.append([protocol, port])
            continue
        ear.settimeout(PAUSE_S)
        bound.append([protocol, port])
        work = hear_tcp if protocol == "tcp" else hear_udp
        threading.Thread(target=work, args=(ear, port, heard, guard), daemon=True).start()
    expected = {
        (peer["name"], protocol, port) for peer in wish["peers"] for protocol, port in peer["asks"] if [protocol, port] in bound
    }
    calls = []
    for peer in wish["peers"]:
        for protocol, port in peer["ports"]:
            work = call_tcp if protocol == "tcp" else call_udp
            place = (peer["address"], port)
            key = (peer["name"], protocol, port)
            calls.append(threading.Thread(target=work, args=(place, wish["name"], key, failed, deadline), daemon=True))
    for call in calls:
        call.start()
    for call in calls:
        call.join(max(0.0, deadline + TRY_S - time.monotonic()))
    while time.monotonic() < deadline:
        with guard:
            if expected <= heard:
                break
        time.sleep(PAUSE_S / 3)
    time.sleep(LINGER_S)
    rows = [[peer, protocol, port, why] for (peer, protocol, port), why in sorted(failed.items())]
    print("\n" + MARK + json.dumps({"failed": rows, "busy": busy}))


def hear_tcp(ear, port, heard, guard):
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
            with guard:
                heard.add((name, "tcp", port))


def hear_udp(ear, port, heard, guard):
    while True:
        try:
            data, sender = ear.recvfrom(300)
            ear.sendto(b"ok", sender)
        except OSError:
            continue
        with guard:
            heard.add((data.decode(errors="replace"), "udp", port))


def call_tcp(place, name, key, failed, deadline):
    while True:
        try:
            with socket.create_connection(place, timeout=TRY_S) as line:
                line.sendall(name.encode())
            failed.pop(key, None)
            return
        except OSError as error:
            failed[key] = words_of(error)
        if time.monotonic() >= deadline:
            return
        time.sleep(PAUSE_S)


def call_udp(place, name, key, failed, deadline):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
        mouth.settimeout(PAUSE_S)
        while True:
            try:
                mouth.sendto(name.encode(), place)
                mouth.recvfrom(10)
                failed.pop(key, None)
                return
            except OSError as error:
                failed[key] = words_of(error)
            if time.monotonic() >= deadline:
                return
            time.sleep(PAUSE_S / 3)


def words_of(error):
    if isinstance(error, socket.timeout):
        return "no answer"
    return (error.strerror or str(error)).lower()


main()
