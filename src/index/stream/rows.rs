//! An Arrow IPC stream of rows with vectors in, [`Row`]s out.

use std::collections::HashSet;
use std::io::Read;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Schema};
use serde_json::Value;

use super::input::{IpcReader, Strings};
use super::output::ERROR;
use crate::digest::Digest;
use crate::index::kept;
use crate::index::metadata::{Metadata, RowKind};
use crate::index::row::{Row, RowId, Vector};
use crate::index::schema::COLUMNS;
use crate::vector::embedding::Embedding;

/// How far from 1 the length of a vector may be.
const LENGTH_TOLERANCE: f64 = 1e-3;

/// A stream of rows, as `embed --arrow` writes it.
pub struct RowStream<R: Read> {
    input: IpcReader<R>,
    metadata: Metadata,
    columns: RowColumns,
    seen: HashSet<Digest>,
    /// PackedRows so far, for those without an id.
    rows: u64,
}

struct RowColumns {
    id: usize,
    text: usize,
    vector: usize,
    error: Option<usize>,
    kept: Vec<(String, usize)>,
}

/// What came of a row.
pub enum Packed {
    /// A row of the index.
    Row(Row),
    /// It has no text.
    Empty,
    /// It came with an error.
    Failed {
        /// What it is called.
        id: String,
        /// The error.
        error: String,
    },
}

impl<R: Read> RowStream<R> {
    /// Waits for the schema.
    ///
    /// # Errors
    /// It is no Arrow IPC stream, does not say what made its vectors, or has not the columns it should have.
    pub fn open(input: R) -> anyhow::Result<Self> {
        let input = IpcReader::open(input)?;
        let schema = input.schema();
        let metadata = metadata(&schema)?;
        let columns = RowColumns::of(&schema, metadata.fingerprint.dim)?;
        Ok(RowStream { input, metadata, columns, seen: HashSet::new(), rows: 0 })
    }

    /// What it says of its vectors.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Names of the columns that are kept.
    pub fn kept(&self) -> Vec<String> {
        self.columns.kept.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Waits for the rows of the next batch; `None` at the end.
    ///
    /// # Errors
    /// The stream ends early or is damaged; a row is not as it should be, or has the id of another.
    pub fn read(&mut self) -> anyhow::Result<Option<Vec<Packed>>> {
        let Some(batch) = self.input.read()? else { return Ok(None) };
        let rows = PackedRows::of(&batch, &self.columns);
        let mut packed = Vec::with_capacity(batch.num_rows());
        for at in 0..batch.num_rows() {
            self.rows += 1;
            let id = rows.ids.get(at).with_context(|| format!("row {} has no id", self.rows))?;
            let row = rows.row(at, id).with_context(|| format!("row `{id}`"))?;
            if let Packed::Row(row) = &row {
                ensure!(
                    self.seen.insert(row.id.digest()),
                    "row `{id}`: an earlier one has this id too; give each row an id of its own"
                );
            }
            packed.push(row);
        }
        Ok(Some(packed))
    }
}

fn metadata(schema: &Schema) -> anyhow::Result<Metadata> {
    let key = Metadata::KEY;
    let said = schema.metadata().get(key).with_context(|| {
        format!("does not say which model made its vectors; keep `{key}` of the schema's metadata, as `embed --arrow` wrote it")
    })?;
    let metadata: Metadata = serde_json::from_str(said).with_context(|| {
        format!("`{key}` of the schema's metadata is not of this version; embed and pack with the same one")
    })?;
    ensure!(
        metadata.fingerprint.rows == RowKind::Documents,
        "its rows are chunks; `pack` takes those of documents"
    );
    Ok(metadata)
}

impl RowColumns {
    fn of(schema: &Schema, dim: usize) -> anyhow::Result<Self> {
        let [id, text, vector] = COLUMNS.map(|name| schema.index_of(name).ok());
        let columns = (id, text, vector, schema.index_of(ERROR).ok());
        let (Some(id), Some(text), Some(vector), error) = columns else {
            let missing = COLUMNS.iter().find(|name| schema.index_of(name).is_err()).copied();
            bail!("has no column `{}`; `embed --arrow` writes it", missing.unwrap_or_default());
        };
        let kind = |column: usize| schema.field(column).data_type();
        for column in [id, text].into_iter().chain(error) {
            let may_be_null = Some(column) == error && *kind(column) == DataType::Null;
            ensure!(
                Strings::has(kind(column)) || may_be_null,
                "its column `{}` is {}, expected utf8",
                schema.field(column).name(),
                kind(column)
            );
        }
        let is_vector = |kind: &DataType| match kind {
            DataType::FixedSizeList(of, length) => {
                *of.data_type() == DataType::Float32 && *length as usize == dim
            }
            _ => false,
        };
        ensure!(
            is_vector(kind(vector)),
            "its column `vector` is {}, expected fixed_size_list<float32>[{dim}], as its metadata says",
            kind(vector)
        );
        let own = [Some(id), Some(text), Some(vector), error];
        let others = (0..schema.fields().len()).filter(|&column| !own.contains(&Some(column)));
        let mut taken: Vec<String> = COLUMNS.map(str::to_owned).into();
        let mut kept = Vec::new();
        for column in others {
            let name = schema.field(column).name();
            ensure!(
                kept::is_known(kind(column)) || Strings::has(kind(column)) || *kind(column) == DataType::Null,
                "its column `{name}` is {}, expected boolean, int64, float64 or utf8; cast it, or leave it out",
                kind(column)
            );
            ensure!(
                !name.is_empty() && !taken.contains(&name.to_lowercase()),
                "its column `{name}` has no name of its own; rename it, or leave it out"
            );
            taken.push(name.to_lowercase());
            kept.push((name.clone(), column));
        }
        Ok(RowColumns { id, text, vector, error, kept })
    }
}

/// The columns of a batch.
struct PackedRows<'a> {
    ids: Strings<'a>,
    texts: Strings<'a>,
    vectors: &'a FixedSizeListArray,
    numbers: &'a [f32],
    errors: Strings<'a>,
    /// The values of each column that is kept.
    kept: Vec<Vec<Value>>,
}

