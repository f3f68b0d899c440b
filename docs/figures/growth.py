#!/usr/bin/env python3
"""Draws docs/figures/growth.svg: time against samples, features and patterns, on log axes.

    python3 docs/figures/growth.py GROWTH.json

GROWTH.json is written by `benchmarks/growth.py`. Needs only the standard library.
"""

import json
import math
import pathlib
import sys

from path import GRID, INK, OBJECTIVE, ROOT, VALIDATION, Drawing

PANEL, TALL, GAP, LEFT, TOP = 200, 200, 40, 52, 50
NAMES = {"n": "samples n", "d": "features d", "P": "patterns P"}


def main():
    known = json.loads(pathlib.Path(sys.argv[1]).read_text())
    every = [p["seconds"] for panel in known.values() for p in panel["points"]]
    low, high = 10 ** math.floor(math.log10(min(every))), 10 ** math.ceil(math.log10(max(every)))
    drawing = Drawing(TOP + TALL + 32)
    drawing.parts[1] = "<title>Time to a proved gap of 1e-6 against the size of the problem</title>"
    drawing.text(LEFT, 20, "seconds until a relative gap of 1e-6 is proved, one thread", "start", more='font-size="12"')
    for k, (key, panel) in enumerate(known.items()):
        left = LEFT + k * (PANEL + GAP)
        sizes = [p[key] for p in panel["points"]]

        def at(size, seconds):
            x = math.log(size / min(sizes)) / math.log(max(sizes) / min(sizes))
            y = math.log(seconds / low) / math.log(high / low)
            return left + PANEL * x, TOP + TALL * (1 - y)

        title = f"{NAMES[key]}: slope {panel['slope']:.2f}"
        drawing.text(left, TOP - 10, title, "start", more='font-size="12" font-weight="bold"')
        seconds = low
        while seconds <= high * 1.01:
            y = at(min(sizes), seconds)[1]
            drawing.line(left, y, left + PANEL, y, GRID)
            if k == 0:
                drawing.text(left - 6, y + 4, f"{seconds:g}", "end", more='font-size="11"')
            seconds *= 10
        for size in sizes[::2]:
            x = at(size, low)[0]
            drawing.line(x, TOP + TALL, x, TOP + TALL + 4, INK)
            drawing.text(x, TOP + TALL + 16, f"{size:,}", more='font-size="11"')
        drawing.curve([at(p[key], p["seconds"]) for p in panel["points"]], OBJECTIVE, 2)
        for point in panel["points"]:
            drawing.dot(*at(point[key], point["seconds"]), 3.5, OBJECTIVE if point["certified"] else VALIDATION)
    path = ROOT / "docs" / "figures" / "growth.svg"
    path.write_text("\n".join(drawing.parts + ["</svg>", ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
