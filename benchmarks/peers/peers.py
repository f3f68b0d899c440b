"""The peers: how each is called, in its own terms, on the problems of problem.py.

A peer is made from (loss, x, y, patterns, directions, cones) outside the clock and may there build what its interface asks for, and in
`prepare(setting)` what depends on the setting. What is timed is `solve(lam, largest, setting)`, largest being λ_max; `dense` turns its
result into W (d×P), with cones [V W] (d×2P). The settings of each of the `ladders`, or `cone_ladders`, run from loose to tight.
Everything runs on one thread.
"""

import numpy as np

MATERIALISED_BYTES = 2e9  # peers that need the n×dP matrix, or that of the cones, are skipped beyond this


class Unsuitable(Exception):
    """The peer cannot take this instance; the message says why."""


def check_size(x, patterns):
    """An n×dP matrix has to fit."""
    size = 8.0 * x.size * patterns.shape[1]
    if size > MATERIALISED_BYTES:
        raise Unsuitable(f"the n×dP matrix would take {size / 1e9:.1f} GB")


def materialised(x, patterns):
    """[D_1X ... D_PX], n×dP in Fortran order: column i·d + j is pattern i, feature j."""
    check_size(x, patterns)
    wide = np.empty((len(x), x.shape[1] * patterns.shape[1]), order="F")
    for i in range(patterns.shape[1]):
        wide[:, i * x.shape[1]:(i + 1) * x.shape[1]] = x * patterns[:, i:i + 1]
    return wide


def half_spaces(x, patterns):
    """The rows of the cones, [(2D_1 − I)X, ..., (2D_P − I)X]: what they make of v_i and of w_i has to be ≥ 0."""
    check_size(x, patterns)
    return [np.where(patterns[:, i:i + 1], x, -x) for i in range(patterns.shape[1])]


def without_cones(cones):
    if cones:
        raise Unsuitable("no cone constraints")


def only_squared(loss, name):
    if loss != "squared":
        raise Unsuitable(f"{name} has no group lasso with the {loss} loss")


class Adelie:
    """adelie: block coordinate descent over the implicit matrix; a setting is (λ per decade on the way down or 0, tol).

    With cones each block is a proximal Newton method on the duals of its n half-spaces; a setting has also the pinball_tol of that,
    which decides on the accuracy in the end. Blocks at zero are tested by an NNLS: its tolerance of 1e-7 would take most of the time
    and gains nothing over 1e-5. Beyond the default of 1e5 iterations the tight settings give up.
    """

    package, environment = "adelie", "adelie"
    ladders = [[(steps, 10.0 ** -k) for k in range(5, 14)] for steps in (0, 10)]
    cone_ladders = [[(steps, 10.0 ** -k, 10.0 ** (looser - k)) for k in range(5, 14)] for steps in (0, 10) for looser in (2, 0)]

    def __init__(self, loss, x, y, patterns, directions, cones):
        import adelie
        self.shape = ((1 + cones) * patterns.shape[1], x.shape[1])
        self.matrix = adelie.matrix.convex_relu(np.asfortranarray(x), np.asfortranarray(patterns), gated=not cones, n_threads=1)
        y = np.ascontiguousarray(y)
        self.glm = adelie.glm.gaussian(y) if loss == "squared" else adelie.glm.binomial((y + 1) / 2)
        self.adelie, self.constraints = adelie, None
        rows = half_spaces(x, patterns) if cones else []
        self.cones = [(adelie.matrix.dense(a, method="constraint"), (a ** 2).sum(1)) for a in rows]

    def prepare(self, setting):
        """The constraints on V and on W, which share their rows."""
        if self.cones:
            lower, upper = np.zeros(len(self.cones[0][1])), np.full(len(self.cones[0][1]), np.inf)
            configs = {"nnls_tol": 1e-5, "pinball_tol": setting[2], "pinball_max_iters": 10 ** 6}
            self.constraints = [self.adelie.constraint.linear(a, lower, upper, vars=squares, configs=configs)
                                for a, squares in self.cones + self.cones]

    def path(self, lambdas, tol):
        """W (d×P) for each of the falling lambdas, warm starts included."""
        count, d = self.shape
        state = self.adelie.grpnet(self.matrix, self.glm, constraints=self.constraints, groups=np.arange(0, count * d, d),
                                   penalty=np.ones(count), lmda_path=np.array(lambdas), tol=tol, irls_tol=tol, intercept=False,
                                   early_exit=False, progress_bar=False, n_threads=1)
        if state.betas.shape[0] != len(lambdas):
            raise RuntimeError(f"adelie returned {state.betas.shape[0]} of {len(lambdas)} solutions")
        return state.betas

    def solve(self, lam, largest, setting):
        steps, tol = setting[:2]
        count = int(np.ceil(steps * np.log10(largest / lam))) if steps and lam < largest else 0
        lambdas = lam * (largest / lam) ** (np.arange(count, -1, -1) / max(count, 1)) if count else np.array([lam])
        return self.path(lambdas[1:] if count else lambdas, tol)

    def dense(self, betas, k=-1):
        """W (d×P) of one solution of a path."""
        return np.asarray(betas[k].todense()).reshape(self.shape).T


