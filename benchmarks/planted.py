"""Writes a table with a planted network: n Gaussian rows, d features x0, x1, ..., target y.

usage: python3 benchmarks/planted.py N D SEED FILE.csv

y is the sum of five ReLU neurons with unit directions and output weights of -1 or 1, plus Gaussian
noise of deviation 0.1. Only the Python standard library is needed.
"""

import math
import random
import sys


def main():
    n, d, seed, path = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    r = random.Random(seed)
    units = [[r.gauss(0, 1) for _ in range(d)] for _ in range(5)]
    units = [[w / math.sqrt(sum(v * v for v in u)) for w in u] for u in units]
    signs = [r.choice([-1, 1]) for _ in units]
    with open(path, "w") as f:
        f.write(",".join(f"x{j}" for j in range(d)) + ",y\n")
        for _ in range(n):
            x = [r.gauss(0, 1) for _ in range(d)]
            fits = [a * max(0, sum(p * q for p, q in zip(u, x))) for u, a in zip(units, signs)]
            y = sum(fits) + 0.1 * r.gauss(0, 1)
            f.write(",".join(f"{v:.6f}" for v in x) + f",{y:.6f}\n")


if __name__ == "__main__":
    main()
