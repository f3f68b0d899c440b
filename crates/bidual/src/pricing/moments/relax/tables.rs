//! Index tables of symmetric moments.

use crate::pricing::moments::rows::pair;

/// Fixed index tables for dimension p.
pub(crate) struct Tables {
    /// dimension
    pub p: usize,
    /// positions of the sorted quadruple (a,b,c,d) of a pair of pairs, lower triangle
    pub quads: Vec<u32>,
    /// positions of the sorted triple of (a, pair), pair-major
    pub triples: Vec<u32>,
    /// 1 on the diagonal, 2 off it
    pub multiplicity: Vec<f64>,
    /// the pairs in order
    pub pairs: Vec<(usize, usize)>,
}

impl Tables {
    /// Tables for dimension p.
    pub fn new(p: usize) -> Self {
        let pairs: Vec<_> = (0..p).flat_map(|b| (0..=b).map(move |a| (a, b))).collect();
        // entry (ab; cd) of the quartic sums is stored for sorted a ≤ b ≤ c ≤ d at start(c, d) +
        // pair(a, b)
        let mut start = vec![0u32; pairs.len()];
        let mut total = 0;
        for (k, &(c, _)) in pairs.iter().enumerate() {
            start[k] = total;
            total += ((c + 1) * (c + 2) / 2) as u32;
        }
        let mut cubic = vec![0u32; p];
        let mut sum = 0;
        for (c, s) in cubic.iter_mut().enumerate() {
            *s = sum;
            sum += ((c + 1) * (c + 2) / 2) as u32;
        }
        let mut quads = Vec::new();
        let mut triples = Vec::new();
        for &(a, b) in &pairs {
            for &(c, d) in pairs.iter().take_while(|&&x| pair(x.0, x.1) <= pair(a, b)) {
                let mut s = [a, b, c, d];
                s.sort_unstable();
                quads.push(start[pair(s[2], s[3])] + pair(s[0], s[1]) as u32);
            }
            for c in 0..p {
                let mut s = [a, b, c];
                s.sort_unstable();
                triples.push(cubic[s[2]] + pair(s[0], s[1]) as u32);
            }
        }
        let multiplicity = pairs.iter().map(|&(a, b)| if a == b { 1.0 } else { 2.0 }).collect();
        Self { p, quads, triples, multiplicity, pairs }
    }

    /// Number of variables p + p(p+1)/2.
    pub fn variables(&self) -> usize {
        self.p + self.pairs.len()
    }
}
