//! Closed patterns `1{Xu ≥ 0}` of all u, ties included, for threshold units.
//!
//! Derived here. A face of the arrangement lies in one flat, on which the rows T
//! vanish. If some δ has `Xδ ≥ 0` on T without vanishing there, a step along δ
//! keeps the pattern and leaves the flat, so the pattern belongs to a larger
//! face. Otherwise (some positive combination of all rows of T is zero) every u
//! with this pattern vanishes on T. Hence the closed patterns are, without
//! repetition, the open cells of the arrangements induced on the flats whose T
//! is positively dependent; the whole space is one of them, with T empty.

use std::f64::consts::FRAC_PI_2;
use std::ops::ControlFlow;

use super::enumerate::EnumerateError;
use super::flat::Flat;
use super::patterns::Patterns;
use super::prepared::{Prepared, Scratch, counted, disagreement};
use super::restriction::Failure;
use super::rows::{UnitRows, dot, normalise, subtract};
use super::stream::{Count, for_each_cell};

/// All vectors `1{Xu ≥ 0}`, u ∈ R^d.
#[derive(Clone, Debug, PartialEq)]
pub struct ClosedPatterns {
    /// Distinct patterns in the order of the `0`/`1` strings; zero rows are
    /// active in all of them.
    pub patterns: Patterns,
    /// A direction u of length d per pattern, concatenated: of unit length, or 0
    /// for the pattern of u = 0 alone.
    pub witnesses: Vec<f64>,
    /// How many samples of non-zero rows every u with the pattern ties
    /// (`x_iᵀu = 0`); 0 for the open cells. Ties hold on the witness up to
    /// rounding only: do not evaluate the pattern from it where there are any.
    pub ties: Vec<usize>,
    /// The open cells among them.
    pub open: Count,
}

/// The closed patterns of the arrangement of the rows of `x` (row-major n×d).
/// There are as many as open cells if x has a constant column other than 0 (a
/// little more of it unties every sample).
///
/// # Errors
/// [`EnumerateError`]: as for the open cells; `limit` bounds the number of
/// closed patterns.
pub fn closed_patterns(
    x: &[f64],
    n: usize,
    d: usize,
    limit: usize,
) -> Result<ClosedPatterns, EnumerateError> {
    let mut found = Collector {
        limit,
        patterns: Patterns::new(n),
        witnesses: Vec::new(),
        ties: Vec::new(),
        bound: 0,
    };
    let open = for_each_cell(x, n, d, limit, &mut |pattern, u| {
        found.patterns.push(pattern);
        found.witnesses.extend_from_slice(u);
        found.ties.push(0);
        ControlFlow::Continue(())
    })?;
    if let Some(prepared) = Prepared::new(x, n, d, limit)? {
        // Every face has at most 3^(hyperplanes) signs: no sharper bound is needed.
        found.bound = 3_u128.checked_pow(open.hyperplanes as u32).unwrap_or(u128::MAX);
        Flats { prepared: &prepared, two_sided: prepared.two_sided() }.collect(&mut found)?;
    }
    let mut order: Vec<usize> = (0..found.patterns.len()).collect();
    order.sort_by(|&a, &b| found.patterns.compare(a, b));
    if order.windows(2).any(|w| found.patterns.bits(w[0]) == found.patterns.bits(w[1])) {
        return Err(disagreement());
    }
    Ok(ClosedPatterns {
        patterns: found.patterns.select(&order),
        witnesses: order
            .iter()
            .flat_map(|&k| &found.witnesses[k * d..(k + 1) * d])
            .copied()
            .collect(),
        ties: order.iter().map(|&k| found.ties[k]).collect(),
        open,
    })
}

/// A cell of the arrangement on a flat.
struct Face {
    /// Signs of the hyperplanes.
    bits: Vec<u64>,
    /// A direction inside, in the coordinates of the row space.
    v: Vec<f64>,
}

/// The cells of one flat, one of every pair of opposite ones.
struct Faces {
    /// Hyperplanes that contain the flat, one bit each.
    tied: Vec<u64>,
    faces: Vec<Face>,
}

struct Collector {
    limit: usize,
    bound: u128,
    patterns: Patterns,
    witnesses: Vec<f64>,
    ties: Vec<usize>,
}

impl Collector {
    fn add(&mut self, prepared: &Prepared, found: &Faces) -> Result<(), EnumerateError> {
        let words = prepared.n.div_ceil(64).max(1);
        let (mut pattern, mut opposite) = (vec![0_u64; words], vec![0_u64; words]);
        let mut scratch = Scratch::default();
        let mut unused = vec![0_u64; words];
        let tied = prepared.tied_rows(&found.tied);
        let ties = tied.iter().map(|word| word.count_ones() as usize).sum();
        for face in &found.faces {
            prepared.confirm(&mut scratch, &face.bits, Some(&found.tied), &face.v)?;
            prepared.pair(&scratch.words, &mut pattern, &mut unused);
            // Ties are active on both sides.
            let other: Vec<u64> =
                scratch.words.iter().zip(&tied).map(|(word, tied)| !word | tied).collect();
            prepared.pair(&other, &mut opposite, &mut unused);
            self.push(&pattern, &scratch.u, ties)?;
            let back: Vec<f64> = scratch.u.iter().map(|u| -u).collect();
            self.push(&opposite, &back, ties)?;
        }
        Ok(())
    }

