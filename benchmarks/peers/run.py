#!/usr/bin/env python3
"""bidual against other solvers of the gated problem and of the one with cones, on one thread.

    run.py single --peers-dir DIR --work DIR --json FILE [options]   one λ at a time, each from zero
    run.py path   --peers-dir DIR --work DIR --json FILE [options]   100 λ from λ_max to 0.01·λ_max, warm starts (adelie)
    run.py table  FILE.json [FILE.json ...] [--out FILE.md]          what was measured, as Markdown

Run it with the python of DIR/adelie that setup.py makes. `single` first has bidual prove the optimum to 1e-9. A peer climbs its settings from
loose to tight until what it returns is within 1e-3 and then 1e-6 of the optimum (relative, the objective evaluated by problem.py for
everyone); then its cheapest setting for each target and bidual, whose gap must be proved to be below the target, run alternately.
With `--cones` it is the exact ReLU program; a peer's objective is then that of its network, and a result that violates the cones by more
than 1e-3 does not count. Times are CPU seconds of the solve only: the arrays, the peer's matrix and compiled code are there already. A run
beyond `--cap` is ended.
Everything measured goes into FILE, by cell; what is there already is kept unless `--again`, so that a long list can be run in pieces.
"""

import argparse
import json
import os
import pathlib
import signal
import statistics
import sys
import time

TARGETS = (1e-3, 1e-6)
POINTS, RATIO = 100, 0.01


class Store:
    """The JSON file of results: {key: cell}, written after every change."""

    def __init__(self, path):
        self.path = path
        self.cells = json.loads(path.read_text()) if path.exists() else {}

    def cell(self, key, **facts):
        return self.cells.setdefault(key, {"peers": {}} | facts)

    def save(self):
        beside = self.path.with_suffix(".part")
        beside.write_text(json.dumps(self.cells, indent=1))
        os.replace(beside, self.path)


def say(*words):
    print(time.strftime("%H:%M:%S"), *words, flush=True)


def judged(cell, lam, reply, w, best):
    """A record of one run: seconds, objective, distance to the best known value; with cones the violation."""
    facts = cell.judge(lam, w)
    return {"cpu": reply["cpu"], "wall": reply["wall"], "suboptimality": facts["objective"] / best - 1} | facts


def reached(run, target):
    """Whether a result is within the target, on either side: a point outside of the cones may be below the optimum in them."""
    return abs(run["suboptimality"]) <= target and run.get("counts", True)


def bidual_run(bidual, cell, lam, target, best, limit):
    """bidual at a certified gap of `target`; quick solves run twice in the process and the second counts, as for the peers."""
    line, w = bidual.solve(cell, lam, target, limit)
    if line["seconds"] < 1:
        line, w = bidual.solve(cell, lam, target, limit, again=True)
    met = next((s for s, upper, _ in line["history"] if upper <= best * (1 + target)), None)
    return judged(cell, lam, {"cpu": line["cpu_seconds"], "wall": line["seconds"]}, w, best) | {
        "gap": line["relative_gap"], "common_gap": cell.gap(lam, w), "active": line["active"], "status": line["status"], "met": met}


def climb(peer, ladders, cell, lam, best, cap):
    """Runs every ladder from loose to tight until 1e-6 is reached. All runs, and why each ladder ended."""
    from driver import Capped, Failed
    runs, ends = [], []
    for ladder in ladders:
        # another ladder need not take longer than twice the best one so far
        known = [run["wall"] for run in runs if reached(run, TARGETS[-1])]
        limit = min(cap, 2 * min(known, default=cap) + 0.5)
        end = "its last setting"
        for setting in ladder:
            try:
                reply, w = peer.solve(lam, setting, limit)
            except Capped:
                end = f"no answer after {limit:.3g} s"
            except Failed as error:
                end = str(error)[:200]
            else:
                run = judged(cell, lam, reply, w, best) | {"setting": setting, "active": int((abs(w).max(0) > 0).sum())}
                if reached(run, TARGETS[-1]):
                    run["common_gap"], end = cell.gap(lam, w), "1e-6"
                runs.append(run)
                if end != "1e-6":
                    continue
            break
        ends.append(end)
    return runs, ends


def compare(args, bidual, peer, cell, lam, best, runs):
    """The cheapest setting for each target against bidual, alternately; None where no setting reached the target."""
    from driver import Capped, Failed
    pairs = {}
    for target in TARGETS:
        good = [run for run in runs if reached(run, target)]
        if not good:
            pairs[f"{target:g}"] = None
            continue
        chosen = min(good, key=lambda run: run["cpu"])
        repeats = min(args.repeats, max(1, int(args.budget / chosen["wall"])))
        entries = []
        for _ in range(repeats):
            own = bidual_run(bidual, cell, lam, target, best, args.cap)
            try:
                reply, w = peer.solve(lam, chosen["setting"], 2 * args.cap)
            except (Capped, Failed) as error:
                say(f"{peer.name}: {error or 'no answer'} in a repetition")
                break
            entries.append({"bidual": own, "peer": judged(cell, lam, reply, w, best)})
        last = w if entries else None
        pairs[f"{target:g}"] = {"setting": chosen["setting"], "runs": entries, "gap": cell.gap(lam, last) if entries else None}
    return pairs


