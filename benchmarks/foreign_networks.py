"""Networks that other programs trained, in the files that those programs write.

  foreign_networks.py fixtures OUT
      one small network of each kind, with the predictions of all in expected.json;
      those of an ONNX file are onnxruntime's
  foreign_networks.py train OUT CSV:TARGET[:classes] ...
      20 ReLU networks a table: torch with Adam and SGD, scikit-learn with Adam and SGD,
      over widths and learning rates, as ONNX, with manifest.json: the λ of the weight
      decay, the objective, and the predictions' file

The objective is bidual's: the mean loss (squared: half the squared error) plus
λ/2 times the squares of all weights and hidden biases on standardised features; the
output bias is free. scikit-learn does not penalise biases, and so its λ belongs to
the same objective without the hidden biases ("bias": "free").

Needs torch, onnx, onnxscript, onnxruntime, skl2onnx, scikit-learn and safetensors.
"""

import argparse
import contextlib
import csv
import io
import json
import pathlib
import warnings

import numpy as np
import onnx
import onnxruntime
import torch
from safetensors.torch import save_file
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skl2onnx import to_onnx
from torch import nn


class Net(nn.Module):
    """Standardise, hidden layer, output: the form that many scripts have."""

    def __init__(self, d, m, mean=None, std=None, end=None):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(d, m), nn.Linear(m, 1)
        self.end = end
        self.scaled = mean is not None
        if self.scaled:
            self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32))
            self.register_buffer("std", torch.as_tensor(std, dtype=torch.float32))

    def forward(self, x):
        if self.scaled:
            x = (x - self.mean) / self.std
        out = self.fc2(torch.relu(self.fc1(x)))
        if self.end == "squeeze":
            return out.squeeze(-1)
        if self.end == "select":
            return out[:, 0]
        return torch.sigmoid(out) if self.end == "sigmoid" else out


class TargetScaled(nn.Module):
    """A network on a standardised target, scaled back at the end."""

    def __init__(self, net, mean, std):
        super().__init__()
        self.net, self.mean, self.std = net, mean, std

    def forward(self, x):
        return self.net(x) * self.std + self.mean


class Table(nn.Module):
    """Inputs flattened by their shape, outputs reshaped, the ReLU written as a clamp."""

    def __init__(self, d, m):
        super().__init__()
        self.hidden, self.output = nn.Linear(d, m), nn.Linear(m, 1)

    def forward(self, x):
        h = self.hidden(x.view(x.size(0), -1)).clamp(min=0.0)
        return self.output(h).view(-1, 1)


def sequential(d, m, activation=nn.ReLU, bias=True, outputs=1):
    return nn.Sequential(
        nn.Linear(d, m, bias=bias), activation(), nn.Linear(m, outputs, bias=bias)
    )


def export(model, path, d, dynamo, dtype=torch.float32, **options):
    """torch.onnx.export with a free number of rows, without its chatter."""
    model = model.eval()
    x = torch.zeros(2, d, dtype=dtype)
    rows = (
        {"dynamic_shapes": ({0: torch.export.Dim("rows", min=1)},)}
        if dynamo
        else {"dynamic_axes": {"x": {0: "rows"}}, "opset_version": 17}
    )
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (x,), str(path), input_names=["x"], dynamo=dynamo, **rows, **options
        )


def strip(path):
    """Removes the traces of the source code, which name files of this machine."""
    model = onnx.load(str(path), load_external_data=False)
    del model.metadata_props[:]
    for part in [*model.graph.node, *model.graph.initializer, *model.graph.input,
                 *model.graph.value_info, *model.graph.output, model.graph]:
        del part.metadata_props[:]
    path.write_bytes(model.SerializeToString())


def onnx_run(path, inputs):
    """All outputs of a graph as arrays, by name."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (declared,) = session.get_inputs()
    dtype = np.float64 if declared.type == "tensor(double)" else np.float32
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(None, {declared.name: inputs.astype(dtype)})))


def probability(outputs):
    """The probability of the second class in what a classifier's graph returns."""
    values = list(outputs.values())[-1]
    if isinstance(values, list):  # ZipMap: a dictionary a row
        return np.array([list(row.values())[1] for row in values], dtype=float)
    values = np.asarray(values, dtype=float)
    return values[:, 1] if values.ndim == 2 and values.shape[1] == 2 else values.ravel()


