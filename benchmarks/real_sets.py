#!/usr/bin/env python3
"""Certified networks and scikit-learn models on five real sets, on the same train and test rows.

    python3 benchmarks/real_sets.py --data DIR [--bidual PATH] [--splits N] [--sets a,b] [--out FILE]

DIR holds a folder a set: data.csv (header, last column `target`) and splits.json (named lists of
test rows). Prints Markdown tables; --out takes every raw number as JSON, and rows that are already
there are not run again. numpy and scikit-learn are installed into target/benchmark-venv where they
are missing.
"""

import argparse
import csv
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import warnings

ROOT = pathlib.Path(__file__).resolve().parent.parent
VENV = ROOT / "target" / "benchmark-venv"
ONE_SPLIT, TWENTY_SPLITS = "mishkin2022_seed1995", "gal_hernandez_lobato_20"

# The budget of each fit: set, splits, options of the ReLU fit, options of the gated fit.
SETTINGS = [
    ("breast-cancer-wisc-diag", ONE_SPLIT, "--lambda cv --scope sampled --time-limit 2m",
     "--lambda cv --time-limit 2m"),
    ("concrete", TWENTY_SPLITS, "--lambda cv --patterns 200 --time-limit 6m",
     "--lambda cv --patterns 200 --time-limit 4m"),
    ("chess-krvkp", ONE_SPLIT, "--lambda 0.01 --patterns 50 --time-limit 4m",
     "--lambda cv --patterns 200 --time-limit 4m"),
    ("spambase", ONE_SPLIT, "--lambda 0.01 --patterns 50 --time-limit 5m",
     "--lambda cv --patterns 200 --time-limit 4m"),
    ("kin8nm", TWENTY_SPLITS, "--lambda 0.01 --patterns 200 --time-limit 5m",
     "--lambda cv --patterns 200 --time-limit 4m"),
]
# The third fit of each set: ReLU at the same λ, on the patterns that a local search ends in.
SEARCHED = "--patterns gates.csv --time-limit 2m"
SEEDS = range(3)


def ensure_packages():
    """Continues in a virtual environment of its own where numpy or scikit-learn are missing."""
    try:
        import numpy, sklearn  # noqa: F401, E401
        return
    except ImportError:
        if pathlib.Path(sys.prefix) == VENV:
            raise
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "numpy", "scikit-learn"], check=True)
    sys.exit(subprocess.run([python, *sys.argv]).returncode)


def test_rows(folder, name, splits):
    """The test rows of the first `splits` splits; a set with a single split has just that."""
    rows = json.loads((folder / "splits.json").read_text())[name]["test"]
    return rows[:splits] if isinstance(rows[0], list) else [rows]


def score(target, predicted, classification):
    """Test accuracy in per cent, or root mean squared error."""
    import numpy as np
    if classification:
        return 100 * float(np.mean(target == predicted))
    return float(np.sqrt(np.mean((target - predicted) ** 2)))


def run_bidual(options, binary, train, test, target, classification):
    """Fits on the file `train`, predicts the file `test`; the raw JSON of the fit is kept."""
    model = train.parent / "model.safetensors"
    model.unlink(missing_ok=True)
    command = [binary, "fit", train, *options.split(), "-o", model]
    fit = subprocess.run(command, capture_output=True, text=True, cwd=train.parent)
    row = {"exit_code": fit.returncode}
    if fit.returncode not in (0, 1):
        return row | {"status": "failed", "error": fit.stderr.strip()}
    predict = subprocess.run([binary, "predict", model, test], capture_output=True, text=True)
    if predict.returncode != 0:
        return row | {"status": "failed", "error": predict.stderr.strip()}
    column = "label" if classification else "prediction"
    predicted = [float(line[column]) for line in csv.DictReader(io.StringIO(predict.stdout))]
    result = json.loads(fit.stdout)
    result.pop("files", None)
    return row | {"fit": result, "status": result["status"], "seconds": result["seconds"],
                  "test": [score(target, predicted, classification)]}


def peers(classification):
    """scikit-learn's models, a list of them (one a seed) under each name."""
    import numpy as np
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.linear_model import LogisticRegressionCV, RidgeCV
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def scaled(model):
        return make_pipeline(StandardScaler(), model)

    if classification:
        mlp = [scaled(MLPClassifier(max_iter=1000, random_state=seed)) for seed in SEEDS]
        return {"MLPClassifier": mlp, "LogisticRegressionCV": [scaled(LogisticRegressionCV(max_iter=1000))]}
    mlp = [scaled(TransformedTargetRegressor(MLPRegressor(max_iter=1000, random_state=seed),
                                             transformer=StandardScaler())) for seed in SEEDS]
    return {"MLPRegressor": mlp, "RidgeCV": [scaled(RidgeCV(np.logspace(-3, 3, 13)))]}


def run_peer(_, models, train, test, classification):
    started, scores = time.monotonic(), []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for model in models:
            model.fit(*train)
            scores.append(score(test[1], model.predict(test[0]), classification))
    from sklearn.exceptions import ConvergenceWarning
    slow = sum(issubclass(w.category, ConvergenceWarning) for w in caught)
    seconds = (time.monotonic() - started) / len(models)
    return {"status": "not converged" if slow else "", "seconds": seconds, "test": scores}