    fn push(&mut self, pattern: &[u64], u: &[f64], ties: usize) -> Result<(), EnumerateError> {
        self.patterns.push(pattern);
        self.witnesses.extend_from_slice(u);
        self.ties.push(ties);
        let found = self.patterns.len();
        if found > self.limit {
            return Err(EnumerateError::Limit { limit: self.limit, found, bound: self.bound });
        }
        Ok(())
    }
}

/// The search for the flats whose rows are positively dependent.
struct Flats<'a> {
    prepared: &'a Prepared,
    /// Hyperplanes with rows on both sides.
    two_sided: Vec<bool>,
}

impl Flats<'_> {
    fn collect(&self, found: &mut Collector) -> Result<(), EnumerateError> {
        let (prepared, rows) = (self.prepared, &self.prepared.distinct);
        let whole = Flat::whole(rows);
        if rows.dim >= 2 {
            self.large(&whole, &mut |faces| found.add(prepared, &faces))?;
            let mut failure = None;
            let _ = whole
                .for_each_line(&|flat: &Flat| self.on_line(flat), &mut |result| {
                    let added = result.map_err(|_| disagreement()).and_then(|flats| {
                        flats.iter().try_for_each(|faces| found.add(prepared, faces))
                    });
                    match added {
                        Ok(()) => ControlFlow::Continue(()),
                        Err(error) => {
                            failure = Some(error);
                            ControlFlow::Break(())
                        }
                    }
                })
                .map_err(|_| disagreement())?;
            if let Some(failure) = failure {
                return Err(failure);
            }
        }
        let all: Vec<usize> = (0..rows.len()).collect();
        if self.dependent(&all, rows.dim, || rows.clone()).map_err(|_| disagreement())? {
            let mut ones = Patterns::new(prepared.n);
            ones.push_bools((0..prepared.n).map(|_| true));
            found.push(ones.bits(0), &vec![0.0; prepared.d], prepared.group.len())?;
        }
        Ok(())
    }

    /// Flats of dimension 3 and more below `flat`.
    fn large(
        &self,
        flat: &Flat,
        add: &mut impl FnMut(Faces) -> Result<(), EnumerateError>,
    ) -> Result<(), EnumerateError> {
        if flat.dim() <= 3 {
            return Ok(());
        }
        for class in (0..flat.classes.len()).filter(|&c| flat.continues(c)) {
            let below = flat.cut(class).map_err(|_| disagreement())?;
            let dependent = self.dependent(&below.tied, below.flag.len(), || {
                self.modulo(&below.normals, &below.tied)
            });
            if dependent.map_err(|_| disagreement())? {
                add(self.cells(&below).map_err(|_| disagreement())?)?;
            }
            self.large(&below, add)?;
        }
        Ok(())
    }

    /// A line, if it is proper, and its rays.
    fn on_line(&self, flat: &Flat) -> Result<Vec<Faces>, Failure> {
        let rank = self.prepared.distinct.dim;
        let mut found = Vec::new();
        let line = flat.line()?;
        let mut bits = vec![0_u64; self.two_sided.len().div_ceil(64)];
        flat.first_signs(&line, &mut bits);
        let (e1, e2) = flat.basis.split_at(rank);
        let at = |angle: f64| -> Vec<f64> {
            let (sin, cos) = angle.sin_cos();
            e1.iter().zip(e2).map(|(a, b)| cos * a + sin * b).collect()
        };
        let proper = rank > 2
            && self.dependent(&flat.tied, rank - 2, || self.modulo(&flat.normals, &flat.tied))?;
        let mut faces = vec![Face { bits: bits.clone(), v: at(line.start) }];
        for (k, vertex) in line.vertices.iter().enumerate() {
            let classes = line.classes(vertex);
            if classes.iter().all(|&c| flat.continues(c)) {
                let tied = flat.tied_at(classes);
                let modulo = || {
                    // A quarter turn from the ray.
                    let normals = flat.normals.iter().copied();
                    let along = at(vertex.angle + FRAC_PI_2);
                    self.modulo(&normals.chain(along).collect::<Vec<f64>>(), &tied)
                };
                if self.dependent(&tied, rank - 1, modulo)? {
                    let face = Face { bits: bits.clone(), v: at(vertex.angle) };
                    found.push(Faces { tied: self.mask(&tied), faces: vec![face] });
                }
            }
            flat.cross(classes, &mut bits);
            if let (true, Some(next)) = (proper, line.vertices.get(k + 1)) {
                let v = at(0.5 * (vertex.angle + next.angle));
                faces.push(Face { bits: bits.clone(), v });
            }
        }
        if proper {
            found.push(Faces { tied: self.mask(&flat.tied), faces });
        }
        Ok(found)
    }

    /// The cells of a flat of dimension 3 or more.
    fn cells(&self, flat: &Flat) -> Result<Faces, Failure> {
        let rank = self.prepared.distinct.dim;
        let words = self.two_sided.len().div_ceil(64);
        let (layers, _) = counted(&flat.rows, usize::MAX)?;
        let emit = |faces: &mut Vec<Face>, signs: &[u64], v: &[f64]| {
            let mut face = Face { bits: vec![0; words], v: vec![0.0; rank] };
            for class in 0..flat.classes.len() {
                let on = signs[class / 64] >> (class % 64) & 1 == 1;
                for member in flat.members(class) {
                    face.bits[member.row / 64] |=
                        u64::from(on != member.opposite) << (member.row % 64);
                }
            }
            for (x, b) in v.iter().zip(flat.basis.chunks(rank)) {
                subtract(&mut face.v, -x, b);
            }
            faces.push(face);
        };
        let mut faces = Vec::new();
        for layer in layers {
            let _ = layer.stream(&emit, &mut |mut more: Vec<Face>| {
                faces.append(&mut more);
                ControlFlow::Continue(())
            })?;
        }
        Ok(Faces { tied: self.mask(&flat.tied), faces })
    }

    fn mask(&self, rows: &[usize]) -> Vec<u64> {
        let mut mask = vec![0_u64; self.two_sided.len().div_ceil(64)];
        rows.iter().for_each(|row| mask[row / 64] |= 1 << (row % 64));
        mask
    }

    /// Rows that vanish on a flat, in an orthonormal basis of its complement.
    fn modulo(&self, normals: &[f64], tied: &[usize]) -> UnitRows {
        let rows = &self.prepared.distinct;
        let dim = normals.len() / rows.dim;
        let mut result = UnitRows { dim, data: Vec::new(), error: Vec::new() };
        for &row in tied {
            let start = result.data.len();
            result.data.extend(normals.chunks(rows.dim).map(|q| dot(rows.row(row), q)));
            normalise(&mut result.data[start..]);
            result.error.push(rows.error[row] + 4.0 * f64::EPSILON);
        }
        result
    }

    /// Whether a positive combination of all samples of these hyperplanes is zero,
    /// the rows being `local()` in `rank` coordinates that they span.
    fn dependent(
        &self,
        tied: &[usize],
        rank: usize,
        local: impl FnOnce() -> UnitRows,
    ) -> Result<bool, Failure> {
        let sides: Vec<bool> = tied.iter().map(|&row| self.two_sided[row]).collect();
        let both = sides.iter().filter(|&&side| side).count();
        if both == tied.len() {
            return Ok(true);
        }
        if tied.len() == rank || tied.len() + both <= rank {
            return Ok(false);
        }
        let rows = local();
        if rows.dim != rank || rank < 2 {
            return Err(Failure::Inconsistent);
        }
        Ok(!has_half_space(&rows, &sides)?)
    }
}

