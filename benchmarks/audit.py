#!/usr/bin/env python3
"""Audits networks that torch trained, and checks the improved ones with onnxruntime.

    audit.py --data DIR [--bidual PATH] [--work DIR] [--out FILE]

Trains 20 two-layer ReLU networks on three tables (Adam and SGD with momentum, several widths and
learning rates), exports them to ONNX, audits each with `bidual certify --improve`, exports the
improved network to ONNX too, evaluates both files with onnxruntime and recomputes both objectives
from those predictions in numpy. --out is a Markdown file with the lines `<!-- table -->` and
`<!-- end -->`: the table goes between them.

blood and yacht are in examples/data; DIR/airfoil/data.csv holds the third (1503 rows, header, last
column `target`). The objective is the one of `train_torch` in foreign_networks.py: mean loss
(squared: half the squared error) + λ/2 times the squares of all weights and hidden biases on the
features as the network scales them; the output bias is free.

Needs torch, onnx, onnxruntime, onnxscript, scikit-learn, skl2onnx and safetensors.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile
import time

import numpy as np
import onnx
import torch

import foreign_networks as foreign

ROOT = pathlib.Path(__file__).resolve().parent.parent
EPOCHS = 200
# table, λ, networks as (optimiser, width, learning rate)
REGRESSION = [("adam", 10, 1e-2), ("adam", 50, 1e-2), ("adam", 50, 1e-3), ("adam", 200, 3e-3),
              ("sgd", 10, 1e-3), ("sgd", 50, 1e-3), ("sgd", 200, 3e-4)]
SETS = [
    ("blood", True, 3e-3,
     [("adam", 10, 1e-2), ("adam", 50, 1e-2), ("adam", 50, 1e-3), ("adam", 200, 3e-3),
      ("sgd", 10, 1e-2), ("sgd", 50, 1e-2), ("sgd", 200, 3e-2)]),
    ("yacht", False, 1.0, REGRESSION[:6]),
    ("airfoil", False, 0.3, REGRESSION),
]
# how far numpy's objective may be from bidual's: predictions in single and in double precision
SINGLE, DOUBLE = 2e-6, 1e-9


def loss(f, y, classes):
    return np.mean(np.logaddexp(0.0, -y * f) if classes else 0.5 * (f - y) ** 2)


def decay_of_torch(net):
    squares = [(p.detach().double() ** 2).sum() for p in
               (net.fc1.weight, net.fc1.bias, net.fc2.weight)]
    return 0.5 * float(sum(squares))


def decay_of_export(path, net):
    """Weight decay of a graph of bidual, which takes raw features, where `net` measures its own."""
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer}
    w, b, a = arrays["weights"], arrays["biases"], arrays["output_weights"]
    mean, std = net.mean.double().numpy(), net.std.double().numpy()
    b = b + mean @ w
    return 0.5 * float(((std[:, None] * w) ** 2).sum() + (b**2).sum() + (a**2).sum())


def run(bidual, *words):
    done = subprocess.run([str(bidual), *map(str, words)], capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr)
    return done.stdout


def audit(args, data, name, classes, weight_decay, setting, x, y, index):
    optimiser, width, rate = setting
    stem = args.work / f"{name}_{optimiser}_{width}_{rate:g}"
    net, _ = foreign.train_torch(
        x, y, classes, width, optimiser, rate, weight_decay, EPOCHS, 64, index
    )
    file, model = stem.with_suffix(".onnx"), stem.with_suffix(".safetensors")
    foreign.export(net, file, x.shape[1], dynamo=index % 4 == 3)
    started = time.time()
    found = json.loads(run(
        args.bidual, "certify", file, data, "--target", "target", "--lambda", f"abs:{weight_decay!r}",
        "--bias", "penalised", "--improve", model, "--time-limit", args.time_limit, "--json",
    ))
    seconds = time.time() - started
    better = args.work / f"{stem.name}_improved.onnx"
    run(args.bidual, "export", model, "-o", better)
    (outputs,) = foreign.onnx_run(file, x).values()
    own = loss(outputs.astype(float).ravel(), y, classes)
    own += weight_decay * decay_of_torch(net)
    improved = loss(foreign.onnx_run(better, x)["output"].ravel(), y, classes)
    improved += weight_decay * decay_of_export(better, net)
    best = found["best"]
    assert abs(own - found["objective"]) <= SINGLE * own, (own, found["objective"])
    assert abs(improved - best["objective"]) <= DOUBLE * improved, (improved, best["objective"])
    assert found["lower"] <= min(own, improved) * (1 + DOUBLE), found
    assert improved < own or found["relative_gap"] <= 1e-3, (improved, own)
    return {**found, "own": own, "improved": improved, "wall": seconds}


HEAD = ("| set | width | optimiser | rate | λ/λ_max | objective | proved bound | gap | stationary | "
        "improved | width | gap | strictly better | time |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")


def row(name, setting, r):
    optimiser, width, rate = setting
    residual = r["stationarity"]["residual"]
    stationary = "yes" if r["stationary"] else f"no, off by {residual:.2g} λ"
    gain = (r["own"] - r["improved"]) / r["own"]
    better = f"yes, {100 * gain:.2g} %" if gain > 0 else "no"
    return (
        f"| {name} | {width} | {optimiser} | {rate:g} | {r['lambda_fraction']:.3f} | "
        f"{r['own']:.6g} | {np.floor(1e6 * r['lower']) / 1e6:.6f} | {r['relative_gap']:.1e} | "
        f"{stationary} | {r['improved']:.6f} | {r['best']['neurons']} | "
        f"{r['best']['relative_gap']:.1e} | {better} | {r['wall']:.1f} s |\n"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--bidual", type=pathlib.Path, default=ROOT / "target/release/bidual")
    parser.add_argument("--work", type=pathlib.Path)
    parser.add_argument("--time-limit", default="60s")
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        args.work = args.work or pathlib.Path(folder)
        args.work.mkdir(parents=True, exist_ok=True)
        table = HEAD
        for name, classes, weight_decay, settings in SETS:
            own = ROOT / "examples" / "data" / f"{name}.csv"
            data = own if own.exists() else args.data / name / "data.csv"
            x, y = foreign.read_table(data, "target", classes)
            for index, setting in enumerate(settings):
                line = row(name, setting, audit(
                    args, data, name, classes, weight_decay, setting, x, y, index
                ))
                print(line, end="", flush=True)
                table += line
    if args.out:
        text = args.out.read_text(encoding="utf-8")
        before, rest = text.split("<!-- table -->\n")
        after = rest.split("<!-- end -->\n")[1]
        whole = f"{before}<!-- table -->\n{table}<!-- end -->\n{after}"
        args.out.write_text(whole, encoding="utf-8")


if __name__ == "__main__":
    main()
