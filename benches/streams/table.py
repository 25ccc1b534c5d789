"""Medians of the figures that run.sh has noted, as the table of docs/plugins.md."""

import statistics
import sys

rows = {}
for line in open(sys.argv[1]):
    row, side, figures = line.rstrip("\n").rsplit(",", 2)
    rows.setdefault(row, {}).setdefault(side, []).append([float(f) for f in figures.split()])

print("| pipeline, exactly once | Millstream | Kafka Streams | ratio |")
print("| --- | --: | --: | --: |")
medians = {
    row: {side: [statistics.median(f) for f in zip(*taken)] for side, taken in sides.items()}
    for row, sides in rows.items()
}
for row, sides in medians.items():
    ours, theirs = sides["millstream"], sides.get("streams")
    if row == "latency":
        for at, name in enumerate(["p50", "p99"]):
            ratio = theirs[at] / ours[at]
            print(f"| at 1,000/s, {name} | {ours[at]:.1f} ms | {theirs[at]:.1f} ms | {ratio:.0f} |")
        continue
    told = f"{theirs[0]:,.0f}/s | {ours[0] / theirs[0]:.1f}" if theirs else "|"
    print(f"| {row} | {ours[0]:,.0f}/s | {told} |")
