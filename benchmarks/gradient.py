#!/usr/bin/env python3
"""Adam and SGD against bidual on the same objective.

    gradient.py ends --data DIR --work DIR [--only SET,SET]      train everything, keep the ends
    gradient.py race --data DIR --work DIR [--bidual PATH] [--out FILE.md]
    gradient.py every --data DIR --work DIR [--only SET,SET] [--bidual PATH]

`ends` trains plain ReLU networks of 500 neurons in torch: Adam and SGD with momentum 0.9, full batch
and batches of 64, five learning rates each, on six real tables and two λ. A rate is cut to 0.3 of
itself whenever the objective has not fallen by 1e-5 over 6 checks (a check is 100 steps or at least
one epoch), four times at most; a run ends there, or after 8,000 steps (full batch) or 30,000. Every
result is kept in DIR/ends.json; what is there is not run again.

`race` repeats the best run of each table and λ alone on the machine, with as many threads as suit
it best (one or two), then bidual with its default settings and a limit of 60 s, and writes who was where when. The
clock of torch does not run while the objective is checked.

`every` keeps the curves of all 20 runs at 0.1 λ_max on one thread, of scikit-learn's MLP (Adam, five rates, and L-BFGS,
100 neurons), and of bidual, in DIR/every.json for docs/figures/floor.py. scikit-learn leaves the hidden bias out of its
weight decay; its networks are judged by the objective below like all others.

The objective is bidual's: mean loss (squared: half the squared error) + λ Σ ‖w_j‖|a_j|, the hidden
bias as a weight, the output bias free; torch minimises its weight-decay form and is credited with the
balanced one, which is never larger. Features and real targets are standardised. `bidual certify` reads
torch's best network and must find the same objective. Needs numpy and torch, and
`every` scikit-learn.
"""

import argparse
import csv
import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import torch

SETS = {"blood": True, "mammographic": True, "breast-cancer-wisc-diag": True,
        "yacht": False, "airfoil": False, "concrete": False}
FRACTIONS = (0.1, 0.01)
NEURONS, BATCH = 500, 64
RATES = {"Adam": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1), "SGD": (3e-3, 1e-2, 3e-2, 1e-1, 3e-1)}
RUNS = [(method, batch, rate) for method in RATES for batch in (0, BATCH) for rate in RATES[method]]


def prepare(args, name):
    """The standardised table as arrays and as a file."""
    with open(args.data / name / "data.csv", newline="") as f:
        table = np.array([[float(v) for v in row] for row in list(csv.reader(f))[1:]])
    x, y = table[:, :-1], table[:, -1]
    keep = x.std(0) > 0
    x = (x[:, keep] - x[:, keep].mean(0)) / x[:, keep].std(0)
    y = np.where(y > 0, 1.0, -1.0) if SETS[name] else (y - y.mean()) / y.std()
    path = args.work / f"{name}.csv"
    with open(path, "w", newline="") as f:
        out = csv.writer(f)
        out.writerow([f"x{k + 1}" for k in range(x.shape[1])] + ["target"])
        out.writerows([*map(repr, map(float, r)), repr(float(v))] for r, v in zip(x, y))
    return x, y, path


def bidual(args, path, fraction, more=()):
    command = [str(args.bidual), "fit", str(path), "--target", "target", "--no-standardize", "--json",
               "--quiet", "--lambda", str(fraction), *map(str, more)]
    done = subprocess.run(command, capture_output=True, text=True)
    if not done.stdout.strip():
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


class Problem:
    def __init__(self, x, y, classes, lam):
        self.x64, self.y64 = torch.tensor(x), torch.tensor(y)
        self.x, self.y = self.x64.float(), self.y64.float()
        self.classes, self.lam = classes, lam

    def loss(self, f, y):
        return torch.nn.functional.softplus(-y * f).mean() if self.classes else 0.5 * (f - y).square().mean()

    def objective(self, net):
        """In double precision, the weights balanced."""
        with torch.no_grad():
            (w, b), (a, c) = [[p.double() for p in layer.parameters()] for layer in (net[0], net[2])]
            f = torch.relu(self.x64 @ w.T + b) @ a[0] + c
            size = (w.square().sum(1) + b.square()).sqrt() * a[0].abs()
            return float(self.loss(f, self.y64) + self.lam * size.sum())


