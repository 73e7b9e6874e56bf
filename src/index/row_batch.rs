//! Converts the columns of a batch of rows from an index file to Rust types.

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::{Context, ensure};
use arrow::array::{Array, AsArray, RecordBatch};
use ndarray::{Array2, ArrayView2, CowArray, Ix2};
use serde_json::Value;

use super::kept;
use super::metadata::RowKind;
use super::row::RowId;
use super::schema::{ID, TEXT, VECTOR};
use super::vector_column::{VectorColumn, VectorType};

/// Consecutive rows of a file, with the columns that the caller selected.
pub struct RowBatch {
    pub(super) batch: RecordBatch,
    kind: RowKind,
    format: VectorColumn,
}

impl RowBatch {
    pub(super) fn new(batch: RecordBatch, kind: RowKind, format: VectorColumn) -> Self {
        RowBatch { batch, kind, format }
    }

    /// Returns how the vectors are stored.
    pub(super) fn format(&self) -> VectorColumn {
        self.format
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// Returns the column `vector`, as an array of the shape `[rows, dim]`. Vectors that are not 32-bit floats are rounded, so their
    /// length is near 1.
    ///
    /// # Errors
    /// The column is missing, has another type, or contains a null.
    pub fn vectors(&self) -> anyhow::Result<CowArray<'_, f32, Ix2>> {
        let column = self.batch.column_by_name(VECTOR).context("it has no column `vector`")?;
        let vectors = column.as_fixed_size_list_opt().context("its column vector has no vectors")?;
        ensure!(vectors.null_count() + vectors.values().null_count() == 0, "a vector is null");
        let shape = (self.rows(), self.format.dim);
        Ok(match floats(&self.batch, &self.format)? {
            Cow::Borrowed(floats) => ArrayView2::from_shape(shape, floats)?.into(),
            Cow::Owned(floats) => Array2::from_shape_vec(shape, floats)?.into(),
        })
    }

    /// Returns the column `vector` like [`RowBatch::vectors`], with every rounded vector L2-normalized again. A vector of zeros
    /// becomes NaN.
    ///
    /// # Errors
    /// The column is missing, has another type, or contains a null.
    pub fn unit_vectors(&self) -> anyhow::Result<CowArray<'_, f32, Ix2>> {
        let mut vectors = self.vectors()?;
        if self.format.kind != VectorType::F32 {
            for mut vector in vectors.rows_mut() {
                let length = vector.dot(&vector).sqrt();
                vector /= length;
            }
        }
        Ok(vectors)
    }

    /// Returns the column `id`.
    ///
    /// # Errors
    /// The column is missing, has another type, or contains a null.
    pub fn ids(&self) -> anyhow::Result<impl Iterator<Item = &str>> {
        self.strings(ID)
    }

    /// Returns the document id of each row. Also returns the chunk number if the file has one row per chunk.
    ///
    /// # Errors
    /// The column `id` is missing, has another type, or contains a null.
    pub fn documents(&self) -> anyhow::Result<impl Iterator<Item = (&str, Option<u32>)>> {
        Ok(self.ids()?.map(|id| RowId::split(id, self.kind)))
    }

    /// Returns the column `text`.
    ///
    /// # Errors
    /// The column is missing, has another type, or contains a null.
    pub fn texts(&self) -> anyhow::Result<impl Iterator<Item = &str>> {
        self.strings(TEXT)
    }

    fn strings(&self, name: &str) -> anyhow::Result<impl Iterator<Item = &str>> {
        let column = self.batch.column_by_name(name).with_context(|| format!("it has no column `{name}`"))?;
        let strings = column
            .as_string_opt::<i32>()
            .with_context(|| format!("its column `{name}` does not have the type string"))?;
        ensure!(strings.null_count() == 0, "its column {name} has a null");
        Ok(strings.iter().flatten())
    }
}

/// Returns the vectors of a batch, vector after vector. The batch must have the column `vector`.
pub fn floats<'a>(batch: &'a RecordBatch, format: &VectorColumn) -> anyhow::Result<Cow<'a, [f32]>> {
    format.decode(batch[VECTOR].as_fixed_size_list().values())
}

/// Returns, for each row, the values of the columns `names`. If the batch lacks a column, the values of that column are null.
pub fn kept_values(batch: &RecordBatch, names: &[&str]) -> Vec<Arc<[Value]>> {
    let columns: Vec<Vec<Value>> = names
        .iter()
        .map(|name| match batch.column_by_name(name) {
            Some(column) => kept::values(column),
            None => vec![Value::Null; batch.num_rows()],
        })
        .collect();
    (0..batch.num_rows()).map(|at| columns.iter().map(|column| column[at].clone()).collect()).collect()
}