def run_local_search(_, lam, train, test, classification):
    """L-BFGS on the objective that the ReLU fit is certified for, over networks of 100 neurons.

    Minimises mean loss + λ/2 Σ (‖w‖² + b² + a²), whose minima have the value of
    mean loss + λ Σ ‖(w, b)‖ |a|, which is the value that is shown. Returns the neurons of the best
    run as well: on raw features, gᵀx ≥ t where a neuron is active.
    """
    import numpy as np
    from scipy.optimize import minimize
    started, neurons = time.monotonic(), 100
    (x, y), mean, spread = train, train[0].mean(0), train[0].std(0)
    spread[np.ptp(x, axis=0) == 0] = 1

    def inputs(x):
        return np.column_stack([(x - mean) / spread, np.ones(len(x))])

    def loss(f):
        if classification:
            sign = 2 * y - 1
            return np.mean(np.logaddexp(0, -sign * f)), -sign / (1 + np.exp(sign * f)) / len(y)
        return np.mean((f - y) ** 2) / 2, (f - y) / len(y)

    def parts(p):
        return p[:neurons * d].reshape(neurons, d), p[neurons * d:-1], p[-1]

    def objective(p):
        w, a, c = parts(p)
        hidden = np.maximum(z @ w.T, 0)
        value, slope = loss(hidden @ a + c)
        grad_w = (np.outer(slope, a) * (hidden > 0)).T @ z + lam * w
        gradient = np.concatenate([grad_w.ravel(), hidden.T @ slope + lam * a, [slope.sum()]])
        return value + lam / 2 * p[:-1] @ p[:-1], gradient

    z, runs = inputs(x), []
    d = z.shape[1]
    for seed in SEEDS:
        random = np.random.default_rng(seed)
        start = np.concatenate([random.normal(0, 0.3 / d ** 0.5, neurons * d), random.normal(0, 0.3, neurons),
                                [0 if classification else y.mean()]])
        found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000, "maxfun": 1500})
        w, a, c = parts(found.x)
        f = np.maximum(z @ w.T, 0) @ a + c
        value = loss(f)[0] + lam * np.sum(np.linalg.norm(w, axis=1) * abs(a))
        outputs = np.maximum(inputs(test[0]) @ w.T, 0) @ a + c
        predicted = (outputs > 0).astype(float) if classification else outputs
        active = w[np.linalg.norm(w, axis=1) * abs(a) > 1e-6 * abs(a).max() ** 2]
        gates = active[:, :-1] / spread
        gates = np.column_stack([gates, -active[:, -1] + gates @ mean])
        runs.append((float(value), score(test[1], predicted, classification), gates.tolist()))
    values, scores, gates = zip(*runs)
    return {"status": "", "seconds": (time.monotonic() - started) / len(runs),
            "objectives": values, "lambda": lam, "test": scores,
            "gates": gates[values.index(min(values))]}


def measure(name, split_name, budgets, args, rows):
    """Appends the rows of one set to `rows`; each says which split it is."""
    import numpy as np
    folder = args.data / name
    lines = (folder / "data.csv").read_text().splitlines()
    table = np.array([[float(v) for v in line.split(",")] for line in lines[1:]])
    x, y = table[:, :-1], table[:, -1]
    classification = len(np.unique(y)) == 2
    loss = "logistic" if classification else "squared"
    for split, test in enumerate(test_rows(folder, split_name, args.splits)):
        held_out = np.zeros(len(y), bool)
        held_out[test] = True
        common = {"splits": split_name, "n_train": int(np.sum(~held_out)),
                  "n_test": len(test), "d": x.shape[1], "score": "accuracy" if classification else "rmse"}

        def add(model, options, run, *given):
            """Appends the row of `model`: the one that is there already, or what `run` returns."""
            key = {"set": name, "split": split, "model": model, "options": options}
            for row in args.before:
                if all(row.get(k, "") == v for k, v in key.items()):
                    rows.append(row)
                    return row
            row = key | run(options, *given)
            rows.append(common | row)
            note = f"{row.get('test', row.get('error'))} {row.get('seconds', 0):.1f} s {row['status']}"
            print(f"{name} split {split}: {model}: {note}", file=sys.stderr, flush=True)
            if args.out:
                kept = rows + [r for r in args.before if r not in rows]
                args.out.write_text(json.dumps(args.about | {"results": kept}, indent=1) + "\n")
            return row

        data = (x[~held_out], y[~held_out]), (x[held_out], y[held_out])
        with tempfile.TemporaryDirectory() as place:
            files = [pathlib.Path(place) / f for f in ("train.csv", "test.csv")]
            for file, keep in zip(files, (~held_out, held_out)):
                chosen = [line for line, k in zip(lines[1:], keep) if k]
                file.write_text("\n".join([lines[0], *chosen]) + "\n")

            def fit(model, activation, budget):
                options = f"--target target --loss {loss} --activation {activation} {budget} --seed 0 --json"
                return add(model, options, run_bidual, args.bidual, *files, y[held_out], classification)

            relu = fit("bidual, relu", "relu", budgets[0])
            if "fit" in relu:
                lam = relu["fit"]["lambda"]
                found = add("local search", f"lambda {lam}", run_local_search, lam, *data, classification)
                gates = [lines[0].replace("target", "threshold")] + [",".join(map(str, g)) for g in found["gates"]]
                (pathlib.Path(place) / "gates.csv").write_text("\n".join(gates) + "\n")
                fit("bidual, relu, searched", "relu", f"--lambda abs:{lam} {SEARCHED}")
            fit("bidual, gated", "gated", budgets[1])
        for peer, models in peers(classification).items():
            add(peer, "", run_peer, models, *data, classification)


