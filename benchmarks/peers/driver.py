"""Runs bidual and the peers as processes on one thread and evaluates what they return."""

import atexit
import json
import os
import pathlib
import select
import subprocess
import sys
import tempfile

import numpy as np

import problem

HERE = pathlib.Path(__file__).resolve().parent
FEASIBLE, COUNTS = 1e-6, 1e-3  # violations of the cones: as good as none; the most with which a result counts
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA", "RAYON", "VECLIB_MAXIMUM")}


class Capped(Exception):
    """The time limit passed before there was an answer."""


class Failed(Exception):
    """The peer gave no solution; the message is its own."""


class Missing(Exception):
    """The peer is not installed or cannot take this instance."""


class Cell:
    """One instance with P patterns and a loss, with cones or without: the arrays, and the same as files in `folder`."""

    def __init__(self, name, count, loss, folder, data=None, cones=False):
        import instances
        self.name, self.count, self.loss, self.cones = name, count, loss, cones
        self.folder = pathlib.Path(folder, f"{name}-{count}")
        files = {key: self.folder / f"{key}.npy" for key in ("x", "y", "patterns", "directions")}
        if not all(path.exists() for path in files.values()):
            self.folder.mkdir(parents=True, exist_ok=True)
            x, y, patterns, directions = instances.build(name, count, data)
            for key, value in zip(files, (x, y, patterns.astype(np.uint8), directions)):
                np.save(files[key], np.ascontiguousarray(value))
        self.x, self.y, patterns = (np.load(files[key]) for key in ("x", "y", "patterns"))
        self.patterns = np.asfortranarray(patterns.astype(bool))
        self.width = (1 + cones) * self.patterns.shape[1]
        self.largest = problem.lambda_max(loss, self.x, self.y, self.patterns)

    def objective(self, lam, w):
        """F(W), W of shape d×P; with cones that of the network, d×2P."""
        f = problem.network_outputs(self.x, w) if self.cones else problem.outputs(self.x, self.patterns, w)
        return problem.objective(self.loss, f, self.y, lam, w)

    def gap(self, lam, w):
        """The relative duality gap at W by the common formula; with cones there is none."""
        return None if self.cones else problem.relative_gap(self.loss, self.x, self.y, self.patterns, lam, w)

    def judge(self, lam, w):
        """F(W), and with cones how far W is outside of them, whether it counts nevertheless, and the F of the program there."""
        if not self.cones:
            return {"objective": self.objective(lam, w)}
        f = problem.outputs(self.x, self.patterns, problem.signed(w))
        violation = problem.violation(self.x, self.patterns, w)
        return {"objective": self.objective(lam, w), "program_objective": problem.objective(self.loss, f, self.y, lam, w),
                "violation": violation, "feasible": violation <= FEASIBLE, "counts": violation <= COUNTS}


class Bidual:
    """The example solve_gated."""

    def __init__(self, binary):
        if not pathlib.Path(binary).exists():
            sys.exit(f"no {binary}; build it with: cargo build --release -p bidual-io --example solve_gated")
        self.binary = str(binary)

    def _run(self, cell, tolerance, more):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder, "out.npy")
            files = [str(cell.folder / f"{key}.npy") for key in ("x", "y", "patterns")]
            command = [self.binary, *files, cell.loss, repr(tolerance), str(out), "--threads", "1", *map(str, more)]
            command += ["--cones"] * cell.cones
            done = subprocess.run(command, capture_output=True, text=True, env=os.environ | ONE_THREAD)
            if done.returncode:
                sys.exit(f"{' '.join(command)}\n{done.stderr}")
            columns = np.load(out).reshape(cell.x.shape[1] + 2, -1)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        for line in lines:
            if line["cpu_seconds"] is None:
                line["cpu_seconds"] = line["seconds"]
        return lines, columns

    def solve(self, cell, lam, tolerance, limit=None, again=False):
        """(line of JSON as solve_gated prints it, W d×P or d×2P); `again`: the second of two solves in one process."""
        more = [repr(lam)] + (["--time-limit", limit] if limit else []) + (["--repeat", 2] if again else [])
        lines, columns = self._run(cell, tolerance, more)
        w, at = np.zeros((cell.x.shape[1], cell.width)), columns[1].astype(int)
        w[:, at // 2 + at % 2 * (cell.width // 2) if cell.cones else at] = columns[2:]  # v_i is 2i there, w_i 2i + 1
        return lines[-1], w

    def path(self, cell, tolerance, points, ratio, limit=None):
        """The lines of a warm-started path, one per λ."""
        more = ["--path", points, ratio] + (["--time-limit", limit] if limit else [])
        return self._run(cell, tolerance, more)[0]


class Peer:
    """A worker process with one peer and one cell; started when needed, ended when it exceeds its time."""

    def __init__(self, name, environment, environments, cell):
        self.name, self.cell, self.process, self.version = name, cell, None, None
        self.python = pathlib.Path(environments, environment, "bin", "python")
        self.out = cell.folder / f"out-{name}-{os.getpid()}.npy"
        atexit.register(self.close)

    def _start(self, limit):
        if not self.python.exists():
            raise Missing(f"no environment {self.python}: see setup.py")
        self.process = subprocess.Popen([str(self.python), str(HERE / "worker.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, env=os.environ | ONE_THREAD, cwd=HERE)
        task = {"peer": self.name, "loss": self.cell.loss, "cones": self.cell.cones, "folder": str(self.cell.folder.resolve())}
        reply = self._ask(task, max(300, limit))
        if "error" in reply:
            self.close()
            raise Missing(reply["error"])
        self.version = reply["version"]

    def _ask(self, task, limit):
        self.process.stdin.write((json.dumps(task) + "\n").encode())
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], limit)[0]:
            self.close()
            raise Capped
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            self.process = None
            raise Failed(f"the process ended with {code}")
        reply = json.loads(line)
        if "failed" in reply:
            raise Failed(reply["failed"])
        return reply

    def _run(self, task, limit):
        if self.process is None:
            self._start(limit)
        return self._ask(task | {"out": str(self.out.resolve())}, limit)

    def solve(self, lam, setting, limit):
        """({"cpu", "wall"} in seconds, W d×P or d×2P)."""
        reply = self._run({"lambda": lam, "largest": self.cell.largest, "setting": setting}, limit)
        return reply, np.load(self.out)

    def path(self, lambdas, tol, limit):
        """({"cpu", "wall"} in seconds, list of W d×P)."""
        reply = self._run({"lambdas": list(lambdas), "tol": tol}, limit)
        index, column, value = np.load(self.out)
        d, count = self.cell.x.shape[1], self.cell.patterns.shape[1]

        def dense(k):
            flat = np.zeros(count * d)
            flat[column[index == k].astype(int)] = value[index == k]
            return flat.reshape(count, d).T
        return reply, (dense(k) for k in range(len(lambdas)))

    def close(self):
        """Ends the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        self.out.unlink(missing_ok=True)
