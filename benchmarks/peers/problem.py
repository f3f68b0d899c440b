"""The gated problem, evaluated the same way for everyone; needs numpy only.

    F(W) = 1/n Σ_k ℓ(f_k, y_k) + λ Σ_i ‖w_i‖₂,    f = Σ_i D_i X w_i

with ℓ = ½(f − y)² (squared) or ln(1 + exp(−yf)) (logistic, y = ±1). X is n×d, W is d×P, the patterns are n×P
zeros and ones, λ is absolute.
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


def residual(loss, f, y):
    """−∇F at the outputs f, length n."""
    if loss == "squared":
        return (y - f) / len(y)
    return y / (1 + np.exp(np.clip(y * f, -700, 700))) / len(y)


def mean_loss(loss, f, y):
    """1/n Σ ℓ(f_k, y_k)."""
    return 0.5 * np.mean((f - y) ** 2) if loss == "squared" else np.mean(np.logaddexp(0, -y * f))


def objective(loss, x, y, patterns, lam, w):
    """F(W)."""
    return mean_loss(loss, outputs(x, patterns, w), y) + lam * np.linalg.norm(w, axis=0).sum()


def largest_price(x, patterns, nu):
    """κ(ν) = max_i ‖XᵀD_iν‖ over all patterns."""
    best = 0.0
    for start in range(0, patterns.shape[1], CHUNK):
        masked = patterns[:, start:start + CHUNK] * nu[:, None]
        best = max(best, float(np.linalg.norm(x.T @ masked, axis=0).max()))
    return best


def lambda_max(loss, x, y, patterns):
    """The smallest λ whose solution is W = 0."""
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
    upper = mean_loss(loss, f, y) + lam * np.linalg.norm(w, axis=0).sum()
    nu = residual(loss, f, y)
    kappa = largest_price(x, patterns, nu)
    return (upper - dual_value(loss, y, nu, lam / kappa if kappa > 0 else 1e300)) / upper
