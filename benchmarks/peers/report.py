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


def ratio(cell, result, target):
    """(ratio of CPU times peer/bidual, whether it is only a lower bound), None where there is nothing to compare."""
    pair = result["pairs"].get(target)
    if pair and pair["runs"]:
        return statistics.median(r["peer"]["cpu"] / r["bidual"]["cpu"] for r in pair["runs"]), False
    if any(end.startswith("no answer") for end in result["ends"]):
        return cell["cap"] / median(cell["bidual"][target], "cpu"), True
    return None


def entry(cell, name, target):
    """`seconds (ratio)` of a peer at a target, or how far it got."""
    result = cell["peers"].get(name)
    if result is None or "missing" in result:
        return "–"
    found = ratio(cell, result, target)
    if found and not found[1]:
        return f"{seconds(median([r['peer'] for r in result['pairs'][target]['runs']], 'cpu'))} ({found[0]:.2g}×)"
    least = min((run["suboptimality"] for run in result["runs"]), default=None)
    far = "nothing" if least is None else f"{least:.0e}"
    return f"> {cell['cap']:g}, {far} (> {found[0]:.2g}×)" if found else f"never, {far}"


def own(cell, target):
    runs = cell["bidual"][target]
    late = "" if all(run["gap"] is not None and run["gap"] <= float(target) for run in runs) else "*"
    return seconds(median(runs, "cpu")) + late


def last_gap(cell, name):
    pair = (cell["peers"].get(name) or {}).get("pairs", {}).get("1e-06")
    return f"{pair['gap']:.0e}" if pair and pair["gap"] is not None else "–"


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
                capped, never = sum(bound for _, bound in known), len(found) - len(known)
                notes = [f"{len(known)} cells"] + [f"{capped} capped"] * (capped > 0) + [f"{never} never" ] * (never > 0)
                least = min(r for r, _ in known)
                row.append(f"{'≥ ' if capped else ''}{mean:.2g}× (least {least:.2g}×; {', '.join(notes)})")
            rows.append(row)
    return table(["peer", "target", "all λ"] + [f"{f:g}" for f in fractions] * (len(fractions) > 1), rows)


def single_tables(cells, loss):
    names = [name for name in NAMES if any(name in cell["peers"] for cell in cells)]
    lines = [f"### One λ, {loss} loss", "",
             "CPU seconds to a relative suboptimality of 1e-3 / 1e-6 (bidual: to a proved gap of it); in brackets the median ratio of paired runs.", ""]
    rows = []
    for cell in cells:
        row = [cell["instance"], f"{cell['n']}×{cell['d']}", str(cell["P"]), f"{cell['fraction']:g}", str(cell["reference"]["active"]),
               " / ".join(own(cell, t) for t in ("0.001", "1e-06")), f"{max(r['gap'] or math.inf for r in cell['bidual']['1e-06']):.0e}"]
        for name in names:
            row += [" / ".join(entry(cell, name, t) for t in ("0.001", "1e-06")), last_gap(cell, name)]
        rows.append(row)
    head = ["instance", "n×d", "P", "λ/λ_max", "active", "bidual", "gap"]
    lines += table(head + [word for name in names for word in (NAMES[name], "gap")], rows)
    if any("*" in row[5] for row in rows):
        lines += ["\\* the proof had not reached the target by the time limit.", ""]
    loose = [f"{c['instance']} P={c['P']} λ={c['fraction']:g} ({c['reference']['gap'] or math.inf:.0e})" for c in cells if not (c["reference"]["gap"] or math.inf) <= 1e-7]
    if loose:
        lines += ["The optimum is known to less than 1e-7 only: " + ", ".join(loose) + ".", ""]
    lines += ["Geometric means of the ratios; a capped run counts with the cap, as a lower bound:", ""] + means(cells, names)
    reasons = sorted({f"{NAMES[n]}: {c['peers'][n]['missing']}" for c in cells for n in names if "missing" in c["peers"].get(n, {})})
    lines += ["Left out (–): " + "; ".join(reasons) + ".", ""] if reasons else []
    versions = sorted({c["peers"][n]["version"] for c in cells for n in names if c["peers"].get(n, {}).get("version")})
    return lines + (["Versions: " + ", ".join(versions) + ".", ""] if versions else [])


def path_tables(cells, loss):
    lines = [f"### Paths, {loss} loss", "", "All λ of a path with warm starts, CPU seconds (medians); the largest suboptimality and gap on the path.", ""]
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
    for verb, tables in (("single", single_tables), ("path", path_tables)):
        for loss in ("squared", "logistic"):
            cells = [c for c in merged.values() if (c["verb"], c["loss"]) == (verb, loss) and ("bidual" in c or "runs" in c)]
            if cells:
                lines += tables(sorted(cells, key=lambda c: (c["instance"], c["P"], -c.get("fraction", 0))), loss)
    return "\n".join(lines)
