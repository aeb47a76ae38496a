#!/bin/sh
# In place of a trial: the Python of the tests runs the code in STAND_IN, with the words that the trial would have.
shift 2
exec "$REAL_PYTHON" -S -c "$STAND_IN" -m trial "$@"
