//! Unit rows, their row space and their grouping by hyperplane.

/// Two rows coincide within this multiple of their rounding errors, whatever
/// the tolerance.
const ERROR_FACTOR: f64 = 8.0;

/// Unit vectors of one length with a bound on the rounding error of each.
#[derive(Clone)]
pub(super) struct UnitRows {
    pub dim: usize,
    pub data: Vec<f64>,
    pub error: Vec<f64>,
}

impl UnitRows {
    pub fn len(&self) -> usize {
        self.error.len()
    }

    pub fn row(&self, i: usize) -> &[f64] {
        &self.data[i * self.dim..(i + 1) * self.dim]
    }

    pub fn gather(&self, indices: &[usize]) -> Self {
        Self {
            dim: self.dim,
            data: indices.iter().flat_map(|&i| self.row(i)).copied().collect(),
            error: indices.iter().map(|&i| self.error[i]).collect(),
        }
    }

    /// Unit coordinates of the rows in an orthonormal basis (rank × dim).
    pub fn project(&self, basis: &[f64]) -> Self {
        let rank = basis.len() / self.dim;
        let mut data = Vec::with_capacity(self.len() * rank);
        for i in 0..self.len() {
            let start = data.len();
            data.extend(basis.chunks(self.dim).map(|q| dot(self.row(i), q)));
            normalise(&mut data[start..]);
        }
        let rounding = f64::EPSILON * (4.0 + (self.dim as f64).sqrt());
        Self { dim: rank, data, error: self.error.iter().map(|e| e + rounding).collect() }
    }

    /// The distance of row `i` to row `k`, or to its opposite.
    pub fn distance(&self, i: usize, k: usize, opposite: bool) -> f64 {
        let sign = if opposite { -1.0 } else { 1.0 };
        let square: f64 =
            (self.row(i).iter().zip(self.row(k))).map(|(a, b)| (a - sign * b).powi(2)).sum();
        square.sqrt()
    }

    /// How far apart two rows may be and still count as one.
    pub fn tolerance(&self, i: usize, k: usize, floor: f64) -> f64 {
        floor.max(ERROR_FACTOR * (self.error[i] + self.error[k]))
    }
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// The smallest of values without NaN, in eight strands that the compiler can
/// put side by side; infinity if there is none.
pub(super) fn smallest(values: &[f64]) -> f64 {
    let mut least = [f64::INFINITY; 8];
    let (blocks, rest) = values.as_chunks::<8>();
    for block in blocks {
        for (least, &value) in least.iter_mut().zip(block) {
            *least = if value < *least { value } else { *least };
        }
    }
    least.iter().chain(rest).fold(f64::INFINITY, |a, &b| if b < a { b } else { a })
}

/// Scales to unit length and returns the former length (0 leaves it as it is).
pub(super) fn normalise(v: &mut [f64]) -> f64 {
    let norm = dot(v, v).sqrt();
    if norm > 0.0 {
        v.iter_mut().for_each(|x| *x /= norm);
    }
    norm
}

pub(super) fn subtract(v: &mut [f64], factor: f64, w: &[f64]) {
    for (x, y) in v.iter_mut().zip(w) {
        *x -= factor * y;
    }
}

/// The vector with the given coordinates in an orthonormal basis.
pub(super) fn lift(coordinates: &[f64], basis: &[f64], dim: usize) -> Vec<f64> {
    let mut v = vec![0.0; dim];
    for (c, q) in coordinates.iter().zip(basis.chunks(dim)) {
        subtract(&mut v, -c, q);
    }
    v
}

/// Row-pivoted Gram–Schmidt with re-orthogonalisation: the pivot rows and an
/// orthonormal basis (rank × dim) of the row space. Stops at `max_rank` or
/// when the Frobenius norm of the residual is at most `relative` of the start.
pub(super) fn pivoted_basis(
    rows: &UnitRows,
    max_rank: usize,
    relative: f64,
) -> (Vec<usize>, Vec<f64>) {
    let dim = rows.dim;
    let mut residual = rows.data.clone();
    let mut pivots = Vec::new();
    let mut basis: Vec<f64> = Vec::new();
    let start: f64 = dot(&residual, &residual);
    while pivots.len() < max_rank {
        let (mut total, mut best, mut pivot) = (0.0, 0.0, 0);
        for (i, row) in residual.chunks(dim).enumerate() {
            let square = dot(row, row);
            total += square;
            if square > best {
                (best, pivot) = (square, i);
            }
        }
        if best == 0.0 || total <= relative * relative * start {
            break;
        }
        let mut q = residual[pivot * dim..(pivot + 1) * dim].to_vec();
        normalise(&mut q);
        for _ in 0..2 {
            for earlier in basis.chunks(dim) {
                let along = dot(&q, earlier);
                subtract(&mut q, along, earlier);
            }
            normalise(&mut q);
        }
        for row in residual.chunks_mut(dim) {
            let along = dot(row, &q);
            subtract(row, along, &q);
        }
        residual[pivot * dim..(pivot + 1) * dim].fill(0.0);
        pivots.push(pivot);
        basis.extend(q);
    }
    (pivots, basis)
}

/// Rows grouped by hyperplane.
pub(super) struct Merge {
    /// One row of each group.
    pub representatives: Vec<usize>,
    /// Group of every row.
    pub group: Vec<usize>,
    /// Whether the row is opposite to its representative.
    pub opposite: Vec<bool>,
}

/// Groups rows that are parallel within `floor` (or their rounding errors).
pub(super) fn merge_parallel(rows: &UnitRows, floor: f64) -> Merge {
    let n = rows.len();
    // Parallel rows have equal |projection| on any fixed unit direction, so
    // only neighbours in that order are compared.
    let mut probe: Vec<f64> =
        (0..rows.dim).map(|k| mix(k as u64) as f64 / u64::MAX as f64 - 0.3).collect();
    normalise(&mut probe);
    let keys: Vec<f64> = (0..n).map(|i| dot(rows.row(i), &probe).abs()).collect();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| keys[a].total_cmp(&keys[b]).then(a.cmp(&b)));
    let largest = rows.error.iter().copied().fold(0.0, f64::max);
    let window = floor.max(ERROR_FACTOR * 2.0 * largest) + 4.0 * f64::EPSILON;

    let mut merge =
        Merge { representatives: Vec::new(), group: vec![0; n], opposite: vec![false; n] };
    for &i in &order {
        merge.group[i] = merge.representatives.len();
        for (group, &k) in merge.representatives.iter().enumerate().rev() {
            if keys[i] - keys[k] > window {
                break;
            }
            let opposite = dot(rows.row(i), rows.row(k)) < 0.0;
            if rows.distance(i, k, opposite) <= rows.tolerance(i, k, floor) {
                merge.group[i] = group;
                merge.opposite[i] = opposite;
                break;
            }
        }
        if merge.group[i] == merge.representatives.len() {
            merge.representatives.push(i);
        }
    }
    merge
}

/// A fixed 64-bit mixing function (splitmix64).
pub(super) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
