"""A server with workers in sessions of their own, as PostgreSQL's backends are. It ends on SIGTERM
without a word to them."""

import os
import signal

import common

WORKERS = 3

pids = common.begin()
for _ in range(WORKERS):
    if os.fork() == 0:
        os.setsid()
        common.record(pids)
        signal.pause()
        os._exit(0)
common.serve(os.environ["PORT"], os.environ["GENERATION"])