/// Whether some δ ≠ 0 of the row space has no negative product with the rows,
/// and product 0 with those that are there on both sides. Such δ form a pointed
/// cone, so an extreme ray of the arrangement is one of them.
fn has_half_space(rows: &UnitRows, two_sided: &[bool]) -> Result<bool, Failure> {
    let words = rows.len().div_ceil(64);
    let mut all = vec![0_u64; words];
    let mut both = vec![0_u64; words];
    for (row, &side) in two_sided.iter().enumerate() {
        all[row / 64] |= 1 << (row % 64);
        both[row / 64] |= u64::from(side) << (row % 64);
    }
    let whole = Flat::whole(rows);
    let search = |flat: &Flat| -> Result<bool, Failure> {
        let line = flat.line()?;
        let (mut bits, mut free) = (vec![0_u64; words], vec![0_u64; words]);
        flat.first_signs(&line, &mut bits);
        for vertex in &line.vertices {
            let classes = line.classes(vertex);
            free.copy_from_slice(&all);
            for &row in &flat.tied {
                free[row / 64] &= !(1 << (row % 64));
            }
            for member in classes.iter().flat_map(|&c| flat.members(c)) {
                free[member.row / 64] &= !(1 << (member.row % 64));
            }
            let only = |k: usize, word: u64| word & free[k] == 0 && both[k] & free[k] == 0;
            if (0..words).all(|k| only(k, bits[k])) || (0..words).all(|k| only(k, !bits[k])) {
                return Ok(true);
            }
            flat.cross(classes, &mut bits);
        }
        Ok(false)
    };
    let mut result = Ok(false);
    let _ = whole.for_each_line(&search, &mut |found| match found {
        Ok(false) => ControlFlow::Continue(()),
        other => {
            result = other;
            ControlFlow::Break(())
        }
    })?;
    result
}
