//! Golden cases, a small generator, and linear algebra that does not use the crate's.

#![allow(dead_code)] // each test file uses a part

use bidual::Mat;
use serde_json::Value;

/// splitmix64, so that the cases are the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn normal(&mut self) -> f64 {
        let r = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        r * (std::f64::consts::TAU * self.uniform()).cos()
    }

    pub fn normals(&mut self, n: usize, scale: f64) -> Vec<f64> {
        (0..n).map(|_| scale * self.normal()).collect()
    }

    pub fn matrix(&mut self, n: usize, d: usize) -> Mat {
        Mat::from_fn(n, d, |_, _| self.normal())
    }
}

/// A case of the repository's reference optima, such as "two_layer/relu01_sq".
pub fn golden(name: &str) -> Value {
    let path = format!("{}/../../tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect(name);
    serde_json::from_str(&text).expect(name)
}

pub fn vector(v: &Value) -> Vec<f64> {
    v.as_array().expect("array").iter().map(|v| v.as_f64().expect("number")).collect()
}

pub fn matrix(v: &Value) -> Mat {
    let rows: Vec<Vec<f64>> = v.as_array().expect("array").iter().map(vector).collect();
    Mat::from_fn(rows.len(), rows[0].len(), |i, j| rows[i][j])
}

pub fn column(m: &Mat, j: usize) -> &[f64] {
    m.col_as_slice(j)
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

pub fn width(c: &[f64]) -> usize {
    c.iter().filter(|v| **v > 0.0).count()
}

pub fn times(m: &Mat, c: &[f64]) -> Vec<f64> {
    (0..m.nrows()).map(|i| (0..m.ncols()).map(|j| m[(i, j)] * c[j]).sum()).collect()
}

pub fn residual_squared(y: &[f64], f: &[f64]) -> Vec<f64> {
    y.iter().zip(f).map(|(y, f)| y - f).collect()
}

/// Norm of v without its components along the columns of z (Gram–Schmidt, twice).
pub fn off_span(z: &Mat, v: &[f64]) -> f64 {
    let mut basis: Vec<Vec<f64>> = vec![];
    let clean = |v: &mut Vec<f64>, basis: &[Vec<f64>]| {
        for q in basis.iter().chain(basis) {
            let t = dot(q, v);
            v.iter_mut().zip(q).for_each(|(v, q)| *v -= t * q);
        }
    };
    for j in 0..z.ncols() {
        let mut q = column(z, j).to_vec();
        clean(&mut q, &basis);
        let length = norm(&q);
        basis.push(q.iter().map(|v| v / length).collect());
    }
    let mut v = v.to_vec();
    clean(&mut v, &basis);
    norm(&v)
}