def logit(p):
    return np.log(p) - np.log1p(-p)


# --- fixtures ---------------------------------------------------------------------


def fixtures(out):
    out.mkdir(parents=True, exist_ok=True)
    d, m, rows = 3, 5, 8
    numbers = np.random.default_rng(0)
    torch.manual_seed(0)
    x = np.round(numbers.normal(size=(rows, d)) * [1.0, 2.0, 0.5] + [0.0, 1.0, -1.0], 4)
    mean, std = x.mean(axis=0), x.std(axis=0)

    expected = []

    def note(name, kind, outputs, inputs=x):
        """kind: value, logit or refused."""
        outputs = None if outputs is None else np.asarray(outputs, dtype=float).ravel().tolist()
        entry = {"file": name, "kind": kind, "inputs": inputs.tolist(), "outputs": outputs}
        expected.append(entry)

    def graph(name, kind="value"):
        path = out / f"{name}.onnx"
        strip(path)
        found = onnx_run(path, x)
        if kind == "value":
            note(f"{name}.onnx", kind, next(iter(found.values())))
        elif kind == "logit":
            note(f"{name}.onnx", kind, logit(probability(found)))
        else:
            note(f"{name}.onnx", kind, None)

    for dynamo, old in ((False, "torch_legacy"), (True, "torch")):
        small = {"external_data": False} if dynamo else {}

        def save(name, model, kind="value", dtype=torch.float32, **options):
            export(model, out / f"{old}_{name}.onnx", d, dynamo, dtype, **{**small, **options})
            graph(f"{old}_{name}", kind)

        save("sequential", sequential(d, m))
        save("no_bias", sequential(d, m, bias=False))
        save("double", sequential(d, m).double(), dtype=torch.float64)
        save("scaled", Net(d, m, mean, std))
        save("sigmoid", Net(d, m, mean, std, "sigmoid"), "logit")
        save("squeeze", Net(d, m, end="squeeze"))
        save("select", Net(d, m, end="select"))
        save("flatten", nn.Sequential(nn.Flatten(), *sequential(d, m)))
        save("target", TargetScaled(sequential(d, m), 3.0, 2.5))
        save("clamp", Table(d, m))
        normed = nn.Sequential(nn.BatchNorm1d(d), nn.Linear(d, m), nn.ReLU(), nn.Linear(m, 1))
        normed[0].running_mean[:] = torch.as_tensor(mean)
        normed[0].running_var[:] = torch.as_tensor(std**2)
        save("batch_norm", normed)
        save("dropout", nn.Sequential(nn.Linear(d, m), nn.ReLU(), nn.Dropout(), nn.Linear(m, 1)))
        deep = [nn.Linear(d, m), nn.ReLU(), nn.Linear(m, m), nn.ReLU(), nn.Linear(m, 1)]
        save("deep", nn.Sequential(*deep), "refused")
        save("tanh", sequential(d, m, nn.Tanh), "refused")
        save("outputs", sequential(d, m, outputs=3), "refused")
        save("linear", nn.Sequential(nn.Linear(d, 2), nn.Linear(2, m), nn.ReLU(), nn.Linear(m, 1)), "refused")
    export(sequential(d, 100), out / "torch_external.onnx", d, True)
    graph("torch_external")

    y = np.abs(x[:, 0]) + x[:, 1]
    wide = np.round(numbers.normal(size=(60, d)), 4)
    target = np.abs(wide[:, 0]) + 0.5 * wide[:, 1]
    options = {"hidden_layer_sizes": (m,), "random_state": 0, "max_iter": 400}
    first = {"X": x[:1].astype(np.float32)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        regressor = MLPRegressor(**options).fit(wide, target)
        pipeline = make_pipeline(StandardScaler(), MLPRegressor(**options)).fit(wide, target)
        classifier = MLPClassifier(**options).fit(wide, np.where(target > 0.8, "yes", "no"))
        scaled = make_pipeline(StandardScaler(), MLPClassifier(**options)).fit(wide, target > 0.8)
        three = MLPClassifier(**options).fit(wide, np.digitize(target, [0.5, 1.0]))
        deep = MLPRegressor(**{**options, "hidden_layer_sizes": (4, 3)}).fit(wide, target)
        tanh = MLPRegressor(**options, activation="tanh").fit(wide, target)
    for name, model, kind, extra in [
        ("regressor", regressor, "value", {}),
        ("pipeline", pipeline, "value", {}),
        ("double", pipeline, "value", {"X": x[:1]}),
        ("classifier", classifier, "logit", {}),
        ("classifier_array", classifier, "logit", {"options": {"zipmap": False}}),
        ("classifier_scaled", scaled, "logit", {"options": {"zipmap": False}}),
        ("classes", three, "refused", {}),
        ("deep", deep, "refused", {}),
        ("tanh", tanh, "refused", {}),
    ]:
        path = out / f"sklearn_{name}.onnx"
        path.write_bytes(to_onnx(model, **{**first, **extra}).SerializeToString())
        graph(f"sklearn_{name}", kind)

    tensor = torch.as_tensor(x, dtype=torch.float32)
    for name, model in [
        ("sequential", sequential(d, m)),
        ("fc", Net(d, m)),
        ("hidden_output", Table(d, m)),
        ("nested", nn.ModuleDict({"net": sequential(d, m)})),
        ("no_bias", sequential(d, m, bias=False)),
        ("square", sequential(d, d)),
    ]:
        state = {k: v.contiguous() for k, v in model.state_dict().items()}
        file = out / f"torch_{name}.safetensors"
        save_file(state, file)
        file.chmod(0o644)
        run = model["net"] if isinstance(model, nn.ModuleDict) else model
        note(f"torch_{name}.safetensors", "value", run(tensor).detach())
        if name in ("sequential", "fc"):
            np.savez(out / f"torch_{name}.npz", **{k: v.numpy() for k, v in state.items()})
            note(f"torch_{name}.npz", "value", run(tensor).detach())
    arrays = {f"coefs_{i}": c for i, c in enumerate(regressor.coefs_)}
    arrays |= {f"intercepts_{i}": c for i, c in enumerate(regressor.intercepts_)}
    np.savez(out / "sklearn.npz", **arrays)
    note("sklearn.npz", "value", regressor.predict(x))
    one = MLPRegressor(**options).fit(wide[:, :1], y=np.abs(wide[:, 0]))
    (w1, w2), (b1, b2) = one.coefs_, one.intercepts_
    np.savez(out / "one_feature.npz", W1=w1, b1=b1, W2=w2, b2=b2)
    note("one_feature.npz", "value", one.predict(x[:, :1]), x[:, :1])
    lines = ",\n".join(json.dumps(entry) for entry in expected)
    (out / "expected.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    (out / "README.md").write_text(
        "Networks of other programs, written by `benchmarks/foreign_networks.py fixtures`, and\n"
        "their predictions (`outputs`, before a sigmoid for `logit`) in `expected.json`.\n",
        encoding="utf-8",
    )


# --- training ---------------------------------------------------------------------


def read_table(path, target, classes):
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    names, values = rows[0], np.array(rows[1:], dtype=float)
    column = names.index(target)
    y = values[:, column]
    if classes:
        y = np.where(y == y.max(), 1.0, -1.0)
    return np.delete(values, column, axis=1), y


def loss_of(f, y, classes):
    if classes:
        return nn.functional.softplus(-y * f).mean()
    return 0.5 * ((f - y) ** 2).mean()


def train_torch(x, y, classes, m, optimiser, rate, weight_decay, epochs, batch, seed):
    torch.manual_seed(seed)
    mean, std = x.mean(axis=0), x.std(axis=0)
    std = np.where(std > 0, std, 1.0)
    net = Net(x.shape[1], m, mean, std)
    inputs = torch.as_tensor(x, dtype=torch.float32)
    targets = torch.as_tensor(y, dtype=torch.float32)
    with torch.no_grad():
        net.fc2.bias.fill_(0.0 if classes else float(y.mean()))
    decayed = [net.fc1.weight, net.fc1.bias, net.fc2.weight]
    step = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimiser](
        net.parameters(), lr=rate, **({"momentum": 0.9} if optimiser == "sgd" else {})
    )

    def objective(rows):
        penalty = sum((w * w).sum() for w in decayed)
        return loss_of(net(inputs[rows])[:, 0], targets[rows], classes) + weight_decay / 2 * penalty

    n = len(y)
    for _ in range(epochs):
        order = torch.randperm(n)
        for start in range(0, n, batch):
            step.zero_grad()
            objective(order[start : start + batch]).backward()
            step.step()
    return net, float(objective(torch.arange(n)).detach())