def train(problem, method, batch, rate):
    """(seconds, objective) at each check, and the network."""
    torch.manual_seed(0)
    n, d = problem.x.shape
    net = torch.nn.Sequential(torch.nn.Linear(d, NEURONS), torch.nn.ReLU(inplace=True), torch.nn.Linear(NEURONS, 1))
    decayed = [net[0].weight, net[0].bias, net[2].weight]
    groups = [{"params": decayed, "weight_decay": problem.lam}, {"params": [net[2].bias], "weight_decay": 0.0}]
    optimiser = torch.optim.Adam(groups, lr=rate) if method == "Adam" else torch.optim.SGD(groups, lr=rate, momentum=0.9)
    epoch = -(-n // batch) if batch else 1
    check, limit = max(100, epoch), 30_000 if batch else 8_000
    curve, best, stale, cuts, clock, step = [], np.inf, 0, 0, 0.0, 0
    order = torch.Generator().manual_seed(1)
    rows = None
    while step < limit and cuts <= 4:
        started = time.perf_counter()
        for _ in range(check):
            if batch:
                if step % epoch == 0:
                    rows = torch.randperm(n, generator=order)
                at = rows[(step % epoch) * batch:(step % epoch + 1) * batch]
                x, y = problem.x[at], problem.y[at]
            else:
                x, y = problem.x, problem.y
            optimiser.zero_grad()
            problem.loss(net(x)[:, 0], y).backward()
            optimiser.step()
            step += 1
        clock += time.perf_counter() - started
        value = problem.objective(net)
        if not np.isfinite(value) or value > 1e6:
            return [(clock, float("inf"))], net
        curve.append((clock, value))
        if value < best * (1 - 1e-5):
            best, stale = value, 0
        else:
            stale += 1
        if stale == 6:
            stale, cuts = 0, cuts + 1
            best = min(best, value)
            for group in optimiser.param_groups:
                group["lr"] *= 0.3
    return curve, net


def name_of(run):
    return f"{run[0]}, {'batches' if run[1] else 'full batch'}, rate {run[2]:g}"


def ends(args):
    torch.set_num_threads(1)
    path = args.work / "ends.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    for fraction in FRACTIONS:
        for name in args.only or SETS:
            x, y, table = prepare(args, name)
            key = f"{name} {fraction}"
            here = known.setdefault(key, {})
            if "lambda" not in here:
                here["lambda"] = bidual(args, table, fraction, ["--scope", "auto", "--time-limit", "1s"])["lambda"]
            problem = Problem(x, y, SETS[name], here["lambda"])
            for run in RUNS:
                if name_of(run) in here:
                    continue
                curve, _ = train(problem, *run)
                here[name_of(run)] = min(v for _, v in curve)
                print(key, name_of(run), here[name_of(run)], f"{curve[-1][0]:.1f} s", flush=True)
                path.write_text(json.dumps(here and known, indent=1))


def within(curve, value):
    """When a curve first is at or below a value."""
    return next((s for s, v in curve if v <= value), None)


def closing(args, table, lam):
    """bidual's report, and (seconds, objective) and (seconds, proved bound) on the way."""
    history = args.work / "history.csv"
    report = bidual(args, table, f"abs:{lam!r}", ["--history", history, "--time-limit", "60s"])
    rows = list(csv.DictReader(history.open()))
    return report, *([(float(r["seconds"]), float(r[key])) for r in rows] for key in ("upper", "lower"))


def sklearn_curve(problem, x, y, solver, rate):
    """(seconds, objective) of scikit-learn's MLP; L-BFGS only at its end."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    kind = MLPClassifier if problem.classes else MLPRegressor
    alpha = problem.lam * (len(y) if solver == "lbfgs" else BATCH)  # it divides by the samples of a batch
    model = kind(hidden_layer_sizes=(100,), solver=solver, alpha=alpha, batch_size=BATCH, learning_rate_init=rate, random_state=0, max_iter=2000, tol=1e-9)
    curve, clock, net = [], 0.0, torch.nn.Sequential(torch.nn.Linear(x.shape[1], 100), torch.nn.ReLU(), torch.nn.Linear(100, 1))
    for _ in range(1 if solver == "lbfgs" else 40):
        started = time.perf_counter()
        for _ in range(10):
            if solver == "lbfgs":
                model.fit(x, y)
                break
            model.partial_fit(x, y, **({"classes": np.unique(y)} if problem.classes else {}))
        clock += time.perf_counter() - started
        with torch.no_grad():
            for layer, w, b in zip((net[0], net[2]), model.coefs_, model.intercepts_):
                layer.weight.copy_(torch.tensor(w.T))
                layer.bias.copy_(torch.tensor(b))
        curve.append((clock, problem.objective(net)))
    return curve


def every(args):
    torch.set_num_threads(1)
    path = args.work / "every.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    for name in args.only or SETS:
        x, y, table = prepare(args, name)
        here = known.setdefault(f"{name} {FRACTIONS[0]}", {"torch": {}, "sklearn": {}})
        here["lambda"] = here.get("lambda") or bidual(args, table, FRACTIONS[0], ["--time-limit", "1s"])["lambda"]
        problem = Problem(x, y, SETS[name], here["lambda"])
        _, here["bidual"], here["lower"] = closing(args, table, here["lambda"])
        for solver, rate in [("lbfgs", 1e-3)] + [("adam", rate) for rate in RATES["Adam"]]:
            key = f"{solver}, rate {rate:g}"
            here["sklearn"][key] = here["sklearn"].get(key) or sklearn_curve(problem, x, y, solver, rate)
        for run in RUNS:
            here["torch"][name_of(run)] = here["torch"].get(name_of(run)) or train(problem, *run)[0]
            path.write_text(json.dumps(known))
        print(name, "least:", {k: min(v for c in here[k].values() for _, v in c) for k in ("torch", "sklearn")},
              "bidual:", here["bidual"][-1], "proved:", max(v for _, v in here["lower"]), flush=True)


def race(args):
    known = json.loads((args.work / "ends.json").read_text())
    rows, curves = [], {}
    for fraction in FRACTIONS:
        for name in args.only or SETS:
            x, y, table = prepare(args, name)
            here = known[f"{name} {fraction}"]
            problem = Problem(x, y, SETS[name], here["lambda"])
            finished = [run for run in RUNS if np.isfinite(here[name_of(run)])]
            best = min(finished, key=lambda run: here[name_of(run)])
            outcomes = []
            for threads in (1, 2):
                torch.set_num_threads(threads)
                curve, net = train(problem, *best)
                end = min(v for _, v in curve)
                outcomes.append((within(curve, end * 1.001), curve, end, net))
            seconds, curve, end, net = min(outcomes, key=lambda o: o[0])
            w1, b1, w2, b2 = [p.detach().double().numpy() for p in net.parameters()]
            np.savez(args.work / "net.npz", W1=w1, b1=b1, W2=w2, b2=b2)
            seen = json.loads(subprocess.run(
                [str(args.bidual), "certify", str(args.work / "net.npz"), str(table), "--target", "target", "--json",
                 "--no-standardize", "--bias", "penalised", "--lambda", f"abs:{here['lambda']!r}", "--time-limit", "1s"],
                capture_output=True, text=True).stdout)
            if abs(seen["objective"] - curve[-1][1]) > 1e-6 * curve[-1][1]:
                sys.exit(f"{name}: torch's network has the objective {curve[-1][1]} here and {seen['objective']} in bidual")
            report, steps, lower = closing(args, table, here["lambda"])
            least = min([here[name_of(run)] for run in finished] + [end])
            met = within(steps, least) or (report["seconds"] if report["objective"] <= least else None)
            near = within(steps, 1.001 * least)
            rows.append([name, len(y), x.shape[1], fraction, name_of(best), least, seconds, report["objective"],
                         (least - report["objective"]) / report["objective"], near, met, met and seconds / met,
                         report["relative_gap"], report["seconds"]])
            curves[f"{name} {fraction}"] = {"torch": curve, "bidual": steps, "lower": lower, "method": name_of(best)}
            print(rows[-1], flush=True)
    (args.work / "race.json").write_text(json.dumps({"rows": rows, "curves": curves}))
    head = ["set", "n", "d", "λ/λ_max", "best of 20 torch runs", "its objective", "s to 1e-3 of it", "bidual's objective",
            "torch above by", "s until bidual is within 1e-3 of torch's", "s until at or below it", "ratio of times", "bidual's proved gap", "s in all"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for r in rows:
        met = ["never", "–"] if r[10] is None else [f"{r[10]:.2f}", f"{r[11]:.0f}" if r[11] >= 10 else f"{r[11]:.1f}"]
        near = "never" if r[9] is None else f"{r[9]:.2f}"
        lines.append("| " + " | ".join([r[0], str(r[1]), str(r[2]), f"{r[3]:g}", r[4], f"{r[5]:.7f}", f"{r[6]:.2f}",
                                        f"{r[7]:.7f}", f"{r[8]:.1e}", near, *met, f"{r[12]:.1e}", f"{r[13]:.1f}"]) + " |")
    args.out.write_text("\n".join(lines) + "\n") if args.out else print("\n".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["ends", "race", "every"])
    parser.add_argument("--data", required=True, type=pathlib.Path)
    parser.add_argument("--work", required=True, type=pathlib.Path)
    parser.add_argument("--bidual", default="target/release/bidual")
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--only", type=lambda s: s.split(","))
    args = parser.parse_args()
    if "MALLOC_MMAP_THRESHOLD_" not in os.environ:  # glibc: torch's buffers need not be mapped anew each step
        more = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "4294967296"}
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | more)
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_flush_denormal(True)  # dead neurons decay through denormal numbers, which are slow
    {"ends": ends, "race": race, "every": every}[args.what](args)


if __name__ == "__main__":
    main()
