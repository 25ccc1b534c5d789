#!/usr/bin/env bash
# Foreign clients against a running broker; see README.md.
# usage: run.sh BOOTSTRAP [CLIENT…]
exec python3 -B "$(dirname "$0")/run.py" "$@"
