#!/usr/bin/env python3
"""Counts what each topic must hold at the end, from the input files alone.

This is the pipeline of earthquakes.toml once more, in a few plain lines that share nothing with it:
if both come to the same numbers, neither of them lost, doubled or misplaced a record.

count.py [--json]
"""

import json
import sys
from collections import Counter
from pathlib import Path

INPUTS = ["earthquakes.ndjson", "malformed.ndjson"]
MINIMUM, MAJOR = 2.5, 5.0
REGIONS = {"Alaska": "alaska", "California": "california", "Puerto Rico": "puerto-rico"}
ABBREVIATED = {"CA": "California", "MX": "Mexico", "NV": "Nevada"}
OUTPUTS = [*REGIONS.values(), "elsewhere", "major", "bad"]


def topics(line):
    """The topics that a line of input ends up in, without the `quakes.` before each."""
    try:
        feature = json.loads(line)
    except ValueError:
        return ["bad"]
    if feature.get("type") != "Feature":
        return ["bad"]
    properties = feature["properties"]
    magnitude = properties["mag"]
    if isinstance(magnitude, str):
        return ["bad"]
    if magnitude is None or magnitude < MINIMUM:
        return []
    region = properties["place"].rpartition(",")[2].strip()
    region = REGIONS.get(ABBREVIATED.get(region, region), "elsewhere")
    return [region, "major"] if magnitude >= MAJOR else [region]


def main():
    folder = Path(__file__).parent
    lines = [line for name in INPUTS for line in (folder / name).read_bytes().splitlines()]
    counts = Counter(topic for line in lines for topic in topics(line))
    table = {"quakes": len(lines)} | {f"quakes.{name}": counts[name] for name in OUTPUTS}
    if sys.argv[1:] == ["--json"]:
        print(json.dumps(table))
    else:
        for topic, count in table.items():
            print(f"{topic:20}{count:>6}")


main()