impl<'a> PackedRows<'a> {
    fn of(batch: &'a RecordBatch, columns: &RowColumns) -> Self {
        let strings = |column: usize| Strings::of(batch.column(column)).unwrap_or(Strings::Null);
        let vectors = batch.column(columns.vector).as_fixed_size_list();
        PackedRows {
            ids: strings(columns.id),
            texts: strings(columns.text),
            vectors,
            numbers: vectors.values().as_primitive::<Float32Type>().values(),
            errors: columns.error.map_or(Strings::Null, strings),
            kept: columns.kept.iter().map(|&(_, column)| values(batch.column(column))).collect(),
        }
    }

    fn row(&self, at: usize, id: &str) -> anyhow::Result<Packed> {
        if let Some(error) = self.errors.get(at) {
            return Ok(Packed::Failed { id: id.to_owned(), error: error.to_owned() });
        }
        let text = self.texts.get(at).unwrap_or_default();
        if text.is_empty() {
            return Ok(Packed::Empty);
        }
        Ok(Packed::Row(Row {
            id: RowId { document: id.to_owned(), chunk: None },
            text: text.to_owned(),
            vector: Vector::New(self.vector(at)?),
            kept: self.kept.iter().map(|values| values[at].clone()).collect::<Arc<[_]>>(),
        }))
    }

    fn vector(&self, at: usize) -> anyhow::Result<Embedding> {
        ensure!(self.vectors.is_valid(at), "has neither a vector nor an error; embed it first");
        let dim = self.vectors.value_length() as usize;
        let start = self.vectors.value_offset_at(at);
        let vector = &self.numbers[start..start + dim];
        // Where there is a null, the number below it may be anything.
        let values = self.vectors.values();
        let has_nulls = values.null_count() > 0 && values.slice(start, dim).null_count() > 0;
        ensure!(
            !has_nulls && vector.iter().all(|x| x.is_finite()),
            "its vector is not finite; see what has changed it since it was made"
        );
        let length = vector.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        ensure!(
            (length - 1.0).abs() <= LENGTH_TOLERANCE,
            "the length of its vector is {length:.4}, expected 1; see what has changed it since it was made"
        );
        Ok(Embedding::stored(vector.into()))
    }
}

fn values(array: &ArrayRef) -> Vec<Value> {
    match Strings::of(array) {
        Some(strings) => (0..array.len()).map(|row| strings.get(row).into()).collect(),
        None => kept::values(array),
    }
}
