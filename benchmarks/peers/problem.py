"""The two problems, evaluated the same way for everyone; needs numpy only.

Gated: F(W) = 1/n Σ_k ℓ(f_k, y_k) + λ Σ_i ‖w_i‖₂,    f = Σ_i D_i X w_i

with ℓ = ½(f − y)² (squared) or ln(1 + exp(−yf)) (logistic, y = ±1). X is n×d, W is d×P, the patterns are n×P
zeros and ones, λ is absolute.

With cones (exact ReLU): f = Σ_i D_i X (v_i − w_i) subject to (2D_i − I) X v_i ≥ 0 and (2D_i − I) X w_i ≥ 0, every column
of [V W] (d×2P) in the norms. Solvers return points a little outside; evaluated is therefore the network with these columns,
f = Σ_i (X v_i)₊ − (X w_i)₊, whose F is the same in the cones and that of some network in any case, and beside it how far
outside they are.
"""

import numpy as np

LOSSES = ("squared", "logistic")
CHUNK = 256  # patterns at a time: n × CHUNK doubles of scratch


def outputs(x, patterns, w):
    """f = Σ_i D_i X w_i, length n; columns of w (d×P) that are zero cost nothing."""
    active = np.flatnonzero(np.any(w != 0, axis=0))
    f = np.zeros(len(x))
    for start in range(0, len(active), CHUNK):
        at = active[start:start + CHUNK]
        f += np.einsum("kp,kp->k", x @ w[:, at], patterns[:, at].astype(float))
    return f


def signed(w):
    """V − W (d×P) of [V W]: with it the program with cones has the outputs of the gated one."""
    count = w.shape[1] // 2
    return w[:, :count] - w[:, count:]


def network_outputs(x, w):
    """f = Σ_i (X v_i)₊ − (X w_i)₊ of [V W], length n."""
    active = np.flatnonzero(np.any(w != 0, axis=0))
    f = np.zeros(len(x))
    for start in range(0, len(active), CHUNK):
        at = active[start:start + CHUNK]
        f += np.maximum(x @ w[:, at], 0) @ np.where(at < w.shape[1] // 2, 1.0, -1.0)
    return f


def violation(x, patterns, w):
    """max −(2D_i − I)_kk x_kᵀv over the columns v of [V W] and the rows, over the largest ‖v‖ times the largest ‖x_k‖; 0 in the cones.

    Not over each column's own norm: interior points and augmented Lagrangians leave columns of norm 1e-9 that point anywhere.
    """
    active, worst = np.flatnonzero(np.any(w != 0, axis=0)), 0.0
    for start in range(0, len(active), CHUNK):
        at = active[start:start + CHUNK]
        z = x @ w[:, at]
        worst = max(worst, float(np.where(patterns[:, at % patterns.shape[1]], -z, z).max()))
    return worst / float(np.linalg.norm(w, axis=0).max() * np.linalg.norm(x, axis=1).max()) if worst > 0 else 0.0


def residual(loss, f, y):
    """−∇F at the outputs f, length n."""
    if loss == "squared":
        return (y - f) / len(y)
    return y / (1 + np.exp(np.clip(y * f, -700, 700))) / len(y)


def mean_loss(loss, f, y):
    """1/n Σ ℓ(f_k, y_k)."""
    return 0.5 * np.mean((f - y) ** 2) if loss == "squared" else np.mean(np.logaddexp(0, -y * f))


def objective(loss, f, y, lam, w):
    """F at the columns w with the outputs f."""
    return mean_loss(loss, f, y) + lam * np.linalg.norm(w, axis=0).sum()


def largest_price(x, patterns, nu):
    """κ(ν) = max_i ‖XᵀD_iν‖ over all patterns."""
    best = 0.0
    for start in range(0, patterns.shape[1], CHUNK):
        masked = patterns[:, start:start + CHUNK] * nu[:, None]
        best = max(best, float(np.linalg.norm(x.T @ masked, axis=0).max()))
    return best


def lambda_max(loss, x, y, patterns):
    """The smallest λ whose gated solution is W = 0; with cones too, λ is a fraction of this one."""
    return largest_price(x, patterns, residual(loss, np.zeros(len(y)), y))


def dual_value(loss, y, nu, most):
    """max D(tν) over 0 ≤ t ≤ most, D(ν) = −F*(−ν)."""
    n = len(y)
    if loss == "squared":  # D(ν) = νᵀy − n/2 ‖ν‖²
        a, b = float(nu @ y), n * float(nu @ nu)
        t = min(max(a / b, 0.0), most) if b > 0 else 0.0
        return t * a - 0.5 * t * t * b
    p = n * y * nu  # in [0, 1]; D = mean entropy of tp, concave in t

    def value(t):
        q = np.clip(t * p, 1e-300, 1 - 1e-16)
        return float(np.mean(-q * np.log(q) - (1 - q) * np.log1p(-q)))

    low, high = 0.0, min(most, 1 / max(float(p.max()), 1e-300))
    ratio = (5 ** 0.5 - 1) / 2
    for _ in range(80):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if value(a) >= value(b) else (a, high)
    return max(value(low), value(high))


def relative_gap(loss, x, y, patterns, lam, w):
    """(F(W) − D)/F(W) with the dual point scaled from the residual at W, as a solver without a dual would be judged."""
    f = outputs(x, patterns, w)
    upper = objective(loss, f, y, lam, w)
    nu = residual(loss, f, y)
    kappa = largest_price(x, patterns, nu)
    return (upper - dual_value(loss, y, nu, lam / kappa if kappa > 0 else 1e300)) / upper
