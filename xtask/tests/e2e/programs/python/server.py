"""The child that serves: `server.py PIDS PORT GENERATION`."""

import sys

import common

common.record(sys.argv[1])
common.serve(sys.argv[2], sys.argv[3])
