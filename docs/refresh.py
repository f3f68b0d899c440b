#!/usr/bin/env python3
"""Runs the commands that the documentation shows and puts their output next to them.

    python3 docs/refresh.py [--check] [BIDUAL]

In README.md and docs/*.md, the lines after `$ COMMAND` in a console block are the output of
COMMAND, and the text block after the comment `<!-- output: COMMAND -->` is the output of COMMAND,
where `the code above` stands for the Python block before it. --check changes nothing and fails
where the output differs otherwise than in times. BIDUAL is the program, by default
target/release/bidual. Needs only the standard library.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONSOLE = re.compile(r"(?<=```console\n).*?(?=```)", re.S)
MARKED = re.compile(r"(?<=<!-- output: )(.*?)( -->\n+```text\n)(.*?)(?=```)", re.S)
PYTHON = re.compile(r"```python\n(.*?)```", re.S)
TIMES = re.compile(r"\b\d+\.\d\d s(,|$)", re.M)


def main(arguments):
    check = "--check" in arguments
    given = [a for a in arguments if a != "--check"]
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    program = pathlib.Path(given[0] if given else target / "release" / "bidual").resolve()
    changed = []
    with tempfile.TemporaryDirectory() as name:
        place = pathlib.Path(name)
        shutil.copytree(ROOT / "examples", place / "examples")
        (place / "bin").mkdir()
        (place / "bin" / "bidual").symlink_to(program)
        environment = os.environ | {"PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"}

        def run(command):
            done = subprocess.run(command, shell=isinstance(command, str), cwd=place, env=environment,
                                  capture_output=True, text=True)
            # an audit that finds a gap ends with 1
            allowed = (0, 1) if str(command).startswith("bidual certify ") else (0,)
            if done.returncode not in allowed or not done.stdout and done.stderr:
                sys.exit(f"{command}: exit code {done.returncode} {done.stderr}")
            return done.stdout

        def console(match):
            commands = [line for line in match[0].splitlines() if line.startswith("$ ")]
            if any(re.search(r"\b[A-Z]{4,}\b", command) for command in commands):
                return match[0]  # a pattern such as `bidual certify MODEL DATA`
            return "".join(f"{command}\n{run(command[2:])}" for command in commands)

        def marked(match):
            command = match[1]
            if command == "the code above":
                command = [sys.executable, "-c", PYTHON.findall(match.string[:match.start()])[-1]]
            return match[1] + match[2] + run(command)

        for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
            old = path.read_text(encoding="utf-8")
            new = CONSOLE.sub(console, MARKED.sub(marked, old))
            if TIMES.sub("", new) != TIMES.sub("", old):
                changed.append(path.relative_to(ROOT).as_posix())
                if not check:
                    path.write_text(new, encoding="utf-8")
    print("differs:" if check else "changed:", ", ".join(changed) or "nothing")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
