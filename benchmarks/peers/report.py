"""What run.py measured, as Markdown: medians, ratios of paired runs and their geometric means."""

import json
import math
import statistics

NAMES = {"adelie": "adelie", "scnn": "pyscnn", "skglm": "skglm", "celer": "celer", "clarabel": "Clarabel"}


def seconds(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}" if value >= 1 else f"{value:.2g}"


def table(head, rows):
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] + ["| " + " | ".join(row) + " |" for row in rows] + [""]


def median(runs, field):
    return statistics.median(run[field] for run in runs)


def proved(runs, target):
    """Whether every run of bidual ended with a gap below the target."""
    return all(run["gap"] is not None and run["gap"] <= float(target) for run in runs)


def ratio(cell, result, target):
    """(ratio of CPU times peer/bidual, "" or ">" or "<" for a bound where one of them was ended); None without a comparison."""
    pair = result["pairs"].get(target)
    if pair and pair["runs"]:
        value = statistics.median(r["peer"]["cpu"] / r["bidual"]["cpu"] for r in pair["runs"])
        return value, "" if proved([r["bidual"] for r in pair["runs"]], target) else "<"
    if any(end.startswith("no answer") for end in result["ends"]) and proved(cell["bidual"][target], target):
        return cell["cap"] / median(cell["bidual"][target], "cpu"), ">"
    return None


def entry(cell, name, target):
    """`seconds (ratio)` of a peer at a target, or how far it got."""
    result = cell["peers"].get(name)
    if result is None or "missing" in result:
        return "–"
    found = ratio(cell, result, target)
    times = f"({found[1] and found[1] + ' '}{found[0]:.2g}×)" if found else ""
    pair = result["pairs"].get(target)
    if pair and pair["runs"]:
        return f"{seconds(median([r['peer'] for r in pair['runs']], 'cpu'))} {times}"
    least = min((abs(run["suboptimality"]) for run in result["runs"] if run.get("counts", True)), default=None)
    far = "nothing" if least is None else f"{least:.0e}"
    ended = any(end.startswith("no answer") for end in result["ends"])
    return f"> {cell['cap']:g}, {far} {times}".strip() if ended else f"never, {far}"


def own(cell, target):
    runs = cell["bidual"][target]
    return seconds(median(runs, "cpu")) + "*" * (not proved(runs, target))


def own_gaps(cell):
    """The gap that bidual proves / the common formula at its solution, which is for the gated program."""
    kinds = ("gap",) if cell.get("cones") else ("gap", "common_gap")
    return " / ".join(f"{max(math.inf if r[k] is None else r[k] for r in cell['bidual']['1e-06']):.0e}" for k in kinds)


def last_gap(cell, name):
    """The gap at a peer's solution of 1e-6 by the common formula."""
    pair = (cell["peers"].get(name) or {}).get("pairs", {}).get("1e-06")
    return f"{pair['gap']:.0e}" if pair and pair["gap"] is not None else "–"


def violations(cell, name):
    """How far a peer's solutions of 1e-3 / 1e-6 are outside of the cones."""
    words = []
    for pair in (cell["peers"].get(name) or {}).get("pairs", {}).values():
        runs = [r["peer"] for r in pair["runs"]] if pair else []
        words.append(f"{max(run['violation'] for run in runs):.0e}" if runs else "–")
    return " / ".join(words) or "–"


def means(cells, names):
    """Geometric means of the ratios, over all cells and by λ."""
    rows = []
    fractions = sorted({cell["fraction"] for cell in cells}, reverse=True)
    for name in names:
        for target in ("0.001", "1e-06"):
            row = [NAMES.get(name, name), target]
            for chosen in [fractions] + [[f] for f in fractions] * (len(fractions) > 1):
                found = [ratio(cell, cell["peers"][name], target) for cell in cells
                         if cell["fraction"] in chosen and "pairs" in cell["peers"].get(name, {})]
                known = [r for r in found if r is not None]
                if not known:
                    row.append("–")
                    continue
                mean = math.exp(statistics.fmean(math.log(r) for r, _ in known))
                bounds, never = [bound for _, bound in known], len(found) - len(known)
                notes = [f"{len(known)} cells"] + [f"{bounds.count('>')} with the peer ended"] * (">" in bounds)
                notes += [f"{bounds.count('<')} with bidual ended"] * ("<" in bounds) + [f"{never} without"] * (never > 0)
                sign = {frozenset(): "", frozenset(">"): "≥ ", frozenset("<"): "≤ "}.get(frozenset(bounds) - {""}, "~ ")
                row.append(f"{sign}{mean:.2g}× (least {min(r for r, _ in known):.2g}×; {', '.join(notes)})")
            rows.append(row)
    return table(["peer", "target", "all λ"] + [f"{f:g}" for f in fractions] * (len(fractions) > 1), rows)


