//! A check of the counts in Parquet pages before the decoders allocate by them.

use parquet::basic::Encoding;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result as ParquetResult};

/// The error for pages whose counts cannot be true.
pub(super) fn inconsistent() -> ParquetError {
    ParquetError::General("its page sizes are inconsistent".to_owned())
}

/// The pages of one column chunk of a flat column, each checked.
pub(super) struct CheckedPages {
    pages: Box<dyn PageReader>,
    /// Rows that may still come.
    left: usize,
    /// Whether data pages begin with definition levels.
    nullable: bool,
}

impl CheckedPages {
    pub(super) fn new(pages: Box<dyn PageReader>, rows: usize, nullable: bool) -> Self {
        CheckedPages { pages, left: rows, nullable }
    }

    fn check(&mut self, page: Page) -> ParquetResult<Page> {
        let count = page.num_values() as usize;
        let plausible = match &page {
            // Every plain value of a dictionary takes at least a byte.
            Page::DictionaryPage { buf, .. } => count <= buf.len(),
            _ => count <= self.left && self.deltas_plausible(&page, count),
        };
        if !plausible {
            return Err(inconsistent());
        }
        if page.is_data_page() {
            self.left -= count;
        }
        Ok(page)
    }

    /// Whether the byte arrays of a delta-encoded page are at most `count`. The
    /// decoders allocate by the counts in these streams, unlike those of other
    /// encodings, and a failed allocation cannot be caught.
    fn deltas_plausible(&self, page: &Page, count: usize) -> bool {
        let streams = match page.encoding() {
            Encoding::DELTA_LENGTH_BYTE_ARRAY => 1,
            Encoding::DELTA_BYTE_ARRAY => 2,
            _ => return true,
        };
        let values = match page {
            Page::DataPage { buf, .. } if self.nullable => {
                buf.split_first_chunk().and_then(|(length, rest)| {
                    rest.get(usize::try_from(u32::from_le_bytes(*length)).ok()?..)
                })
            }
            Page::DataPageV2 { buf, def_levels_byte_len, rep_levels_byte_len, .. } => {
                let levels = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
                usize::try_from(levels).ok().and_then(|n| buf.get(n..))
            }
            _ => Some(page.buffer().as_ref()),
        };
        let skip = |data, _| after_deltas(data, count);
        values.is_some_and(|values| (0..streams).try_fold(values, skip).is_some())
    }
}

/// What follows a stream of delta-encoded integers, if the stream claims at
/// most `most` values.
fn after_deltas(data: &[u8], most: usize) -> Option<&[u8]> {
    let (block, data) = varint(data)?;
    let (parts, data) = varint(data)?;
    let (count, data) = varint(data)?;
    let (_first, mut data) = varint(data)?;
    let per_part = block.checked_div(parts).filter(|&n| n > 0)?;
    if count > most {
        return None;
    }
    // The first value is in the header.
    let mut left = count.saturating_sub(1);
    while left > 0 {
        let (_least, rest) = varint(data)?;
        let (widths, rest) = rest.split_at_checked(parts)?;
        let mut length = 0usize;
        for &width in widths {
            if left > 0 {
                length = length.checked_add(per_part.checked_mul(usize::from(width))? / 8)?;
                left = left.saturating_sub(per_part);
            }
        }
        // The last block may lack its padding.
        data = rest.get(length..).unwrap_or_default();
    }
    Some(data)
}

/// An unsigned LEB128 integer and what follows it.
fn varint(data: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0u64;
    for (index, &byte) in data.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Some((usize::try_from(value).ok()?, data.get(index + 1..)?));
        }
    }
    None
}

impl Iterator for CheckedPages {
    type Item = ParquetResult<Page>;
    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for CheckedPages {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        match self.pages.get_next_page()? {
            Some(page) => self.check(page).map(Some),
            None => Ok(None),
        }
    }

    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> ParquetResult<()> {
        self.pages.skip_next_page()
    }
}
