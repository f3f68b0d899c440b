#!/usr/bin/env python3
"""How time grows with the number of samples, features and patterns.

    growth.py --json FILE.json [--bidual PATH] [--threads 1] [--limit 60]

The gated program of a ReLU teacher: n normal rows in d dimensions and a column of ones, ten neurons, noise of
deviation 0.3 of the signal's, P random gates. One of n, d and P runs over two decades, the others stand at
2000, 20 and 500. λ = 0.01 λ_max, squared loss, until a relative gap of 1e-6 is proved (or for --limit seconds: such
a point is kept, marked, and left out of the slope). PATH is the example solve_gated. Medians of three solves, CPU
seconds of the solver alone. What FILE.json has already is not measured again; docs/figures/growth.py draws it.
Needs numpy.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import numpy as np

BASE = {"n": 2000, "d": 20, "P": 500}
RANGES = {"n": (200, 400, 1000, 2000, 4000, 10_000, 20_000), "d": (2, 5, 10, 20, 50, 100, 200),
          "P": (20, 50, 100, 200, 500, 1000, 2000)}
FRACTION, TOLERANCE, REPEATS = 0.01, 1e-6, 3


def instance(n, d, p):
    rng = np.random.default_rng([n, d, p])
    x = np.hstack([rng.standard_normal((n, d)), np.ones((n, 1))])
    signal = np.maximum(x @ rng.standard_normal((d + 1, 10)), 0) @ rng.standard_normal(10)
    y = signal / signal.std() + 0.3 * rng.standard_normal(n)
    gates = x @ rng.standard_normal((d + 1, p)) >= 0
    return x, y - y.mean(), gates


def measure(args, n, d, p):
    x, y, gates = instance(n, d, p)
    lam = FRACTION * np.linalg.norm(x.T @ (gates * y[:, None]), axis=0).max() / n
    with tempfile.TemporaryDirectory() as folder:
        files = [str(pathlib.Path(folder, f"{name}.npy")) for name in ("x", "y", "patterns")]
        for file, values in zip(files, (x, y, gates.astype(float))):
            np.save(file, values)
        command = [str(args.bidual), *files, "squared", repr(TOLERANCE), str(pathlib.Path(folder, "out.npy")), repr(float(lam)),
                   "--threads", str(args.threads), "--time-limit", repr(args.limit), "--repeat", str(REPEATS)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    seconds = float(np.median([line["cpu_seconds"] or line["seconds"] for line in lines]))
    return {"n": n, "d": d, "P": p, "seconds": seconds, "gap": lines[-1]["relative_gap"], "active": lines[-1]["active"],
            "certified": all(line["relative_gap"] <= TOLERANCE for line in lines)}


def slope(points, key):
    """Of log time against log size, over the points whose gap was proved."""
    closed = [(p[key], p["seconds"]) for p in points if p["certified"]]
    return float(np.polyfit(*np.log(np.array(closed)).T, 1)[0]) if len(closed) > 1 else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", required=True, type=pathlib.Path)
    parser.add_argument("--bidual", default="target/release/examples/solve_gated")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=float, default=60.0)
    args = parser.parse_args()
    known = json.loads(args.json.read_text()) if args.json.exists() else {}
    for key, values in RANGES.items():
        points = known.setdefault(key, {}).setdefault("points", [])
        for value in values:
            if any(point[key] == value for point in points):
                continue
            points.append(measure(args, *(BASE | {key: value}).values()))
            print(key, points[-1], flush=True)
            args.json.write_text(json.dumps(known, indent=1))
        known[key]["slope"] = slope(points, key)
        print(f"time grows as {key}^{known[key]['slope']:.2f}")
    args.json.write_text(json.dumps(known, indent=1))


if __name__ == "__main__":
    main()
