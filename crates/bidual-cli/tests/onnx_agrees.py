"""Compares onnxruntime with predictions of `bidual predict`, to 1e-6 relative to max(1, |f|).

Usage: onnx_agrees.py MODEL.onnx DATA.csv PREDICTIONS.csv [POSITIVE]
DATA holds raw features x0, x1, ... and perhaps the target; POSITIVE is the name
of the class with label 1, for classifiers. Needs onnx, onnxruntime and numpy.
"""

import csv
import sys

import numpy as np
import onnx
import onnxruntime

TOLERANCE = 1e-6


def columns(path):
    with open(path, encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    return {name: [row[j] for row in rows] for j, name in enumerate(header)}


def main(model, data, predictions, positive=None):
    onnx.checker.check_model(onnx.load(model), full_check=True)
    data, expected = columns(data), columns(predictions)
    inputs = np.array([data[name] for name in data if name.startswith("x")], dtype=np.float64).T
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found = session.run(None, {"X": inputs})
    outputs = found[0][:, 0]
    numbers = np.array(expected["score" if positive else "prediction"], dtype=np.float64)
    if outputs.shape != numbers.shape:
        sys.exit(f"{outputs.shape} outputs, {numbers.shape} predictions")
    off = np.max(np.abs(outputs - numbers) / np.maximum(1.0, np.abs(numbers)))
    if not off <= TOLERANCE:
        sys.exit(f"outputs differ by {off:.1e}, more than {TOLERANCE}")
    if positive:
        labels = np.array(expected["label"]) == positive
        clear = np.abs(numbers) > TOLERANCE
        wrong = np.sum((found[1] == 1)[clear] != labels[clear])
        if wrong:
            sys.exit(f"{wrong} labels differ")
    if np.ptp(numbers) < 0.1:
        sys.exit("the network is almost constant: nothing was tested")
    print(f"{len(numbers)} rows agree to {off:.1e}")


if __name__ == "__main__":
    main(*sys.argv[1:])
