//! Activation patterns `1{Xu ≥ 0}`, packed one bit per sample.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;

const WORD: usize = u64::BITS as usize;

/// A list of activation patterns over the same samples.
///
/// Bit `i % 64` of word `i / 64` of a pattern is its gate on sample `i`; the
/// padding bits of the last word are zero. Indices outside the list or the
/// samples are programming errors and panic, as for a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patterns {
    samples: usize,
    words: usize,
    bits: Vec<u64>,
}

/// Why a list of pattern strings was refused by [`Patterns::from_strings`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// A character other than `0` and `1`; `position` counts characters from 0.
    Character {
        /// Which string, from 0.
        pattern: usize,
        /// Which character, from 0.
        position: usize,
        /// The character.
        found: char,
    },
    /// A pattern whose length is not that of the first one.
    Length {
        /// Which string, from 0.
        pattern: usize,
        /// Number of samples.
        expected: usize,
        /// Length of the string.
        found: usize,
    },
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Character { pattern, position, found } => write!(
                f,
                "pattern {pattern}, position {position}: expected '0' or '1', found {found:?}"
            ),
            Self::Length { pattern, expected, found } => {
                write!(f, "pattern {pattern} has {found} characters, the first one has {expected}")
            }
        }
    }
}

impl std::error::Error for PatternError {}

impl Patterns {
    /// An empty list of patterns over `samples` samples.
    #[must_use]
    pub fn new(samples: usize) -> Self {
        Self {
            samples,
            // At least one word, so that the length is defined without samples.
            words: samples.div_ceil(WORD).max(1),
            bits: Vec::new(),
        }
    }

    /// Reads patterns written as `0`/`1` strings, `1` = active, sample 0 first.
    /// The number of samples is the length of the first string.
    ///
    /// # Errors
    /// [`PatternError`] at the first other character or differing length.
    pub fn from_strings(strings: &[String]) -> Result<Self, PatternError> {
        let samples = strings.first().map_or(0, |s| s.chars().count());
        let mut patterns = Self::new(samples);
        let mut flags = Vec::with_capacity(samples);
        for (pattern, string) in strings.iter().enumerate() {
            flags.clear();
            for (position, found) in string.chars().enumerate() {
                flags.push(match found {
                    '0' => false,
                    '1' => true,
                    _ => {
                        return Err(PatternError::Character { pattern, position, found });
                    }
                });
            }
            if flags.len() != samples {
                return Err(PatternError::Length {
                    pattern,
                    expected: samples,
                    found: flags.len(),
                });
            }
            patterns.push_bools(flags.iter().copied());
        }
        Ok(patterns)
    }

    /// Appends a pattern given as words; padding bits are cleared.
    ///
    /// # Panics
    /// If `bits` does not hold exactly the words of one pattern.
    pub fn push(&mut self, bits: &[u64]) {
        assert_eq!(bits.len(), self.words, "a pattern has {} words", self.words);
        self.bits.extend_from_slice(bits);
        let used = self.samples - (self.words - 1) * WORD;
        if used < WORD
            && let Some(last) = self.bits.last_mut()
        {
            *last &= (1 << used) - 1;
        }
    }

    /// Appends a pattern given as one flag per sample.
    ///
    /// # Panics
    /// If the iterator does not yield exactly [`samples`](Self::samples) flags.
    pub fn push_bools(&mut self, flags: impl Iterator<Item = bool>) {
        let first = self.bits.len();
        self.bits.resize(first + self.words, 0);
        let mut count = 0;
        for (sample, flag) in flags.enumerate() {
            assert!(sample < self.samples, "more flags than samples");
            self.bits[first + sample / WORD] |= u64::from(flag) << (sample % WORD);
            count += 1;
        }
        assert_eq!(count, self.samples, "fewer flags than samples");
    }

