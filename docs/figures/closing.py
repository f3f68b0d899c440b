#!/usr/bin/env python3
"""Draws docs/figures/closing.svg: objective and proved bound of one fit as they close, and what
Adam reaches on the same objective.

    python3 docs/figures/closing.py [BIDUAL]

BIDUAL is the program, by default target/release/bidual. Needs numpy. Adam trains a network of 200
neurons on the same standardised features, λ and objective (mean loss and weight decay), full
batch, at five learning rates from one random start each; all five are drawn, the best one bold.
"""

import csv
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

from path import BOUND, INK, GRID, OBJECTIVE, ROOT, VALIDATION, WIDTH, LEFT, RIGHT, Drawing

DATA, FRACTION, WIDTH_OF_ADAM, STEPS = "examples/data/blood.csv", 0.03, 200, 20_000
TOP, TALL, BOTTOM = 84, 280, 52


def fit(program):
    with tempfile.TemporaryDirectory() as folder:
        history = pathlib.Path(folder, "history.csv")
        words = ["fit", DATA, "--target", "target", "--lambda", str(FRACTION), "--scope", "global",
                 "--history", str(history), "--json", "--quiet"]
        done = subprocess.run([program, *words], cwd=ROOT, capture_output=True, text=True)
        if not done.stdout:
            sys.exit(done.stderr)
        rows = list(csv.DictReader(history.open()))
    moments = [(float(r["seconds"]), float(r["upper"]), float(r["lower"])) for r in rows]
    return json.loads(done.stdout), moments


def adam(x, y, lam, rate, seed):
    """Loss along full-batch Adam: (seconds, objective) every 20 steps."""
    rng = np.random.default_rng(seed)
    n, d = x.shape
    m = WIDTH_OF_ADAM
    w = [rng.normal(size=(d + 1, m)) / np.sqrt(d + 1), rng.normal(size=m) / np.sqrt(m), np.zeros(1)]
    first, second = [np.zeros_like(v) for v in w], [np.zeros_like(v) for v in w]
    ones = np.hstack([x, np.ones((n, 1))])
    curve, started = [], time.perf_counter()
    for step in range(1, STEPS + 1):
        t = ones @ w[0]
        h = np.maximum(t, 0)
        margin = y * (h @ w[1] + w[2])
        if step % 20 == 1:
            value = np.logaddexp(0, -margin).mean() + lam / 2 * ((w[0] ** 2).sum() + (w[1] ** 2).sum())
            curve.append((time.perf_counter() - started, value))
        r = -y / (1 + np.exp(margin)) / n
        g = [ones.T @ (np.outer(r, w[1]) * (t > 0)) + lam * w[0], h.T @ r + lam * w[1], r.sum(keepdims=True)]
        rate_now = rate * (1 - step / (STEPS + 1))
        for k in range(3):
            first[k] = 0.9 * first[k] + 0.1 * g[k]
            second[k] = 0.999 * second[k] + 0.001 * g[k] ** 2
            hat = np.sqrt(second[k] / (1 - 0.999**step)) + 1e-8
            w[k] -= rate_now * first[k] / (1 - 0.9**step) / hat
    return curve


def main():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    program = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else target / "release" / "bidual").resolve()
    report, moments = fit(program)
    with open(ROOT / DATA, newline="") as f:
        rows = list(csv.reader(f))[1:]
    table = np.array([[float(v) for v in r] for r in rows])
    x, y = table[:, :-1], 2.0 * table[:, -1] - 1
    x = (x - x.mean(0)) / x.std(0)
    curves = [adam(x, y, report["lambda"], rate, seed) for seed, rate in enumerate((1e-3, 3e-3, 1e-2, 3e-2, 1e-1))]
    best = min(curves, key=lambda c: c[-1][1])

    height = TOP + TALL + BOTTOM
    drawing = Drawing(height)
    drawing.parts[1] = "<title>Objective and proved lower bound of one fit over time, and Adam's objective</title>"
    end = max(moments[-1][0], best[-1][0])
    low = min(report["lower"], 1e9)
    start = min(0.02, moments[0][0])
    low, high = low - 0.004, low + 0.03

    def at(seconds):
        span = np.log(end / start)
        return LEFT + (WIDTH - LEFT - RIGHT) * np.log(max(seconds, start) / start) / span

    def y_of(value):
        return TOP + TALL * (high - min(max(value, low), high)) / (high - low)

    for k in range(8):
        value = np.ceil(low * 200) / 200 + k / 200
        if value <= high:
            drawing.line(LEFT, y_of(value), WIDTH - RIGHT, y_of(value), GRID)
            drawing.text(LEFT - 8, y_of(value) + 4, f"{value:.3f}", "end")
    for seconds in (0.03, 0.1, 0.3, 1, 3, 10, 30, 100):
        if start <= seconds <= end:
            drawing.line(at(seconds), TOP + TALL, at(seconds), TOP + TALL + 5, INK)
            drawing.text(at(seconds), TOP + TALL + 20, f"{seconds:g} s")
    drawing.text((LEFT + WIDTH - RIGHT) / 2, TOP + TALL + 42, "time")

    def stairs(points):
        out = []
        for k, (seconds, value) in enumerate(points):
            if k:
                out.append((at(seconds), y_of(points[k - 1][1])))
            out.append((at(seconds), y_of(value)))
        out.append((WIDTH - RIGHT, y_of(points[-1][1])))
        return out

    for curve in curves:
        thin = curve is not best
        drawing.curve([(at(s), y_of(v)) for s, v in curve if v <= high], VALIDATION, 0.7 if thin else 2)
    drawing.curve(stairs([(s, u) for s, u, _ in moments]), OBJECTIVE, 6)
    drawing.curve(stairs([(s, l) for s, _, l in moments]), BOUND, 2)
    gap = report["relative_gap"]
    drawing.text(LEFT, 24, f"No network of any width can go below the dark line: relative gap {gap:.0e}", "start",
                 more='font-size="15" font-weight="bold"')
    ends = [100 * (c[-1][1] - report["objective"]) / report["objective"] for c in curves]
    entries = [(LEFT, "bidual's network", OBJECTIVE, 6), (LEFT + 150, "proved lower bound, all networks", BOUND, 2),
               (LEFT + 400, f"Adam, {WIDTH_OF_ADAM} neurons, 5 learning rates", VALIDATION, 1.6)]
    for left, words, colour, width in entries:
        drawing.line(left, 46, left + 20, 46, colour, f'stroke-width="{width}"')
        drawing.text(left + 28, 50, words, "start")
    drawing.text(WIDTH - RIGHT - 4, y_of(best[-1][1]) - 10, f"Adam ends {min(ends):.1g} to {max(ends):.1g} % above the optimum, and cannot know it", "end", VALIDATION)
    (ROOT / "docs" / "figures" / "closing.svg").write_text("\n".join(drawing.parts + ["</svg>", ""]), encoding="utf-8")
    print(f"bidual {report['objective']:.8f} >= {report['lower']:.8f} in {moments[-1][0]:.2f} s; Adam", [f"{c[-1][1]:.6f} in {c[-1][0]:.0f} s" for c in curves])


if __name__ == "__main__":
    main()
