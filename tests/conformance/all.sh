#!/usr/bin/env bash
# Every suite against a fresh broker of the debug build, at port 9092; see README.md.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
status=0
suite() { .ci/with-broker --default-partitions "$1" -- tests/conformance/run.sh --suite "$2" || status=1; }
suite 4 tools
suite 4 kafka-python
suite 4 librdkafka
suite 3 rdkafka
exit "$status"
