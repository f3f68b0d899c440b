#!/usr/bin/env python3
"""Certified networks and scikit-learn models on five real sets, on the same train and test rows.

    python3 benchmarks/real_sets.py --data DIR [--bidual PATH] [--splits N] [--sets a,b] [--out FILE]

DIR holds a folder a set: data.csv (header, last column `target`) and splits.json (named lists of
test rows). Prints Markdown tables; --out takes every raw number as JSON. numpy and scikit-learn
are installed into target/benchmark-venv where they are missing.
"""

import argparse
import csv
import io
import json
import os
import pathlib
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
    ("breast-cancer-wisc-diag", ONE_SPLIT, "--lambda cv --time-limit 2m", "--lambda cv --time-limit 2m"),
    ("concrete", TWENTY_SPLITS, "--lambda cv --patterns 200 --time-limit 6m",
     "--lambda cv --patterns 200 --time-limit 4m"),
    ("chess-krvkp", ONE_SPLIT, "--lambda 0.01 --patterns 50 --time-limit 4m",
     "--lambda cv --patterns 200 --time-limit 4m"),
    ("spambase", ONE_SPLIT, "--lambda 0.03 --patterns 50 --time-limit 4m",
     "--lambda cv --patterns 200 --time-limit 4m"),
    ("kin8nm", TWENTY_SPLITS, "--lambda 0.001 --patterns 50 --time-limit 4m",
     "--lambda cv --patterns 200 --time-limit 4m"),
]
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


def run_bidual(binary, activation, options, train, test, target, classification):
    """Fits on the file `train`, predicts the file `test`: one row of the table, raw JSON inside."""
    model = train.parent / "model.safetensors"
    model.unlink(missing_ok=True)
    loss = "logistic" if classification else "squared"
    shown = f"--target target --loss {loss} --activation {activation} {options} --seed 0 --json"
    row = {"model": f"bidual, {activation}", "options": shown}
    fit = subprocess.run([binary, "fit", train, *shown.split(), "-o", model], capture_output=True, text=True)
    row["exit_code"] = fit.returncode
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


def run_peer(name, models, train, test, classification):
    started, scores = time.monotonic(), []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for model in models:
            model.fit(*train)
            scores.append(score(test[1], model.predict(test[0]), classification))
    from sklearn.exceptions import ConvergenceWarning
    slow = sum(issubclass(w.category, ConvergenceWarning) for w in caught)
    seconds = (time.monotonic() - started) / len(models)
    return {"model": name, "status": "not converged" if slow else "", "seconds": seconds, "test": scores}


def measure(name, split_name, options, args, rows):
    """Appends the rows of one set to `rows`; each says which split it is."""
    import numpy as np
    folder = args.data / name
    lines = (folder / "data.csv").read_text().splitlines()
    table = np.array([[float(v) for v in line.split(",")] for line in lines[1:]])
    x, y = table[:, :-1], table[:, -1]
    classification = len(np.unique(y)) == 2
    for split, test in enumerate(test_rows(folder, split_name, args.splits)):
        held_out = np.zeros(len(y), bool)
        held_out[test] = True
        common = {"set": name, "splits": split_name, "split": split, "n_train": int(np.sum(~held_out)),
                  "n_test": len(test), "d": x.shape[1], "score": "accuracy" if classification else "rmse"}

        def add(row):
            rows.append(common | row)
            note = f"{row.get('test', row.get('error'))} {row.get('seconds', 0):.1f} s {row['status']}"
            print(f"{name} split {split}: {row['model']}: {note}", file=sys.stderr, flush=True)
            if args.out:
                args.out.write_text(json.dumps(args.about | {"results": rows}, indent=1) + "\n")

        with tempfile.TemporaryDirectory() as place:
            files = [pathlib.Path(place) / f for f in ("train.csv", "test.csv")]
            for file, keep in zip(files, (~held_out, held_out)):
                chosen = [line for line, k in zip(lines[1:], keep) if k]
                file.write_text("\n".join([lines[0], *chosen]) + "\n")
            for activation, given in zip(("relu", "gated"), options):
                add(run_bidual(args.bidual, activation, given, *files, y[held_out], classification))
        for peer, models in peers(classification).items():
            data = (x[~held_out], y[~held_out]), (x[held_out], y[held_out])
            add(run_peer(peer, models, *data, classification))


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
        seconds = f"{row['seconds']:.1f}" if "seconds" in row else "–"
        lines.append([row["set"], str(row["split"]), f"{row['n_train']} × {row['d']}", row["model"], *proof,
                      shown, seconds, row["status"].replace("_", " ") or "–"])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def settings(names):
    """The table of budgets."""
    lines = ["| set | splits | ReLU fit | gated fit |", "| --- | --- | --- | --- |"]
    lines += [f"| {s} | {p} | `{r}` | `{g}` |" for s, p, r, g in SETTINGS if s in names]
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
    if args.splits < 1:
        parser.error("--splits must be at least 1")
    try:
        version = subprocess.run([args.bidual, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        parser.error(f"{args.bidual}: {error}; build it with `cargo build --release` or give --bidual")
    ensure_packages()
    import numpy, sklearn  # noqa: E401
    args.about = {"versions": {"bidual": version.stdout.split()[-1], "numpy": numpy.__version__,
                               "scikit-learn": sklearn.__version__, "python": sys.version.split()[0]}}
    started, rows = time.monotonic(), []
    for name, split_name, *options in SETTINGS:
        if name in names:
            measure(name, split_name, options, args, rows)
    print(settings(names), markdown(rows), sep="\n\n")
    versions = ", ".join(f"{k} {v}" for k, v in args.about["versions"].items())
    print(f"\n{versions}; {(time.monotonic() - started) / 60:.0f} minutes in all.")


if __name__ == "__main__":
    main()
