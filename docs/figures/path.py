#!/usr/bin/env python3
"""Draws docs/figures/path.svg: objective, proved bound, validation loss and neurons along λ.

    python3 docs/figures/path.py [BIDUAL]

BIDUAL is the program, by default target/release/bidual. Needs only the standard library.
"""

import json
import math
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
WORDS = "path examples/data/blood.csv --target target --points 20 --ratio 0.005 --json"

WIDTH, LEFT, RIGHT = 760, 64, 24
TOP, UPPER, BETWEEN, LOWER, BOTTOM = 62, 250, 34, 96, 52
OBJECTIVE, BOUND, VALIDATION, NEURONS, INK, GRID = (
    "#9ec3e6", "#0b4f8a", "#d1495b", "#8a8f98", "#24292f", "#e6e8eb")


def run(program):
    done = subprocess.run([program, *WORDS.split(), "--quiet"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"bidual {WORDS}: exit code {done.returncode} {done.stderr}")
    return json.loads(done.stdout)["points"]


class Drawing:
    def __init__(self, height):
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" font-family="Helvetica, Arial, sans-serif" font-size="13">',
            "<title>Objective, proved lower bound, validation loss and neurons along λ</title>",
            f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#ffffff"/>',
        ]

    def text(self, x, y, words, anchor="middle", colour=INK, more=""):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" {more}>{words}</text>')

    def line(self, x1, y1, x2, y2, colour, more=""):
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" {more}/>')

    def curve(self, points, colour, width):
        at = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{at}" fill="none" stroke="{colour}" stroke-width="{width}" '
                          'stroke-linejoin="round" stroke-linecap="round"/>')

    def dot(self, x, y, radius, colour, more=""):
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}" {more}/>')

    def bar(self, x, y, width, height, colour):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>')


def draw(points):
    height = TOP + UPPER + BETWEEN + LOWER + BOTTOM
    drawing = Drawing(height)
    first, last = (math.log(points[k]["lambda_fraction"]) for k in (0, -1))
    span = WIDTH - LEFT - RIGHT - 24

    def x(fraction):
        return LEFT + 12 + span * (math.log(fraction) - first) / (last - first)

    values = [p[key] for p in points for key in ("objective", "lower", "validation_loss")]
    low, high = (math.floor(50 * min(values)) / 50, math.ceil(50 * max(values)) / 50)

    def y(value):
        return TOP + UPPER * (high - value) / (high - low)

    most = 10 * math.ceil(max(p["neurons"] for p in points) / 10)
    base = TOP + UPPER + BETWEEN + LOWER

    # axes
    for k in range(round((high - low) * 50) + 1):
        value = low + k / 50
        drawing.line(LEFT, y(value), WIDTH - RIGHT, y(value), GRID)
        drawing.text(LEFT - 8, y(value) + 4, f"{value:.2f}", "end")
    for neurons in (0, most // 2, most):
        height_of = base - LOWER * neurons / most
        drawing.line(LEFT, height_of, WIDTH - RIGHT, height_of, GRID)
        drawing.text(LEFT - 8, height_of + 4, str(neurons), "end")
    for fraction in (1, 0.3, 0.1, 0.03, 0.01, 0.005):
        if math.log(fraction) >= last - 1e-9:
            drawing.text(x(fraction), base + 18, f"{fraction:g}")
            drawing.line(x(fraction), base, x(fraction), base + 5, INK)
    drawing.text(LEFT + 12 + span / 2, base + 40, "λ / λ_max (less weight decay to the right)")
    drawing.text(LEFT + 4, TOP + UPPER + BETWEEN - 8, "neurons of the network", "start", NEURONS)

    # data
    best = min(points, key=lambda p: p["validation_loss"])
    drawing.line(x(best["lambda_fraction"]), TOP, x(best["lambda_fraction"]), base, VALIDATION,
                 'stroke-dasharray="3 4"')
    def places(key):
        return [(x(p["lambda_fraction"]), y(p[key])) for p in points]
    for p in points:
        tall = LOWER * p["neurons"] / most
        drawing.bar(x(p["lambda_fraction"]) - 9, base - tall, 18, tall, NEURONS)
    drawing.curve(places("objective"), OBJECTIVE, 7)
    drawing.curve(places("validation_loss"), VALIDATION, 2)
    for at in places("lower"):
        drawing.dot(*at, 3, BOUND)

    # legend
    gap = max(p["relative_gap"] for p in points)
    entries = [(LEFT, "objective of the network", OBJECTIVE), (LEFT + 208, "proved lower bound", BOUND),
               (LEFT + 380, "validation loss (best at the dashed line)", VALIDATION)]
    drawing.text(LEFT, 24, f"blood.csv, {len(points)} values of λ: the largest relative gap is {gap:.1e}", "start",
                 more='font-size="15" font-weight="bold"')
    for at, words, colour in entries:
        if colour == BOUND:
            drawing.dot(at + 10, 42, 3, colour)
        else:
            drawing.line(at, 42, at + 20, 42, colour, f'stroke-width="{7 if colour == OBJECTIVE else 2}"')
        drawing.text(at + 28, 46, words, "start")
    return "\n".join(drawing.parts + ["</svg>", ""])


def main():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    program = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else target / "release" / "bidual").resolve()
    (ROOT / "docs" / "figures" / "path.svg").write_text(draw(run(program)), encoding="utf-8")


if __name__ == "__main__":
    main()