class Scnn:
    """pyscnn: accelerated proximal gradient with restarts (R-FISTA), float32 on torch; a setting is its tol.

    With cones its augmented Lagrangian around that, a setting is tol and constraint_tol, and float64: in float32 the subproblems were not
    seen to reach a tol below 1e-4 (diabetes, P = 100).
    """

    package, environment = "pyscnn", "scnn"
    ladders = [[1e-4, 1e-6, 1e-8, 1e-10, 1e-12, 1e-14]]
    cone_ladders = [[1e-4, 1e-5, 1e-6, 1e-8, 1e-10, 1e-12]]

    def __init__(self, loss, x, y, patterns, directions, cones):
        only_squared(loss, "pyscnn")
        import lab
        import torch
        from scnn import metrics, models, optimize, regularizers, solvers
        from scnn.private.interface import models as internal
        torch.set_num_threads(1)

        def device(_, dtype, seed):  # "cpu" means numpy there; torch is faster on one thread
            lab.set_backend("torch"), lab.set_device("cpu"), lab.set_dtype(dtype), lab.set_seeds(seed)

        self.dtype = "float64" if cones else "float32"
        device("cpu", self.dtype, 0)
        table = lab.tensor(x, dtype=lab.get_dtype()), lab.tensor(y, dtype=lab.get_dtype())[:, None]
        optimize.set_device = device
        optimize.process_data = lambda *_: (table, table, None)  # without the detour over Python lists
        # everyone's patterns in their order, and their making not on the clock
        given = patterns.astype(self.dtype), directions
        internal.compute_activation_patterns = lambda *_, **__: given
        self.x, self.y, self.gates, self.cones = x, y, directions, cones
        self.scnn = metrics, models, optimize, regularizers, solvers

    def solve(self, lam, largest, setting):
        metrics, models, optimize, regularizers, solvers = self.scnn
        quiet = metrics.Metrics(metric_freq=10 ** 9, objective=False, grad_norm=True, time=False)
        model = (models.ConvexReLU if self.cones else models.ConvexGatedReLU)(self.gates)
        if self.cones:
            solver = solvers.AL(model, max_primal_iters=200_000, tol=setting, constraint_tol=setting)
        else:
            solver = solvers.RFISTA(model, max_iters=200_000, tol=setting)
        model, _ = optimize.optimize_model(model, solver, quiet, self.x, self.y, regularizer=regularizers.NeuronGL1(lam),
                                           return_convex=True, unitize_data=False, dtype=self.dtype)
        return model.parameters

    def dense(self, parameters):
        return np.concatenate([np.asarray(half, dtype=float)[0] for half in parameters]).T


