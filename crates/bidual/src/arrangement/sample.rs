//! Gates drawn at random: a working set of patterns, never a complete one.

use crate::linalg::{Mat, column_mut, gemm};
use crate::network::Gates;
use crate::{Error, Result};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

/// Gates whose thresholds are found together.
const TOGETHER: usize = 16;

/// Where the threshold of a sampled gate is put.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Share {
    /// At zero: hyperplanes through the origin of the (scaled) features.
    Central,
    /// At a Gaussian offset: a direction in the features with a column of ones.
    Biased,
    /// At a quantile of the projections, so that this share of the samples is active.
    Quantile(f64),
}

/// `count` Gaussian directions for the rows of `x`, with thresholds as `share` says.
///
/// The stream depends on `seed` and the number of features alone (ChaCha8), so the
/// result does not depend on the number of threads. With `centred`, thresholds
/// are moved to the middle of the gap between the neighbouring projections, so
/// that rounding cannot flip a gate on the training data; use it where the gate
/// is the model, not where patterns must be cells of a central arrangement.
pub fn sample_gates(
    x: &Mat,
    count: usize,
    seed: u64,
    share: Share,
    centred: bool,
) -> Result<Gates> {
    if count == 0 {
        return Err(Error::Option("the number of patterns must be at least 1, found 0".into()));
    }
    if let Share::Quantile(q) = share
        && !(q > 0.0 && q < 1.0)
    {
        return Err(Error::Option(format!(
            "the active share must lie strictly between 0 and 1, found {q}"
        )));
    }
    let (n, d) = (x.nrows(), x.ncols());
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut directions = Mat::zeros(d, count);
    let mut thresholds = vec![0.0; count];
    for k in 0..count {
        for i in 0..d {
            directions[(i, k)] = StandardNormal.sample(&mut random);
        }
        // drawn in every case: the directions of one seed are the same for all shares
        let offset: f64 = StandardNormal.sample(&mut random);
        if share == Share::Biased {
            thresholds[k] = -offset;
        }
    }
    let mut gates = Gates { directions, thresholds };
    if centred || matches!(share, Share::Quantile(_)) {
        centre_thresholds(x, &mut gates, |sorted, threshold| match share {
            Share::Quantile(q) => {
                ((1.0 - q) * n as f64).round().clamp(0.0, n as f64 - 1.0) as usize
            }
            _ => sorted.partition_point(|v| *v < threshold),
        });
    }
    Ok(gates)
}

/// Moves each threshold to the middle of the gap below the first active
/// projection, which `first` picks among the sorted projections: the gates stay
/// what they are on the rows of `x`, and rounding cannot flip them there.
pub(crate) fn centre_thresholds(
    x: &Mat,
    gates: &mut Gates,
    first: impl Fn(&[f64], f64) -> usize + Sync,
) {
    let directions = gates.directions.as_ref();
    gates.thresholds.par_chunks_mut(TOGETHER).enumerate().for_each(|(t, thresholds)| {
        let mut projections = Mat::zeros(x.nrows(), thresholds.len());
        let own = directions.subcols(t * TOGETHER, thresholds.len());
        gemm(projections.as_mut(), x.as_ref(), own, false);
        for (k, threshold) in thresholds.iter_mut().enumerate() {
            let sorted = column_mut(&mut projections, k);
            sorted.sort_unstable_by(f64::total_cmp);
            *threshold = centred(sorted, *threshold, first(sorted, *threshold));
        }
    });
}

/// The middle of the gap below the projection `first`, or of the next one if that is none.
fn centred(sorted: &[f64], threshold: f64, mut first: usize) -> f64 {
    let n = sorted.len();
    // equal projections are one point: they switch together
    let width = 1e-10 * (sorted[n - 1].abs() + sorted[0].abs());
    while first > 0 && first < n && sorted[first] - sorted[first - 1] <= width {
        first -= 1;
    }
    match first {
        0 => threshold.min(sorted[0] - (width + 0.01 * sorted[0].abs())),
        k if k < n => 0.5 * (sorted[k - 1] + sorted[k]),
        _ => threshold,
    }
}
