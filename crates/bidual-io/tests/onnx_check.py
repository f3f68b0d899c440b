"""Checks exported ONNX models against expected outputs.

Usage: onnx_check.py CASES.json, a list of objects with
  model     path of the .onnx file
  inputs    rows of inputs
  outputs   expected f(x) per row
  labels    expected 0/1 label per row, or null for regressions
Needs the packages onnx, onnxruntime and numpy.
"""

import json
import sys

import numpy as np
import onnx
import onnxruntime


def check(case):
    model = onnx.load(case["model"])
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 8, model.ir_version
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    session = onnxruntime.InferenceSession(
        case["model"], providers=["CPUExecutionProvider"]
    )
    (declared,) = session.get_inputs()
    inputs = np.array(case["inputs"], dtype=np.float64)
    assert declared.name == "X" and declared.type == "tensor(double)"
    assert declared.shape == ["N", inputs.shape[1]], declared.shape
    # All rows at once, then the first row alone: N is free.
    for rows in (inputs, inputs[:1]):
        found = session.run(None, {"X": rows})
        names = [o.name for o in session.get_outputs()]
        expected = np.array(case["outputs"], dtype=np.float64)[: len(rows), None]
        assert names[0] == "output" and found[0].dtype == np.float64
        assert found[0].shape == expected.shape, found[0].shape
        np.testing.assert_allclose(found[0], expected, rtol=1e-11, atol=1e-11)
        if case["labels"] is None:
            assert names == ["output"], names
        else:
            assert names == ["output", "label"], names
            assert found[1].dtype == np.int64
            assert found[1].tolist() == case["labels"][: len(rows)]


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        cases = json.load(file)
    for case in cases:
        try:
            check(case)
        except Exception as error:
            sys.exit(f"{case['model']}: {type(error).__name__}: {error}")
    print(f"{len(cases)} models agree")


if __name__ == "__main__":
    main()
