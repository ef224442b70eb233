"""A parent that runs its server with `subprocess`, which closes every descriptor, and that passes
no signal on."""

import subprocess
import sys

import common

common.begin()
sys.exit(subprocess.run(common.server(), check=False).returncode)
