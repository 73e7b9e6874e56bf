//! Converts and adds row counts in 32 bits. Fails if the result does not fit into 32 bits.

/// The error for more rows than 32 bits can count. Row numbers have 32 bits so that the lookup tables of a large file stay small.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("more than 4,294,967,295 rows do not fit into one file")]
pub struct TooManyRows;

/// Converts a row count to 32 bits.
///
/// # Errors
/// [`TooManyRows`].
pub fn row_count(rows: impl TryInto<u32>) -> Result<u32, TooManyRows> {
    rows.try_into().map_err(|_| TooManyRows)
}

/// Returns the sum of two row counts.
///
/// # Errors
/// [`TooManyRows`].
pub fn add_rows(rows: u32, more: usize) -> Result<u32, TooManyRows> {
    rows.checked_add(row_count(more)?).ok_or(TooManyRows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_rows_than_fit_into_a_file_are_refused() {
        assert_eq!(row_count(u64::from(u32::MAX)), Ok(u32::MAX));
        assert_eq!(add_rows(u32::MAX - 2, 2), Ok(u32::MAX));
        assert_eq!(row_count(1u64 << 32), Err(TooManyRows));
        assert_eq!(add_rows(u32::MAX - 2, 3), Err(TooManyRows));
        assert_eq!(add_rows(0, 1 << 32), Err(TooManyRows));
    }
}
