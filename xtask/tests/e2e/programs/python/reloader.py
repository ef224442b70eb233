"""A reloader, as `uvicorn --reload` is one: it ends its server and starts another one when a file
changes. Every second one is in a session of its own."""

import os
import subprocess
import time

import common

pids = common.begin()
touched = os.path.join(pids, "touched")


def version():
    try:
        return os.stat(touched).st_mtime_ns
    except FileNotFoundError:
        return 0


count = 0
while True:
    seen = version()
    child = subprocess.Popen(common.server(), start_new_session=count % 2 == 1)
    while version() == seen and child.poll() is None:
        time.sleep(0.01)
    if child.poll() is not None:
        raise SystemExit(child.returncode)
    child.terminate()
    child.wait()
    count += 1
