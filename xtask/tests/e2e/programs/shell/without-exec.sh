#!/bin/sh
# Waits for its server, as most start scripts do.
"$LISTENER" bench-listen "$PORT"
echo "the server exited with $?"
