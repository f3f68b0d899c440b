#!/usr/bin/env python3
"""Draws docs/figures/floor.svg: the objective over time of torch's and scikit-learn's networks, each run a line, and of
bidual, above the bound that bidual proves for every network.

    python3 docs/figures/floor.py EVERY.json

EVERY.json is written by `benchmarks/gradient.py every` into its working folder. Needs only the standard library.
"""

import json
import math
import pathlib
import sys

from path import BOUND, GRID, INK, LEFT, NEURONS, OBJECTIVE, RIGHT, ROOT, VALIDATION, WIDTH, Drawing

TALL, GAP, TOP = 220, 36, 100
LOW, HIGH = 1e-7, 1.0  # objective above the proved bound, relative
FIRST, LAST = 0.01, 30.0  # seconds


def main():
    every = json.loads(pathlib.Path(sys.argv[1]).read_text())
    panel = (WIDTH - LEFT - RIGHT - (len(every) - 1) * GAP) / len(every)
    drawing = Drawing(TOP + TALL + 32)
    drawing.parts[1] = "<title>Objective over time above the proved bound: bidual, torch, scikit-learn</title>"
    for k, (words, colour, width) in enumerate([("bidual", OBJECTIVE, 3), ("torch: Adam and SGD, 20 runs", VALIDATION, 1),
                                                ("scikit-learn's MLP, 6 runs", NEURONS, 1)]):
        drawing.line(LEFT + 230 * k, 24, LEFT + 20 + 230 * k, 24, colour, f'stroke-width="{width}"')
        drawing.text(LEFT + 28 + 230 * k, 28, words, "start")
    drawing.text(LEFT, 52, "objective above the proved lower bound (relative) against seconds; the floor is that bound:", "start", more='font-size="12"')
    drawing.text(LEFT, 68, "no network of any width lies below it", "start", more='font-size="12"')
    for k, (name, runs) in enumerate(every.items()):
        left, floor = LEFT + k * (panel + GAP), max(v for _, v in runs["lower"])

        def at(seconds, value):
            x = math.log(min(max(seconds, FIRST), LAST) / FIRST) / math.log(LAST / FIRST)
            y = math.log(min(max(value / floor - 1, LOW), HIGH) / LOW) / math.log(HIGH / LOW)
            return left + panel * x, TOP + TALL * (1 - y)

        def stairs(curve, colour, width):
            best, line = math.inf, []
            for seconds, value in curve:
                if value < best:
                    line += [at(seconds, best)] * (best < math.inf) + [at(seconds, value)]
                    best = value
            if line:
                drawing.curve(line + [at(LAST, best)], colour, width)

        drawing.text(left, TOP - 10, "{}, λ = {} λ_max".format(*name.rsplit(" ", 1)), "start", more='font-size="12" font-weight="bold"')
        for power in (0, -2, -4, -6):
            y = at(FIRST, floor * (1 + 10.0**power))[1]
            drawing.line(left, y, left + panel, y, GRID)
            if k == 0:
                drawing.text(left - 6, y + 4, f"1e{power}" if power else "1", "end", more='font-size="11"')
        for seconds in (0.01, 0.1, 1, 10):
            x = at(seconds, floor)[0]
            drawing.line(x, TOP + TALL, x, TOP + TALL + 4, INK)
            drawing.text(x, TOP + TALL + 18, f"{seconds:g}", more='font-size="11"')
        for curve in runs["torch"].values():
            stairs([(s, v) for s, v in curve if math.isfinite(v)], VALIDATION, 0.8)
        for curve in runs["sklearn"].values():
            stairs(curve, NEURONS, 0.8)
        stairs(runs["bidual"], OBJECTIVE, 3)
        drawing.line(left, TOP + TALL, left + panel, TOP + TALL, BOUND, 'stroke-width="4"')
    path = ROOT / "docs" / "figures" / "floor.svg"
    path.write_text("\n".join(drawing.parts + ["</svg>", ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