SCOPES = {"sampled": "{} sampled patterns", "gates": "{} gates", "complete": "all networks"}


def markdown(rows):
    """The table of results."""
    header = ["set", "split", "n × d", "model", "objective", "proved lower bound", "relative gap", "scope",
              "neurons", "λ/λ_max", "test", "seconds", "status"]
    lines = [header, ["---"] * len(header)]
    for row in rows:
        values = row.get("test")
        digits = 2 if row["score"] == "accuracy" else 4
        shown = "–"
        if values:
            shown = f"{sum(values) / len(values):.{digits}f}" + (" %" if digits == 2 else "")
            if len(values) > 1:
                shown += f" ({min(values):.{digits}f} to {max(values):.{digits}f})"
        proof = ["–"] * 6
        if fit := row.get("fit"):
            scope = SCOPES[fit["scope"]["kind"]].format(fit["scope"].get("patterns"))
            cv = fit.get("cross_validation")
            chosen = "" if cv is None else " (cv)" if cv["finished"] else " (cv cut short)"
            proof = [f"{fit['objective']:.7g}", f"{fit['lower']:.7g}", f"{fit['relative_gap']:.1e}", scope,
                     str(fit["neurons"]), f"{fit['lambda_fraction']:.2g}{chosen}"]
        if found := row.get("objectives"):
            proof[0] = f"{min(found):.7g}"
        seconds = f"{row['seconds']:.1f}" if "seconds" in row else "–"
        lines.append([row["set"], str(row["split"]), f"{row['n_train']} × {row['d']}", row["model"], *proof,
                      shown, seconds, row["status"].replace("_", " ") or "–"])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def settings(names):
    """The table of budgets."""
    lines = ["| set | splits | ReLU fit | gated fit |", "| --- | --- | --- | --- |"]
    lines += [f"| {s} | {p} | `{r}` | `{g}` |" for s, p, r, g in SETTINGS if s in names]
    lines += ["", f"The fits named *searched*: `--lambda abs:λ {SEARCHED}`, with the λ of the ReLU fit."]
    return "\n".join(lines)


def main():
    known = [s[0] for s in SETTINGS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder of the sets")
    parser.add_argument("--bidual", default=str(ROOT / "target" / "release" / "bidual"), help="the binary")
    parser.add_argument("--splits", type=int, default=1, help="splits of a set with many (default 1)")
    parser.add_argument("--sets", default=",".join(known), help="comma-separated (default: all five)")
    parser.add_argument("--out", type=pathlib.Path, help="JSON file of all raw numbers")
    args = parser.parse_args()
    names = args.sets.split(",")
    if unknown := [name for name in names if name not in known]:
        parser.error(f"unknown set {unknown[0]!r}; known are {', '.join(known)}")
    if missing := [name for name in names if not (args.data / name / "splits.json").is_file()]:
        parser.error(f"no {args.data / missing[0] / 'splits.json'}: --data must hold a folder a set")
    binary = shutil.which(args.bidual)
    if binary is None:
        parser.error(f"{args.bidual}: no such program; build it with `cargo build --release` or give --bidual")
    args.bidual = str(pathlib.Path(binary).resolve())
    if args.splits < 1:
        parser.error("--splits must be at least 1")
    version = subprocess.run([args.bidual, "--version"], capture_output=True, text=True, check=True)
    ensure_packages()
    import numpy, sklearn  # noqa: E401
    args.about = {"versions": {"bidual": version.stdout.split()[-1], "numpy": numpy.__version__,
                               "scikit-learn": sklearn.__version__, "python": sys.version.split()[0]}}
    args.before = json.loads(args.out.read_text())["results"] if args.out and args.out.exists() else []
    rows = []
    for name, split_name, *budgets in SETTINGS:
        if name in names:
            measure(name, split_name, budgets, args, rows)
    print(settings(names), markdown(rows), sep="\n\n")
    versions = ", ".join(f"{k} {v}" for k, v in args.about["versions"].items())
    seconds = sum(row.get("seconds", 0) * len(row.get("test", [0])) for row in rows)
    print(f"\n{versions}; {seconds / 60:.0f} minutes in all.")


if __name__ == "__main__":
    main()
