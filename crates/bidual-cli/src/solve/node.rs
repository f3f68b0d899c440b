//! JSON values that know where they are, for error messages.

use anyhow::{Context, Result, anyhow, bail, ensure};
use bidual::Mat;
use serde_json::Value;

/// A JSON value that knows where it is.
pub struct Node<'a> {
    /// Where it is: `data.X[3]`; empty for the whole file.
    pub path: String,
    /// What is there.
    pub value: &'a Value,
}

impl<'a> Node<'a> {
    /// The value under `key`; null counts as absent.
    pub fn get(&self, key: &str) -> Option<Node<'a>> {
        let value = self.value.get(key).filter(|v| !v.is_null())?;
        let path = if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) };
        Some(Node { path, value })
    }

    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub fn need(&self, key: &str) -> Result<Node<'a>> {
        self.get(key).with_context(|| {
            let dot = if self.path.is_empty() { "" } else { "." };
            format!("{}{dot}{key}: is missing; add it", self.path)
        })
    }

    pub fn wrong(&self, expected: &str) -> anyhow::Error {
        let mut found = self.value.to_string();
        if let Some((end, _)) = found.char_indices().nth(60) {
            found.truncate(end);
            found.push('…');
        }
        anyhow!("{}: expected {expected}, found {found}", self.path)
    }

    /// A string.
    pub fn string(&self) -> Result<&'a str> {
        self.value.as_str().ok_or_else(|| self.wrong("text"))
    }

    /// A number.
    pub fn number(&self) -> Result<f64> {
        // the parser refuses numbers beyond the range of a double
        self.value.as_f64().ok_or_else(|| self.wrong("a number"))
    }

    pub fn positive(&self) -> Result<f64> {
        self.number().ok().filter(|v| *v > 0.0).ok_or_else(|| self.wrong("a positive number"))
    }

    pub fn text(&self, key: &str) -> Result<Option<&'a str>> {
        self.get(key).map(|node| node.string()).transpose()
    }

    pub fn flag(&self, key: &str) -> Result<bool> {
        match self.get(key) {
            None => Ok(false),
            Some(node) => node.value.as_bool().ok_or_else(|| node.wrong("true or false")),
        }
    }

    pub fn items(&self) -> Result<Vec<Node<'a>>> {
        let items = self.value.as_array().ok_or_else(|| self.wrong("a list"))?;
        let node = |(i, value)| Node { path: format!("{}[{i}]", self.path), value };
        Ok(items.iter().enumerate().map(node).collect())
    }

    pub fn vector(&self) -> Result<Vec<f64>> {
        self.items()?.iter().map(Node::number).collect()
    }

    pub fn matrix(&self) -> Result<Mat> {
        let items = self.items()?;
        let rows = items.iter().map(Node::vector).collect::<Result<Vec<_>>>()?;
        let columns = rows.first().map_or(0, Vec::len);
        ensure!(columns > 0, "{}: expected at least one row of numbers, found none", self.path);
        if let Some(i) = rows.iter().position(|row| row.len() != columns) {
            bail!(
                "{0}[{i}]: expected {columns} numbers as in {0}[0], found {1}",
                self.path,
                rows[i].len()
            );
        }
        Ok(Mat::from_fn(rows.len(), columns, |i, j| rows[i][j]))
    }
}