def single(args):
    from driver import Bidual, Cell, Missing, Peer
    from peers import PEERS
    bidual, store = Bidual(args.bidual), Store(args.json)
    for name, count in ((name, count) for name in args.instances for count in args.sizes):
        problem = Cell(name, count, args.loss, args.work, args.data, args.cones)
        peers = {key: Peer(key, PEERS[key].environment, args.peers_dir, problem) for key in args.peers}
        for fraction in args.fractions:
            lam = fraction * problem.largest
            key = f"single {args.loss} {name} {count} {fraction:g}" + " cones" * args.cones
            cell = store.cell(key, verb="single", loss=args.loss, cones=args.cones, instance=name, n=problem.x.shape[0], d=problem.x.shape[1],
                              P=problem.patterns.shape[1], fraction=fraction, cap=args.cap)
            if args.again or "reference" not in cell:
                line, w = bidual.solve(problem, lam, 1e-9, args.reference_limit)
                cell["reference"] = {"lambda": lam, "upper": problem.objective(lam, w), "lower": line["lower"], "active": line["active"],
                                     "gap": line["relative_gap"], "cpu": line["cpu_seconds"], "status": line["status"]}
            best = cell["reference"]["upper"]
            if args.again or "bidual" not in cell:
                cell["bidual"] = {f"{target:g}": [bidual_run(bidual, problem, lam, target, best, args.cap) for _ in range(args.repeats)]
                                  for target in TARGETS}
            store.save()
            say(key, f"reference gap {float('inf') if cell['reference']['gap'] is None else cell['reference']['gap']:.1e}",
                *(f"{t}: {statistics.median(r['cpu'] for r in runs):.4f} s" for t, runs in cell["bidual"].items()))
            for name_, peer in peers.items():
                if name_ in cell["peers"] and not args.again:
                    continue
                try:
                    ladders = getattr(PEERS[name_], "cone_ladders" if args.cones else "ladders", PEERS[name_].ladders)
                    runs, ends = climb(peer, ladders, problem, lam, best, args.cap)
                    pairs = compare(args, bidual, peer, problem, lam, best, runs)
                    cell["peers"][name_] = {"version": peer.version, "runs": runs, "ends": ends, "pairs": pairs}
                except Missing as error:
                    cell["peers"][name_] = {"missing": str(error)}
                store.save()
                report_peer(key, name_, cell["peers"][name_])
        for peer in peers.values():
            peer.close()


def report_peer(key, name, result):
    """One line on a peer's result as it comes."""
    if "missing" in result:
        return say(key, f"{name}: {result['missing']}")
    words = []
    for target, pair in result["pairs"].items():
        if pair and pair["runs"]:
            ratio = statistics.median(r["peer"]["cpu"] / r["bidual"]["cpu"] for r in pair["runs"])
            words.append(f"{target}: {statistics.median(r['peer']['cpu'] for r in pair['runs']):.4f} s {pair['setting']} ({ratio:.3g}x)")
        else:
            least = min((abs(run["suboptimality"]) for run in result["runs"] if run.get("counts", True)), default=float("inf"))
            words.append(f"{target}: not reached, {least:.1e} ({'; '.join(result['ends'])})")
    say(key, name, *words)


def worst_gap(lines):
    """The largest gap proved on a path of bidual."""
    return max(float("inf") if line["relative_gap"] is None else line["relative_gap"] for line in lines)


def path_gaps(cell, lambdas, solutions, best):
    """Suboptimality and relative gap at each λ."""
    return [{"suboptimality": cell.objective(lam, w) / value - 1, "gap": cell.gap(lam, w)} for lam, w, value in zip(lambdas, solutions, best)]