def train_sklearn(x, y, classes, m, optimiser, rate, alpha, epochs, seed):
    kind = MLPClassifier if classes else MLPRegressor
    mlp = kind(
        hidden_layer_sizes=(m,), solver=optimiser, learning_rate_init=rate, alpha=alpha,
        max_iter=epochs, random_state=seed, tol=0.0, n_iter_no_change=epochs,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make_pipeline(StandardScaler(), mlp).fit(x, y)


def train(out, tables, epochs):
    out.mkdir(parents=True, exist_ok=True)
    manifest = []
    for table in tables:
        path, target, *kind = table.split(":")
        classes = kind == ["classes"]
        x, y = read_table(path, target, classes)
        n = len(y)
        stem = pathlib.Path(path).stem
        settings = [
            (library, optimiser, m, rate)
            for library in ("torch", "sklearn")
            for optimiser in ("adam", "sgd")
            for m, rate in ((10, 1e-3), (10, 1e-2), (50, 1e-3), (50, 1e-2), (200, 3e-3))
        ]
        for index, (library, optimiser, m, rate) in enumerate(settings):
            name = f"{stem}_{library}_{optimiser}_{m}_{rate:g}"
            weight_decay, file = 1e-3, out / f"{name}.onnx"
            entry = {
                "file": file.name, "data": path, "target": target, "library": library,
                "optimiser": optimiser, "width": m, "rate": rate,
                "loss": "logistic" if classes else "squared",
            }
            if library == "torch":
                net, value = train_torch(
                    x, y, classes, m, optimiser, rate, weight_decay, epochs, 64, index
                )
                if not np.isfinite(value):
                    print(f"{name}: diverged")
                    continue
                export(net, file, x.shape[1], dynamo=index % 2 == 0)
                entry |= {"lambda": weight_decay, "bias": "penalised", "objective": value}
            else:
                # scikit-learn's alpha is divided by the rows of a batch: with batches of
                # min(200, n) rows, λ = alpha / that number; its squared loss has the ½
                rows = min(200, n)
                try:
                    model = train_sklearn(
                        x, y, classes, m, optimiser, rate, weight_decay * rows, epochs, index
                    )
                except ValueError as error:
                    if "non-finite" not in str(error):
                        raise
                    print(f"{name}: diverged")
                    continue
                first = x[:1].astype(np.float32)
                file.write_bytes(to_onnx(model, first).SerializeToString())
                entry |= {"lambda": weight_decay, "bias": "free"}
            found = onnx_run(file, x)
            scores = logit(probability(found)) if library == "sklearn" and classes else None
            values = scores if scores is not None else np.ravel(next(iter(found.values())))
            np.save(out / f"{name}.npy", np.asarray(values, dtype=float))
            entry["predictions"] = f"{name}.npy"
            manifest.append(entry)
            print(name, entry.get("objective", ""))
    text = json.dumps(manifest, indent=1)
    (out / "manifest.json").write_text(text + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("fixtures")
    verb.add_argument("out", type=pathlib.Path)
    verb = verbs.add_parser("train")
    verb.add_argument("out", type=pathlib.Path)
    verb.add_argument("tables", nargs="+", metavar="CSV:TARGET[:classes]")
    verb.add_argument("--epochs", type=int, default=300)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.verb == "fixtures":
        fixtures(args.out)
    else:
        train(args.out, args.tables, args.epochs)


if __name__ == "__main__":
    main()
