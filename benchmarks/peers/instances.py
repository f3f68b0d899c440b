"""The instances of the peer benchmark: tables, targets and gates. Needs numpy and scikit-learn.

Features are standardised over all rows, constant ones are dropped, and a column of ones is appended. Real targets are
standardised, classes are ±1. The gates are seeded N(0, I) directions on the rows of X; equal patterns count once, the
pattern without a one is dropped, and the patterns of a smaller P are the first ones of a larger P.
"""

import csv
import pathlib

import numpy as np

SEED = 20240229
BLOCK = 100  # directions drawn at a time; another value gives other gates


def _standardised(x):
    x = np.asarray(x, dtype=float)
    x = x[:, x.std(0) > 1e-9]
    return np.hstack([(x - x.mean(0)) / x.std(0), np.ones((len(x), 1))])


def _table(data, name):
    path = pathlib.Path(data or ".", name, "data.csv")
    if data is None or not path.exists():
        raise FileNotFoundError(f"{name}: no {path}; say where the tables are with --data DIR")
    with open(path, newline="") as f:
        rows = np.array([[float(v) for v in row] for row in list(csv.reader(f))[1:]])
    return rows[:, :-1], rows[:, -1]


def _sklearn(name):
    from sklearn import datasets
    return getattr(datasets, f"load_{name}")(return_X_y=True)


def _mnist(data):
    path = pathlib.Path(data or ".", "mnist", "data.npz")
    if data is None or not path.exists():
        raise FileNotFoundError(f"mnist: no {path}; say where the tables are with --data DIR")
    with np.load(path) as z:
        images, digits = np.concatenate([z["X_train"], z["X_test"]]), np.concatenate([z["y_train"], z["y_test"]])
    return images.reshape(len(images), -1), digits % 2


def _teacher(_):
    """2000×50 normal rows, ten ReLU neurons, noise of standard deviation 0.3 of the signal's."""
    rng = np.random.default_rng(SEED)
    x = rng.standard_normal((2000, 50))
    signal = np.maximum(x @ rng.standard_normal((50, 10)), 0) @ rng.standard_normal(10)
    return x, signal / signal.std() + 0.3 * rng.standard_normal(2000)


def _digits(_):
    x, y = _sklearn("digits")
    return x, y >= 5


INSTANCES = {  # name: (source, classes?)
    "breast-cancer": (lambda _: _sklearn("breast_cancer"), True),
    "diabetes": (lambda _: _sklearn("diabetes"), False),
    "digits": (_digits, True),
    "power-plant": (lambda data: _table(data, "power-plant"), False),
    "kin8nm": (lambda data: _table(data, "kin8nm"), False),
    "teacher": (_teacher, False),
    "mnist": (_mnist, True),
}


def gates(x, count):
    """(patterns n×P bool, directions d×P) with P = count, fewer if there are not so many."""
    rng = np.random.default_rng(SEED + 1)
    seen, patterns, directions = set(), [], []
    for _ in range(20 * count // BLOCK + 1):
        drawn = rng.standard_normal((BLOCK, x.shape[1]))
        for direction, pattern in zip(drawn, np.ascontiguousarray((x @ drawn.T).T >= 0)):
            key = np.packbits(pattern).tobytes()
            if len(patterns) < count and key not in seen and pattern.any():
                seen.add(key)
                patterns.append(pattern)
                directions.append(direction)
        if len(patterns) == count:
            break
    return np.asfortranarray(np.array(patterns).T), np.array(directions).T


def build(name, patterns, data=None):
    """x (n×d, float64), y (n), patterns (n×P, bool), directions (d×P)."""
    if name not in INSTANCES:
        raise ValueError(f"no instance {name!r}; there are {', '.join(INSTANCES)}")
    source, classes = INSTANCES[name]
    features, target = source(data)
    x, y = _standardised(features), np.asarray(target, dtype=float)
    y = np.where(y > 0, 1.0, -1.0) if classes else (y - y.mean()) / y.std()
    return x, y, *gates(x, patterns)


def has_classes(name):
    """Whether y is ±1, as the logistic loss needs."""
    return INSTANCES[name][1]
