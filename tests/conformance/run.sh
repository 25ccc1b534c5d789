#!/usr/bin/env bash
# Other projects' test suites against a running broker; see README.md.
# usage: run.sh [OPTION…] BOOTSTRAP
exec python3 -B "$(dirname "$0")/run.py" "$@"
