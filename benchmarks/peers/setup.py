#!/usr/bin/env python3
"""Makes the Python environments of the peers.

usage: python3 benchmarks/peers/setup.py DIR [--only adelie,lasso,scnn]

The peers ask for versions of numpy that exclude each other, so that there is an environment each:

    DIR/adelie   adelie, numpy < 2, scikit-learn (the tables); run.py itself runs with its python
    DIR/lasso    skglm, celer, clarabel
    DIR/scnn     pyscnn (imported as scnn) with torch: several GB

What cannot be installed is named and left out; run.py then skips these peers and says so.
"""

import argparse
import pathlib
import subprocess
import sys
import venv

ENVIRONMENTS = {
    "adelie": [["adelie", "scikit-learn"]],
    "lasso": [["scikit-learn", "skglm"], ["celer"], ["clarabel"]],
    "scnn": [["pyscnn"]],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=pathlib.Path)
    parser.add_argument("--only", type=lambda s: s.split(","), default=list(ENVIRONMENTS))
    args = parser.parse_args()
    unknown = set(args.only) - set(ENVIRONMENTS)
    if unknown:
        sys.exit(f"unknown environments {sorted(unknown)}; there are {', '.join(ENVIRONMENTS)}")
    for name in args.only:
        folder = args.dir / name
        if not (folder / "bin" / "python").exists():
            venv.create(folder, with_pip=True)
        for packages in ENVIRONMENTS[name]:
            command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages]
            done = subprocess.run(command, capture_output=True, text=True)
            end = (done.stderr.strip().splitlines() or ["no message"])[-1]
            print(f"{name}: {', '.join(packages)}:", "installed" if done.returncode == 0 else f"not installed: {end}", flush=True)


if __name__ == "__main__":
    main()
