"""A daemon by the book: forked twice, in a session of its own, in `/`, without any descriptor and
with an empty environment. The main process stays and does nothing."""

import os
import signal

import common

common.begin()
command = common.server()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.chdir("/")
        os.closerange(0, 4096)
        for descriptor in range(3):
            os.open(os.devnull, os.O_RDWR)
        os.execve(command[0], command, {})
    os._exit(0)
os.wait()
signal.pause()
