"""Networks proved globally optimal on real tables: one row a fit.

usage: python3 benchmarks/global_tables.py --bidual BINARY --data DIR --out FILE.md
       [--lambdas 0.3,0.1] [--jobs 1] [--threads 2] [--limit SECONDS] [--only SET,SET]

DIR holds a folder per set with data.csv (header, numeric, last column "target";
classes 0..c-1 or a real number). Real targets are scaled to mean 0 and standard
deviation 1; for classes the first one is -1 and all others are +1.
Only the Python standard library is needed.
"""

import argparse
import concurrent.futures
import csv
import itertools
import json
import pathlib
import statistics
import subprocess
import tempfile

SETS = {  # rank without bias, classes?
    "blood": (4, True),
    "power-plant": (4, False),
    "mammographic": (5, True),
    "airfoil": (5, False),
    "yacht": (6, False),
}


def table(source, classes, target):
    with open(source, newline="") as f:
        header, *rows = list(csv.reader(f))
    y = [float(r[-1]) for r in rows]
    if classes:
        y = [1.0 if v > 0 else -1.0 for v in y]
    else:
        mean, scale = statistics.fmean(y), statistics.pstdev(y)
        y = [(v - mean) / scale for v in y]
    with open(target, "w", newline="") as f:
        out = csv.writer(f)
        out.writerow(header[:-1] + ["target"])
        out.writerows(r[:-1] + [repr(v)] for r, v in zip(rows, y))
    return len(rows)


def fit(args, job, path):
    name, loss, bias, fraction = job
    rank = SETS[name][0] + (bias != "none")
    tolerance, limit = (1e-6, 120) if rank <= 5 else (1e-5, 300) if rank == 6 else (1e-4, 600)
    command = [args.bidual, "fit", str(path), "--target", "target", "--loss", loss, "--bias", bias]
    command += ["--lambda", str(fraction), "--scope", "global", "--tolerance", str(tolerance)]
    command += ["--time-limit", f"{args.limit or limit}s", "--threads", str(args.threads), "--json"]
    run = subprocess.run(command, capture_output=True, text=True)
    if not run.stdout.strip():
        raise SystemExit(f"{' '.join(command)}\n{run.stderr}")
    return json.loads(run.stdout), rank


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bidual", required=True)
    parser.add_argument("--data", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--lambdas", default="0.3,0.1")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float)
    parser.add_argument("--only")
    args = parser.parse_args()
    names = args.only.split(",") if args.only else list(SETS)
    with tempfile.TemporaryDirectory() as folder:
        paths, samples = {}, {}
        for name in names:
            paths[name] = pathlib.Path(folder, f"{name}.csv")
            samples[name] = table(args.data / name / "data.csv", SETS[name][1], paths[name])
        jobs = [
            (name, loss, bias, float(fraction))
            for name in names
            for loss in ["squared"] + ["logistic"] * SETS[name][1]
            for bias, fraction in itertools.product(
                ["none", "penalised", "free"], args.lambdas.split(",")
            )
        ]
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            results = list(pool.map(lambda job: fit(args, job, paths[job[0]]), jobs))
    lines = [
        "| set | n | rank | loss | hidden bias | λ/λ_max | width | objective | relative gap | cones | s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (name, loss, bias, fraction), (r, rank) in zip(jobs, results):
        gap = "–" if r["relative_gap"] is None else f"{r['relative_gap']:.1e}"
        lines.append(
            f"| {name} | {samples[name]} | {rank} | {loss} | {bias} | {fraction} | {r['neurons']} "
            f"| {r['objective']:.8f} | {gap} | {r['cones']:,} | {r['seconds']:.1f} |"
        )
    args.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
