"""A server that overwrites its arguments and its environment, as programs do that show a title, and
that nobody but root may look into. It is in a session of its own and has closed its descriptors."""

import ctypes
import os
import signal

import common

PR_SET_DUMPABLE = 4

pids = common.begin()
port, generation = os.environ["PORT"], os.environ["GENERATION"]
if os.fork() == 0:
    os.setsid()
    os.closerange(0, 4096)
    for descriptor in range(3):
        os.open(os.devnull, os.O_RDWR)
    words = common.read("/proc/self/stat").rsplit(")", 1)[1].split()
    # Fields 48 to 51 of proc_pid_stat(5); the first after the name is 3.
    arguments, arguments_end, environment, environment_end = map(int, words[45:49])
    ctypes.memset(arguments, ord("x"), arguments_end - arguments - 1)
    ctypes.memset(environment, 0, environment_end - environment)
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    common.record(pids)
    common.serve(port, generation)
signal.pause()