def single_tables(cells, loss, cones):
    names = [name for name in NAMES if any(name in cell["peers"] for cell in cells)]
    lines = [f"### One λ{' with cones (exact ReLU)' * cones}, {loss} loss", "",
             "CPU seconds to a relative suboptimality of 1e-3 / 1e-6 (bidual: to a proved gap of it); in brackets the median ratio",
             "of paired runs, peer to bidual."]
    if cones:
        lines += ["A peer's objective is that of the network with its columns, which may be outside of the cones: beside it how far, relative",
                  "to the largest column and row, in the solutions for 1e-3 / 1e-6; beyond 1e-3 they do not count. It must be that near to the",
                  "optimum on either side. The gap is the one that bidual proves.", ""]
    else:
        lines += ["Gaps are those of the solution for 1e-6, by a dual point scaled from the residual there; of bidual, first the gap",
                  "that it proves itself.", ""]
    rows = []
    for cell in cells:
        row = [cell["instance"], f"{cell['n']}×{cell['d']}", str(cell["P"]), f"{cell['fraction']:g}", str(cell["reference"]["active"]),
               " / ".join(own(cell, t) for t in ("0.001", "1e-06")), own_gaps(cell)]
        for name in names:
            row += [" / ".join(entry(cell, name, t) for t in ("0.001", "1e-06")), (violations if cones else last_gap)(cell, name)]
        rows.append(row)
    head = ["instance", "n×d", "P", "λ/λ_max", "active", "bidual", "gap"]
    lines += table(head + [word for name in names for word in (NAMES[name], "violation" if cones else "gap")], rows)
    if any("*" in row[5] for row in rows):
        lines += ["\\* the proof had not reached the target by the time limit.", ""]
    gaps = [(math.inf if c["reference"]["gap"] is None else c["reference"]["gap"], c) for c in cells]
    loose = [f"{c['instance']} P={c['P']} λ={c['fraction']:g} ({gap:.0e})" for gap, c in gaps if gap > 1e-7]
    if loose:
        lines += ["The optimum is known to less than 1e-7 only: " + ", ".join(loose) + ".", ""]
    lines += ["Geometric means of the ratios; a run that was ended counts with its limit, as a bound; cells where a peer stopped",
              "short by itself, or both were ended, are without a ratio:", ""] + means(cells, names)
    reasons = sorted({f"{NAMES[n]}: {c['peers'][n]['missing']}" for c in cells for n in names if "missing" in c["peers"].get(n, {})})
    lines += ["Left out (–): " + "; ".join(reasons) + ".", ""] if reasons else []
    versions = sorted({c["peers"][n]["version"] for c in cells for n in names if c["peers"].get(n, {}).get("version")})
    return lines + (["Versions: " + ", ".join(versions) + ".", ""] if versions else [])


def path_tables(cells, loss):
    lines = [f"### Paths, {loss} loss", "",
             "All λ of a path with warm starts, CPU seconds (medians); the largest suboptimality and gap on the path.", ""]
    rows = []
    for cell in cells:
        runs = {}
        for run in cell["runs"]:
            runs.setdefault(run["who"], []).append(run)
        for who, group in runs.items():
            measured = [run for run in group if not run.get("search")] or group
            rows.append([cell["instance"], f"{cell['n']}×{cell['d']}", str(cell["P"]), who, seconds(median(measured, "cpu")),
                         f"{max(run['suboptimality'] for run in measured):.0e}", f"{max(run['gap'] for run in measured):.0e}"])
        if "end" in cell:
            rows.append([cell["instance"], f"{cell['n']}×{cell['d']}", str(cell["P"]), "adelie, next tol", cell["end"], "–", "–"])
    return lines + table(["instance", "n×d", "P", "solver", "s", "suboptimality", "gap"], rows)


def markdown(files):
    """The tables of one or more JSON files; a cell of a later file replaces an earlier one, its peers are merged."""
    merged = {}
    for path in files:
        for key, cell in json.loads(path.read_text()).items():
            if key in merged and cell["verb"] == "single":
                cell["peers"] = merged[key]["peers"] | cell["peers"]
            merged[key] = cell
    lines = []
    for verb, cones in (("single", False), ("single", True), ("path", False)):
        for loss in ("squared", "logistic"):
            cells = [c for c in merged.values() if (c["verb"], c["loss"], c.get("cones", False)) == (verb, loss, cones)
                     and ("bidual" in c or "runs" in c)]
            cells.sort(key=lambda c: (c["instance"], c["P"], -c.get("fraction", 0)))
            if cells:
                lines += single_tables(cells, loss, cones) if verb == "single" else path_tables(cells, loss)
    return "\n".join(lines)
