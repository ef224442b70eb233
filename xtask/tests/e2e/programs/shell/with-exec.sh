#!/bin/sh
# Becomes its server, as a start script should.
exec "$LISTENER" bench-listen "$PORT"