    /// The number of patterns.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bits.len() / self.words
    }

    /// Whether the list holds no pattern.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bits.is_empty()
    }

    /// The number of samples of every pattern.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The gate of `pattern` on `sample`.
    #[must_use]
    pub fn get(&self, pattern: usize, sample: usize) -> bool {
        assert!(sample < self.samples, "sample {sample} of {}", self.samples);
        self.bits(pattern)[sample / WORD] >> (sample % WORD) & 1 == 1
    }

    /// The words of one pattern.
    #[must_use]
    pub fn bits(&self, pattern: usize) -> &[u64] {
        &self.bits[pattern * self.words..(pattern + 1) * self.words]
    }

    /// The number of active samples of a pattern.
    #[must_use]
    pub fn count_active(&self, pattern: usize) -> usize {
        self.bits(pattern).iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether no sample is active (such a pattern is void for the ReLU).
    #[must_use]
    pub fn is_zero(&self, pattern: usize) -> bool {
        self.bits(pattern).iter().all(|&word| word == 0)
    }

    /// One pattern as a `0`/`1` string, sample 0 first.
    #[must_use]
    pub fn bit_string(&self, pattern: usize) -> String {
        (0..self.samples).map(|sample| if self.get(pattern, sample) { '1' } else { '0' }).collect()
    }

    /// Compares two patterns as their `0`/`1` strings compare.
    #[must_use]
    pub fn compare(&self, a: usize, b: usize) -> Ordering {
        let key = |word: &u64| word.reverse_bits();
        self.bits(a).iter().map(key).cmp(self.bits(b).iter().map(key))
    }

    /// The patterns with the given indices, in that order (repeats allowed).
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        let mut chosen = Self::new(self.samples);
        chosen.bits.reserve(indices.len() * self.words);
        for &index in indices {
            chosen.bits.extend_from_slice(self.bits(index));
        }
        chosen
    }

    /// The distinct patterns in order of first occurrence, with their indices.
    #[must_use]
    pub fn deduplicated(&self) -> (Self, Vec<usize>) {
        let mut seen = HashSet::with_capacity(self.len());
        let kept: Vec<usize> =
            (0..self.len()).filter(|&pattern| seen.insert(self.bits(pattern))).collect();
        (self.select(&kept), kept)
    }

    /// Writes the gates of samples `start..start + out.len()` as 0.0 or 1.0.
    ///
    /// # Panics
    /// If `start` is not a multiple of 64 or the range leaves the samples.
    pub fn expand_f64(&self, pattern: usize, start: usize, out: &mut [f64]) {
        assert!(start.is_multiple_of(WORD), "start {start} is inside a word");
        assert!(
            start <= self.samples && out.len() <= self.samples - start,
            "samples {start}.. ({}) of {}",
            out.len(),
            self.samples
        );
        let words = &self.bits(pattern)[(start / WORD).min(self.words)..];
        for (chunk, &word) in out.chunks_mut(WORD).zip(words) {
            for (bit, value) in chunk.iter_mut().enumerate() {
                *value = (word >> bit & 1) as f64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn strings_round_trip_and_are_counted() {
        let long: String = (0..130).map(|i| if i % 3 == 0 { '1' } else { '0' }).collect();
        let list = vec![long.clone(), "0".repeat(130), "1".repeat(130), long.clone()];
        let patterns = Patterns::from_strings(&list).expect("valid strings");
        assert_eq!((patterns.len(), patterns.samples()), (4, 130));
        for (k, string) in list.iter().enumerate() {
            assert_eq!(&patterns.bit_string(k), string);
            let active = string.chars().filter(|&c| c == '1').count();
            assert_eq!(patterns.count_active(k), active);
            assert_eq!(patterns.is_zero(k), active == 0);
            assert_eq!(patterns.bits(k)[2] >> 2, 0, "padding");
            for (other, text) in list.iter().enumerate() {
                assert_eq!(patterns.compare(k, other), string.cmp(text));
            }
        }
        let (distinct, kept) = patterns.deduplicated();
        assert_eq!(kept, [0, 1, 2]);
        assert_eq!(distinct, patterns.select(&[0, 1, 2]));
        for start in [0, 64, 128] {
            let mut out = vec![9.0; 130 - start];
            patterns.expand_f64(0, start, &mut out);
            for (i, value) in out.iter().enumerate() {
                assert_eq!(*value, f64::from(u8::from((start + i) % 3 == 0)));
            }
        }
        patterns.expand_f64(0, 64, &mut []);
    }

    #[test]
    fn push_clears_padding() {
        for samples in [1, 63, 64, 65, 128] {
            let mut patterns = Patterns::new(samples);
            patterns.push(&vec![u64::MAX; samples.div_ceil(64)]);
            patterns.push_bools((0..samples).map(|_| true));
            assert_eq!(patterns.bits(0), patterns.bits(1));
            assert_eq!(patterns.count_active(0), samples);
        }
    }

    #[test]
    fn errors_name_the_position() {
        let error = Patterns::from_strings(&strings(&["01", "0x"])).expect_err("character");
        assert_eq!(error.to_string(), "pattern 1, position 1: expected '0' or '1', found 'x'");
        let error = Patterns::from_strings(&strings(&["01", "011"])).expect_err("length");
        assert_eq!(error.to_string(), "pattern 1 has 3 characters, the first one has 2");
    }

    #[test]
    fn no_samples_and_no_patterns() {
        let empty = Patterns::from_strings(&[]).expect("no strings");
        assert!(empty.is_empty() && empty.samples() == 0);
        let patterns = Patterns::from_strings(&strings(&["", ""])).expect("empty strings");
        assert_eq!(patterns.len(), 2);
        assert!(patterns.is_zero(1) && patterns.count_active(0) == 0);
        patterns.expand_f64(0, 0, &mut []);
        assert_eq!(patterns.deduplicated().1, [0]);
    }
}
