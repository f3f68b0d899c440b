"""Runs one peer in its own process and environment: a line of JSON in, a line of JSON out. Started by run.py.

The first line in: {"peer", "loss", "cones", "folder"}; the folder has x.npy, y.npy, patterns.npy, directions.npy.
Then {"lambda", "largest", "setting", "out"}: solves, writes W (d×P, with cones d×2P) to `out`, answers {"cpu", "wall"} in seconds;
or {"lambdas", "tol", "out"}: a path by adelie, `out` has (λ index, entry of W as d·P in pattern order, value) rows.
"""

import importlib.metadata
import json
import os
import pathlib
import sys
import time
import warnings

import numpy as np

import peers

warnings.filterwarnings("ignore")


def answer(channel, value):
    channel.write(json.dumps(value) + "\n")
    channel.flush()


def timed(work):
    """(result, CPU seconds of the process, wall seconds)."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.process_time() - cpu, time.perf_counter() - wall


def main():
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a peer prints does not reach the channel
    task = json.loads(sys.stdin.readline())
    folder = pathlib.Path(task["folder"])
    arrays = [np.load(folder / f"{name}.npy") for name in ("x", "y", "patterns", "directions")]
    arrays[2] = np.asfortranarray(arrays[2].astype(bool))
    try:
        peer = peers.PEERS[task["peer"]](task["loss"], *arrays, task["cones"])
    except ImportError as error:
        return answer(channel, {"error": f"not installed ({error}): see setup.py"})
    except peers.Unsuitable as error:
        return answer(channel, {"error": str(error)})
    answer(channel, {"version": f"{peer.package} {importlib.metadata.version(peer.package)}"})
    for line in sys.stdin:
        task = json.loads(line)
        try:
            if "lambdas" in task:
                betas, cpu, wall = timed(lambda: peer.path(task["lambdas"], task["tol"]))
                entries = betas.tocoo()
                np.save(task["out"], np.array([entries.row, entries.col, entries.data], dtype=float))
            else:
                setting = tuple(task["setting"]) if isinstance(task["setting"], list) else task["setting"]
                if hasattr(peer, "prepare"):
                    peer.prepare(setting)
                result, cpu, wall = timed(lambda: peer.solve(task["lambda"], task["largest"], setting))
                np.save(task["out"], peer.dense(result))
            answer(channel, {"cpu": cpu, "wall": wall})
        except Exception as error:  # a peer's own failure is a result
            answer(channel, {"failed": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
