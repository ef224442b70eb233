"""What the programs in Python share: they write down who they are, and answer.

Every process records its own `/proc/self/stat` as a file of `PIDS` that is named by its process id,
so that a test knows all of them whatever they do to their names, environments and descriptors.
"""

import os
import socket
import sys


def fields(text):
    """State and start time, which stand behind the name in parentheses."""
    words = text[text.rindex(")") + 2:].split(" ")
    return words[0], words[19]


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def record(pids):
    pid = os.getpid()
    half = os.path.join(pids, f".{pid}")
    with open(half, "w", encoding="utf-8") as file:
        file.write(read("/proc/self/stat"))
    os.rename(half, os.path.join(pids, str(pid)))


def look_for_overlaps(pids):
    """Writes down whatever an earlier start left alive at this moment."""
    for name in os.listdir(pids):
        if not name.isdigit():
            continue
        try:
            state, start = fields(read(f"/proc/{name}/stat"))
            _, then = fields(read(os.path.join(pids, name)))
        except OSError:
            continue
        if start == then and state not in "ZX":
            with open(os.path.join(pids, "overlaps"), "a", encoding="utf-8") as file:
                file.write(f"{os.getpid()} began beside {name}\n")


def begin():
    """The first thing that the main process of a service does."""
    pids = os.environ["PIDS"]
    look_for_overlaps(pids)
    record(pids)
    return pids


def serve(port, generation):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(port)))
    listener.listen(16)
    body = f"{os.getpid()} {generation}\n"
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    while True:
        connection, _ = listener.accept()
        try:
            connection.recv(4096)
            connection.sendall((head + body).encode())
        except OSError:
            pass  # A client that went away is none of our business.
        connection.close()


def server():
    """The command line of `server.py`, which works in an empty environment."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "server.py")
    settings = [os.environ[name] for name in ("PIDS", "PORT", "GENERATION")]
    return [sys.executable, "-B", path, *settings]
