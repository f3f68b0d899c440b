#!/usr/bin/env python3
"""Draws docs/figures/gradient.svg: how far above the least objective found bidual and the best of
20 runs of torch are, over time.

    python3 docs/figures/gradient.py RACE.json

RACE.json is written by `benchmarks/gradient.py race` into its working folder. Needs only the
standard library.
"""

import json
import math
import pathlib
import sys

from path import GRID, INK, OBJECTIVE, ROOT, VALIDATION, Drawing

PANEL, TALL, GAP, LEFT, TOP = 212, 150, 30, 52, 70
LOW, HIGH = 1e-6, 1.0  # relative excess
FIRST, LAST = 0.01, 60.0  # seconds


def main():
    race = json.loads(pathlib.Path(sys.argv[1]).read_text())
    panels = list(race["curves"].items())
    rows = -(-len(panels) // 3)
    drawing = Drawing(TOP + rows * (TALL + 2 * GAP))
    drawing.parts[1] = "<title>Excess objective over time: bidual, and the best of 20 torch runs</title>"
    drawing.line(LEFT, 24, LEFT + 20, 24, OBJECTIVE, 'stroke-width="3"')
    drawing.text(LEFT + 28, 28, "bidual, no setting chosen", "start")
    drawing.line(LEFT + 220, 24, LEFT + 240, 24, VALIDATION, 'stroke-width="1.6"')
    drawing.text(LEFT + 248, 28, "best of 20 runs of Adam and SGD (its own seconds only)", "start")
    drawing.text(LEFT, 50, "objective above the least one known (relative) against seconds", "start", more='font-size="12"')
    for k, (name, curves) in enumerate(panels):
        left, top = LEFT + (k % 3) * (PANEL + 28), TOP + 20 + (k // 3) * (TALL + 2 * GAP)
        least = min(v for which in ("torch", "bidual") for _, v in curves[which])

        def at(seconds, value):
            x = math.log(min(max(seconds, FIRST), LAST) / FIRST) / math.log(LAST / FIRST)
            y = math.log(min(max(value / least - 1, LOW), HIGH) / LOW) / math.log(HIGH / LOW)
            return left + PANEL * x, top + TALL * (1 - y)

        drawing.text(left, top - 8, f"{name.rsplit(' ', 1)[0]}, λ = {name.rsplit(' ', 1)[1]} λ_max", "start",
                     more='font-size="12" font-weight="bold"')
        for power in (0, -2, -4, -6):
            y = at(FIRST, least * (1 + 10.0**power))[1]
            drawing.line(left, y, left + PANEL, y, GRID)
            if k % 3 == 0:
                drawing.text(left - 6, y + 4, f"1e{power}" if power else "1", "end", more='font-size="11"')
        for seconds in (0.01, 0.1, 1, 10, 60):
            x = at(seconds, least)[0]
            drawing.line(x, top + TALL, x, top + TALL + 4, INK)
            drawing.text(x, top + TALL + 16, f"{seconds:g}", more='font-size="11"')
        best, line = math.inf, []
        for seconds, value in curves["torch"]:
            best = min(best, value)
            line.append(at(seconds, best))
        drawing.curve(line, VALIDATION, 1.6)
        stairs, last = [], None
        for seconds, value in curves["bidual"]:
            if last is not None and value != last:
                stairs.append(at(seconds, last))
            if value != last:
                stairs.append(at(seconds, value))
            last = value
        stairs.append(at(LAST, last))
        drawing.curve(stairs, OBJECTIVE, 3)
    path = ROOT / "docs" / "figures" / "gradient.svg"
    path.write_text("\n".join(drawing.parts + ["</svg>", ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
