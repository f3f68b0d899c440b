//! A look ahead at the Thrift structures (compact protocol) by whose counts
//! the parquet crate allocates without a check; a failed allocation would end
//! the program.

/// Deepest nesting that is followed.
const DEPTH: usize = 16;
/// Bytes any page may decompress to, and bytes per compressed byte of larger
/// pages (zstd reaches some 30,000 on constant data).
const FREE_BYTES: i64 = 1 << 26;
const BYTES_PER_BYTE: i64 = 1 << 16;

/// Whether the schema in the footer of a Parquet file claims no more children
/// than it has elements. Files whose footer is not found are left to the
/// parquet crate to refuse.
pub(super) fn schema_plausible(file: &[u8]) -> bool {
    let footer = file.strip_suffix(b"PAR1").and_then(|rest| {
        let (rest, length) = rest.split_last_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        rest.get(rest.len().checked_sub(length)?..)
    });
    let Some(data) = footer else { return true };
    let mut footer = Cursor { data };
    let walked = footer.fields(|footer, id, kind| {
        // Like the parquet crate, known fields are read as what they should
        // be, whatever type they claim.
        if id != 2 {
            return footer.skip(kind, DEPTH);
        }
        let (count, _) = footer.list()?;
        for _ in 0..count {
            footer.fields(|element, id, kind| {
                if id != 5 {
                    return element.skip(kind, DEPTH);
                }
                let children = u64::try_from(element.int()?).ok()?;
                (children <= count).then_some(())
            })?;
        }
        Some(())
    });
    walked.is_some()
}

/// Whether the headers of a chunk's pages claim plausible sizes; what cannot be
/// followed is left to the parquet crate to refuse.
pub(super) fn pages_plausible(chunk: &[u8]) -> bool {
    let mut pages = Cursor { data: chunk };
    while !pages.data.is_empty() {
        let (mut unpacked, mut packed) = (0, 0);
        let walked = pages.fields(|header, id, kind| {
            match id {
                2 => unpacked = i64::from(header.int()?),
                3 => packed = i64::from(header.int()?),
                _ => header.skip(kind, DEPTH)?,
            }
            Some(())
        });
        // The size counts even if the rest of its header is not readable.
        if unpacked > FREE_BYTES.max(packed.saturating_mul(BYTES_PER_BYTE)) {
            return false;
        }
        let packed = u64::try_from(packed).ok().filter(|_| walked.is_some());
        if packed.and_then(|n| pages.take(n)).is_none() {
            break;
        }
    }
    true
}

/// Unread bytes of the compact protocol.
struct Cursor<'a> {
    data: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.data.split_at_checked(usize::try_from(count).ok()?)?;
        self.data = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn unsigned(&mut self) -> Option<u64> {
        let (mut value, mut shift) = (0u64, 0u32);
        loop {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).wrapping_shl(shift);
            if byte < 0x80 {
                return Some(value);
            }
            shift = shift.wrapping_add(7);
        }
    }

    fn signed(&mut self) -> Option<i64> {
        let value = self.unsigned()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn int(&mut self) -> Option<i32> {
        self.signed().map(|value| value as i32)
    }

    /// The length and element type of a list or set.
    fn list(&mut self) -> Option<(u64, u8)> {
        let header = self.byte()?;
        let count = match header >> 4 {
            15 => self.unsigned()?,
            count => u64::from(count),
        };
        // Every element takes a byte at least.
        let fits = count <= self.data.len() as u64;
        fits.then_some((count, header & 15))
    }

    /// Calls `each` with the number and type of every field of a structure; it
    /// must consume the field's value.
    fn fields(&mut self, mut each: impl FnMut(&mut Self, i64, u8) -> Option<()>) -> Option<()> {
        let mut id = 0i64;
        loop {
            let header = self.byte()?;
            if header & 15 == 0 {
                return Some(());
            }
            id = match header >> 4 {
                0 => i64::from(self.signed()? as i16),
                step => id.checked_add(i64::from(step))?,
            };
            each(self, id, header & 15)?;
        }
    }

    /// Passes over the value of a field.
    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            1 | 2 => {} // booleans are in the type
            3 => drop(self.byte()?),
            4..=6 => drop(self.unsigned()?),
            7 => drop(self.take(8)?),
            8 => {
                let length = self.unsigned()?;
                self.take(length)?;
            }
            9 | 10 => {
                let (count, kind) = self.list()?;
                for _ in 0..count {
                    self.element(kind, depth)?;
                }
            }
            11 => {
                let count = self.unsigned()?;
                let kinds = if count > 0 { self.byte()? } else { 0 };
                for _ in 0..count {
                    self.element(kinds >> 4, depth)?;
                    self.element(kinds & 15, depth)?;
                }
            }
            12 => self.fields(|field, _, kind| field.skip(kind, depth))?,
            13 => drop(self.take(16)?),
            _ => return None,
        }
        Some(())
    }

    /// Passes over an element of a collection, where booleans take a byte.
    fn element(&mut self, kind: u8, depth: usize) -> Option<()> {
        match kind {
            1 | 2 => self.byte().map(drop),
            _ => self.skip(kind, depth),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with a schema of one element with so many children.
    fn footer(children: &[u8]) -> Vec<u8> {
        let mut schema = vec![0x15, 0x02, 0x19, 0x1c, 0x55];
        schema.extend(children);
        schema.extend([0, 0]);
        let length = (schema.len() as u32).to_le_bytes();
        [b"PAR1", schema.as_slice(), &length, b"PAR1"].concat()
    }

    #[test]
    fn schemas() {
        assert!(schema_plausible(&footer(&[0x02])));
        assert!(!schema_plausible(&footer(&[0x04])));
        assert!(!schema_plausible(&footer(&[0xfe, 0xff, 0xff, 0xff, 0x0f])));
        assert!(!schema_plausible(&footer(&[0x01])));
        assert!(schema_plausible(b"no footer"));
    }

    #[test]
    fn pages() {
        let page = |unpacked: &[u8]| {
            // A data page of that size, compressed to two bytes.
            [&[0x15, 0, 0x15], unpacked, &[0x15, 4, 0, 7, 7]].concat()
        };
        assert!(pages_plausible(&[page(&[4]), page(&[0x80, 0x08])].concat()));
        let huge = page(&[0xfe, 0xff, 0xff, 0xff, 0x0f]);
        assert!(!pages_plausible(&huge));
        assert!(!pages_plausible(&[page(&[4]), huge].concat()));
        assert!(pages_plausible(&[0xff; 40]));
    }
}
