//! e^{−|x|} and ln(1 + e^{−|x|}) of whole vectors.
//!
//! A training step of the logistic loss needs some ten exponentials a sample, and calls of the
//! standard library cannot be vectorised. Reduction by Cody and Waite (1980), then series: the
//! results are within 3 units in the last place, and no step depends on the vector's length.

use pulp::Arch;

/// ln 2 in two parts: the products of the first with integers below 2¹¹ are exact.
const HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
const LOW: f64 = 1.908_214_929_270_587_7e-10;
/// 1.5·2⁵²: adding it rounds to an integer, found in the last bits.
const MAGIC: f64 = 6_755_399_441_055_744.0;
/// e^{−750} is 0 in f64.
const NOTHING: f64 = -750.0;
/// Terms of e^r for |r| ≤ ½ ln 2, and of atanh(s)/s for s ≤ ⅓.
const EXP: usize = 13;
const ATANH: usize = 17;

/// 1/k!.
const INVERSE_FACTORIALS: [f64; EXP + 1] = {
    let mut c = [1.0; EXP + 1];
    let mut k = 1;
    while k <= EXP {
        c[k] = c[k - 1] / k as f64;
        k += 1;
    }
    c
};

/// `e^{−|x|}`; NaN stays NaN.
#[inline(always)]
fn decay(x: f64) -> f64 {
    let x = -x.abs();
    let x = if x < NOTHING { NOTHING } else { x };
    let shifted = x * std::f64::consts::LOG2_E + MAGIC;
    let k = shifted - MAGIC;
    let r = (x - k * HIGH) - k * LOW;
    let mut sum = INVERSE_FACTORIALS[EXP];
    for c in INVERSE_FACTORIALS[..EXP].iter().rev() {
        sum = sum * r + c;
    }
    // in two steps: 2^k alone may be no normal number
    let k = (shifted.to_bits() as i64).wrapping_sub(MAGIC.to_bits() as i64);
    let half = k >> 1;
    let power = |k: i64| f64::from_bits((k.wrapping_add(1023) << 52) as u64);
    sum * power(half) * power(k.wrapping_sub(half))
}

/// `ln(1 + e)` for `0 ≤ e ≤ 1`, as 2·atanh(e/(2 + e)).
#[inline(always)]
fn log_one_plus(e: f64) -> f64 {
    let s = e / (2.0 + e);
    let square = s * s;
    let mut sum = 1.0 / (2 * ATANH + 1) as f64;
    for k in (0..ATANH).rev() {
        sum = sum * square + 1.0 / (2 * k + 1) as f64;
    }
    2.0 * s * sum
}

/// `e^{−|x_i|}` with the sign of `x_i`, `x_i = f_i + shift`.
pub(super) fn signed_decays(f: &[f64], shift: f64) -> Vec<f64> {
    let mut out = vec![0.0; f.len()];
    Arch::new().dispatch(|| {
        for (out, f) in out.iter_mut().zip(f) {
            let x = f + shift;
            *out = decay(x).copysign(x);
        }
    });
    out
}

/// `ln(1 + e^{−|f_i|})`.
pub(super) fn softplus_tails(f: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; f.len()];
    Arch::new().dispatch(|| {
        for (out, f) in out.iter_mut().zip(f) {
            *out = log_one_plus(decay(*f));
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points() -> Vec<f64> {
        let mut x: Vec<f64> = (0..200_000).map(|k| -f64::from(k) * 0.003_741).collect();
        x.extend((0..2000).map(|k| 0.5f64.powi(k)));
        x.extend([0.0, -0.0, 0.346_573, 0.346_574, 708.3, 709.0, 744.4, 745.13, 745.2, 1e300]);
        x
    }

    /// Off by at most `units` in the last place of the larger one, or of the least normal number.
    fn near(found: f64, wanted: f64, units: f64) -> bool {
        let size = found.abs().max(wanted.abs()).max(f64::MIN_POSITIVE);
        (found - wanted).abs() <= units * f64::EPSILON * size
    }

    #[test]
    fn as_the_standard_library() {
        let x = points();
        for ((x, signed), tail) in x.iter().zip(signed_decays(&x, 0.0)).zip(softplus_tails(&x)) {
            let e = (-x.abs()).exp();
            assert!(near(signed.abs(), e, 3.0), "e^-|{x}|: {signed:e} {e:e}");
            assert!(signed.abs() <= 1.0 && signed.is_sign_negative() == (*x < 0.0));
            assert!(near(tail, e.ln_1p(), 3.0), "ln(1 + e^-|{x}|): {tail:e} {:e}", e.ln_1p());
        }
    }

    #[test]
    fn infinite_and_undefined() {
        let x = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
        assert_eq!(signed_decays(&x, 1.0)[..2], [0.0, -0.0]);
        assert_eq!(softplus_tails(&x)[..2], [0.0, 0.0]);
        assert!(signed_decays(&x, 0.0)[2].is_nan() && softplus_tails(&x)[2].is_nan());
    }
}