class Skglm:
    """skglm: working sets and block coordinate descent on the materialised matrix; a setting is its tol."""

    package, environment = "skglm", "lasso"
    ladders = [[10.0 ** -k for k in range(4, 13)]]

    def __init__(self, loss, x, y, patterns, directions, cones):
        without_cones(cones)
        from skglm.datafits import LogisticGroup, QuadraticGroup
        from skglm.penalties import WeightedGroupL2
        from skglm.solvers import GroupBCD
        from skglm.utils.data import grp_converter
        from skglm.utils.jit_compilation import compiled_clone
        self.wide, self.y, self.shape = materialised(x, patterns), y, (patterns.shape[1], x.shape[1])
        indices, pointers = grp_converter(self.shape[1], self.wide.shape[1])
        datafit = QuadraticGroup if loss == "squared" else LogisticGroup
        self.datafit = compiled_clone(datafit(pointers, indices))
        self.penalty = lambda lam: compiled_clone(WeightedGroupL2(lam, np.ones(self.shape[0]), pointers, indices))
        self.solver = GroupBCD
        GroupBCD(max_iter=1, max_epochs=11).solve(self.wide, y, self.datafit, self.penalty(0.1))  # compiles

    def solve(self, lam, largest, setting):
        return self.solver(max_iter=1000, max_epochs=1000, tol=setting).solve(self.wide, self.y, self.datafit, self.penalty(lam))[0]

    def dense(self, w):
        return np.asarray(w).reshape(self.shape).T


class Celer:
    """celer: working sets, dual extrapolation and block coordinate descent on the materialised matrix; a setting is its tol."""

    package, environment = "celer", "lasso"
    ladders = [[10.0 ** -k for k in range(3, 13)]]

    def __init__(self, loss, x, y, patterns, directions, cones):
        without_cones(cones)
        only_squared(loss, "celer")
        from celer import GroupLasso
        self.wide, self.y, self.shape, self.model = materialised(x, patterns), y, (patterns.shape[1], x.shape[1]), GroupLasso

    def solve(self, lam, largest, setting):
        return self.model(groups=self.shape[1], alpha=lam, tol=setting, max_iter=1000, fit_intercept=False).fit(self.wide, self.y).coef_

    def dense(self, w):
        return np.asarray(w).reshape(self.shape).T


class Clarabel:
    """Clarabel: interior points on the conic program over (w, t, r); P ≤ 100; a setting is its tolerance."""

    package, environment = "clarabel", "lasso"
    ladders = [[1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9]]

    def __init__(self, loss, x, y, patterns, directions, cones):
        only_squared(loss, "clarabel's program here")
        if patterns.shape[1] > 100:
            raise Unsuitable("only P = 100")
        from scipy import sparse
        (n, d), count = x.shape, (1 + cones) * patterns.shape[1]
        wide = sparse.csc_matrix(materialised(x, patterns))
        wide = sparse.hstack([wide, -wide]) if cones else wide
        width = wide.shape[1]
        # variables (w, t, r): r + A w = y; (t_i, w_i) in a second-order cone; with cones w = (v, w) and their half-spaces
        norms = np.arange(count * (d + 1))
        group, entry = np.divmod(norms, d + 1)
        column = np.where(entry == 0, width + group, group * d + entry - 1)
        rows = [sparse.hstack([wide, sparse.csc_matrix((n, count)), sparse.eye(n)]),
                sparse.csc_matrix((-np.ones(len(norms)), (norms, column)), shape=(len(norms), width + count + n))]
        if cones:
            halves = sparse.block_diag([-a for a in half_spaces(x, patterns)] * 2)
            rows.append(sparse.hstack([halves, sparse.csc_matrix((n * count, count + n))]))
        self.a = sparse.vstack(rows).tocsc()
        self.b = np.concatenate([y, np.zeros(self.a.shape[0] - n)])
        self.p = sparse.block_diag([sparse.csc_matrix((width + count, width + count)), sparse.eye(n) / n]).tocsc()
        self.sizes, self.cones = (n, d, count), cones

    def solve(self, lam, largest, setting):
        import clarabel
        n, d, count = self.sizes
        q = np.concatenate([np.zeros(d * count), np.full(count, lam), np.zeros(n)])
        cones = [clarabel.ZeroConeT(n)] + [clarabel.SecondOrderConeT(d + 1)] * count + [clarabel.NonnegativeConeT(n * count)] * self.cones
        options = clarabel.DefaultSettings()
        options.verbose, options.max_threads = False, 1
        options.tol_gap_abs = options.tol_gap_rel = options.tol_feas = setting
        return clarabel.DefaultSolver(self.p, q, self.a, self.b, cones, options).solve().x

    def dense(self, solution):
        n, d, count = self.sizes
        return np.asarray(solution)[:d * count].reshape(count, d).T


PEERS = {"adelie": Adelie, "scnn": Scnn, "skglm": Skglm, "celer": Celer, "clarabel": Clarabel}
