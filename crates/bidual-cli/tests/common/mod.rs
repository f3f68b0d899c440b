//! Runs the real binary in a directory of its own.
#![allow(dead_code)] // each test file uses its part

use serde_json::Value;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

pub struct Place {
    directory: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Sorted names of the files there are.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// `words` are arguments, separated by blanks.
    pub fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bidual"));
        command.current_dir(self.directory.path()).args(words.split_whitespace());
        command.stdin(Stdio::null());
        command
    }

    pub fn run(&self, words: &str) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs, expects this exit code and an empty stderr, returns stdout.
    pub fn expect(&self, code: i32, words: &str) -> String {
        let output = self.run(words);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "bidual {words}\n{out}\n{err}");
        assert_eq!(err, "", "bidual {words}");
        out
    }

    pub fn json(&self, code: i32, words: &str) -> Value {
        serde_json::from_str(&self.expect(code, &format!("{words} --json"))).unwrap()
    }

    /// Runs, expects exit code 2, one line on stderr with all of `says`, and nothing written.
    pub fn refuse(&self, words: &str, says: &[&str]) {
        let before = self.names();
        let output = self.run(words);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(2), "bidual {words}\n{out}\n{err}");
        assert_eq!(out, "", "bidual {words}");
        assert!(err.starts_with("error: "), "bidual {words}: {err:?}");
        assert_eq!(err.trim_end().lines().count(), 1, "bidual {words}: {err:?}");
        for part in says {
            assert!(err.contains(part), "bidual {words}: {part:?} is not in {err:?}");
        }
        assert_eq!(self.names(), before, "bidual {words} wrote a file");
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Pseudo-random numbers in (−1, 1), the same on every machine.
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// A table of n rows: features x0, x1, … times `scales`, the column `y`
/// (a quantity) and the column `class` (no, yes).
pub fn table(n: usize, scales: &[f64], seed: u64) -> String {
    let mut noise = Noise(seed);
    let names: Vec<String> = (0..scales.len()).map(|j| format!("x{j}")).collect();
    let mut csv = format!("{},y,class\n", names.join(","));
    for _ in 0..n {
        let x: Vec<f64> = scales.iter().map(|_| noise.next()).collect();
        let f = x[0].abs() - 0.5 * x[x.len() - 1] + 0.1 * noise.next();
        for (x, scale) in x.iter().zip(scales) {
            write!(csv, "{:?},", x * scale).unwrap();
        }
        let class = if f + 0.2 * noise.next() > 0.4 { "yes" } else { "no" };
        writeln!(csv, "{f:?},{class}").unwrap();
    }
    csv
}

/// The columns of a CSV file without quotes.
pub fn columns(csv: &[u8]) -> Vec<Vec<String>> {
    let text = text(csv);
    let mut lines = text.lines();
    let mut columns: Vec<Vec<String>> =
        lines.next().unwrap().split(',').map(|name| vec![name.to_owned()]).collect();
    for line in lines {
        line.split(',').zip(&mut columns).for_each(|(cell, column)| column.push(cell.to_owned()));
    }
    columns
}

/// Without the column `name`.
pub fn without(csv: &str, name: &str) -> String {
    let drop = csv.lines().next().unwrap().split(',').position(|n| n == name).unwrap();
    let keep = |line: &str| {
        let cells = line.split(',').enumerate().filter(|(j, _)| *j != drop);
        cells.map(|(_, cell)| cell).collect::<Vec<_>>().join(",") + "\n"
    };
    csv.lines().map(keep).collect()
}

pub fn golden_folder() -> PathBuf {
    std::env::var_os("BIDUAL_GOLDEN")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden"))
}