def path(args):
    from driver import Bidual, Capped, Cell, Failed, Missing, Peer
    bidual, store = Bidual(args.bidual), Store(args.json)
    for name, count in ((name, count) for name in args.instances for count in args.sizes):
        problem = Cell(name, count, args.loss, args.work, args.data)
        key = f"path {args.loss} {name} {count}"
        cell = store.cell(key, verb="path", loss=args.loss, instance=name, n=problem.x.shape[0], d=problem.x.shape[1],
                          P=problem.patterns.shape[1], points=POINTS, ratio=RATIO, cap=args.cap)
        if cell.get("runs") and not args.again:
            continue
        lines = bidual.path(problem, 1e-9, POINTS, RATIO, args.reference_limit / POINTS)
        lambdas, best = [line["lambda"] for line in lines], [line["upper"] for line in lines]
        cell["reference"] = {"gap": worst_gap(lines), "upper": best}

        def own(target):
            lines = bidual.path(problem, target, POINTS, RATIO, args.cap)
            return {"who": f"bidual, gap {target:g}", "cpu": sum(line["cpu_seconds"] for line in lines),
                    "wall": sum(line["seconds"] for line in lines), "gap": worst_gap(lines),
                    "suboptimality": max(line["upper"] / value - 1 for line, value in zip(lines, best))}

        def other(tol):
            reply, solutions = peer.path(lambdas, tol, args.cap)
            points = path_gaps(problem, lambdas, solutions, best)
            return {"who": f"adelie, tol {tol:g}", **reply, "gap": max(p["gap"] for p in points),
                    "suboptimality": max(p["suboptimality"] for p in points), "points": points}

        peer = Peer("adelie", "adelie", args.peers_dir, problem)
        cell["runs"], chosen = [], [1e-7]
        try:
            for tol in (1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12, 1e-13):
                run = other(tol)
                say(key, run["who"], f"{run['cpu']:.3f} s, suboptimality {run['suboptimality']:.1e}, gap {run['gap']:.1e}")
                cell["runs"].append(run | {"search": True})
                if run["suboptimality"] <= TARGETS[0] and len(chosen) == 1 and tol != 1e-7:
                    chosen.append(tol)
                if run["suboptimality"] <= TARGETS[1]:
                    chosen.append(tol)
                    break
        except (Capped, Failed, Missing) as error:
            cell["end"] = str(error) or f"no answer after {args.cap:g} s"
            say(key, "adelie:", cell["end"])
        for _ in range(args.repeats):
            cell["runs"] += [own(target) for target in TARGETS]
            try:
                for tol in dict.fromkeys(chosen) if peer.version else ():
                    cell["runs"].append({k: v for k, v in other(tol).items() if k != "points"})
            except (Capped, Failed) as error:
                say(f"adelie: {error or 'no answer'} in a repetition")
        cell["version"] = peer.version
        peer.close()
        store.save()
        say(key, *(f"{run['who']}: {run['cpu']:.3f} s" for run in cell["runs"][-2 - len(chosen):]))


def main():
    import instances
    import peers
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    words = lambda s: s.split(",")
    for verb in ("single", "path"):
        sub = verbs.add_parser(verb)
        sub.add_argument("--bidual", default="target/release/examples/solve_gated", help="the example solve_gated")
        sub.add_argument("--peers-dir", required=True, type=pathlib.Path, help="what setup.py made")
        sub.add_argument("--work", required=True, type=pathlib.Path, help="for arrays; kept between runs")
        sub.add_argument("--data", help="folder with power-plant/data.csv, kin8nm/data.csv, mnist/data.npz")
        sub.add_argument("--json", required=True, type=pathlib.Path)
        sub.add_argument("--loss", choices=["squared", "logistic"], default="squared")
        sub.add_argument("--instances", type=words, default=list(instances.INSTANCES))
        sub.add_argument("--sizes", type=lambda s: [int(v) for v in s.split(",")], default=[100, 1000, 5000] if verb == "single" else [1000])
        sub.add_argument("--repeats", type=int, default=5)
        sub.add_argument("--cap", type=float, default=60.0, help="seconds for one run of a peer")
        sub.add_argument("--reference-limit", type=float, default=120.0, help="seconds for bidual's proof to 1e-9")
        sub.add_argument("--again", action="store_true")
        if verb == "single":
            sub.add_argument("--fractions", type=lambda s: [float(v) for v in s.split(",")], default=[0.1, 0.01, 0.001])
            sub.add_argument("--cones", action="store_true", help="the exact ReLU program, with cone constraints")
            sub.add_argument("--peers", type=words, default=list(peers.PEERS))
            sub.add_argument("--budget", type=float, default=60.0, help="seconds for the repetitions of a peer: fewer for slow runs")
    table = verbs.add_parser("table")
    table.add_argument("json", nargs="+", type=pathlib.Path)
    table.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    if args.verb == "table":
        import report
        text = report.markdown(args.json)
        return args.out.write_text(text) if args.out else print(text)
    unknown = set(args.instances) - set(instances.INSTANCES) | set(getattr(args, "peers", [])) - set(peers.PEERS)
    if unknown:
        sys.exit(f"unknown: {', '.join(unknown)}; instances {', '.join(instances.INSTANCES)}; peers {', '.join(peers.PEERS)}")
    if args.loss == "logistic":
        args.instances = [name for name in args.instances if instances.has_classes(name)]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the peers' processes too
    args.json.parent.mkdir(parents=True, exist_ok=True)
    {"single": single, "path": path}[args.verb](args)


if __name__ == "__main__":
    main()
