//! Copies all vectors of an index file into a temporary file. From this file, vectors can be read fast in any order.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Context;
use arrow::datatypes::ToByteSlice;

use super::part::Part;
use super::row_batch::floats;
use super::schema::VECTOR;
use super::vector_column::VectorColumn;

/// A temporary file with the vectors of an index file as plain 32-bit floats. The system removes the temporary file when the file is
/// closed. In the Parquet file, reading a single vector means reading a whole page.
pub struct FlatVectors {
    file: File,
    dim: usize,
}

impl FlatVectors {
    /// Copies the vectors of `part` into a temporary file in `folder`.
    ///
    /// # Errors
    /// The vectors cannot be read, or the temporary file cannot be written.
    pub fn write(part: &Part, format: &VectorColumn, folder: &Path) -> anyhow::Result<Self> {
        let write = || -> anyhow::Result<File> {
            let mut file = BufWriter::new(tempfile::tempfile_in(folder)?);
            let all: Vec<u32> = (0..part.rows()).collect();
            part.select(&all, &[VECTOR], |batch| {
                Ok(file.write_all(floats(&batch, format)?.to_byte_slice())?)
            })?;
            Ok(file.into_inner()?)
        };
        let file = write().with_context(|| {
            format!("folder {}: a temporary file cannot be written there; make room", folder.display())
        })?;
        Ok(FlatVectors { file, dim: format.dim })
    }

    /// Returns the vectors of these rows in one list, in the order of `rows`.
    ///
    /// # Errors
    /// The temporary file cannot be read.
    pub fn read(&self, rows: &[u32]) -> anyhow::Result<Vec<f32>> {
        let mut bytes = vec![0; self.dim * size_of::<f32>()];
        let mut vectors = Vec::with_capacity(rows.len() * self.dim);
        for &row in rows {
            let start = u64::from(row) * bytes.len() as u64;
            self.file.read_exact_at(&mut bytes, start)?;
            vectors.extend(bytes.as_chunks().0.iter().map(|&number| f32::from_ne_bytes(number)));
        }
        Ok(vectors)
    }
}
