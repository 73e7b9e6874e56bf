//! Reads an Arrow IPC stream of rows with vectors, checks each row, and returns [`Row`]s.

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
use crate::index::vector_column::{VectorColumn, VectorType};
use crate::vector::embedding::Embedding;

/// Largest accepted difference between the length of a vector and 1.
const LENGTH_TOLERANCE: f64 = 1e-3;

/// Reads a stream of rows with vectors. `embed --arrow` writes such a stream.
pub struct RowStream<R: Read> {
    input: IpcReader<R>,
    metadata: Metadata,
    columns: RowColumns,
    seen: HashSet<Digest>,
    /// Number of rows read so far. A message about a row without an id contains this number.
    rows: u64,
}

/// The indices of the columns in the schema, and the names of the kept columns.
struct RowColumns {
    id: usize,
    text: usize,
    vector: usize,
    error: Option<usize>,
    kept: Vec<(String, usize)>,
}

/// A checked row of a stream.
pub enum Packed {
    /// A row for the index.
    Row(Row),
    /// A row with an empty text, which needs no vector.
    Empty,
    /// A row that another process could not read or embed.
    #[allow(missing_docs)]
    Failed { id: String, error: String },
}

impl<R: Read> RowStream<R> {
    /// Starts to read a stream, waits for the schema, and checks the schema.
    ///
    /// # Errors
    /// The input is not an Arrow IPC stream, its metadata does not say which model made the vectors, or a column is missing or
    /// has another type.
    pub fn open(input: R) -> anyhow::Result<Self> {
        let input = IpcReader::open(input)?;
        let schema = input.schema();
        let metadata = metadata(&schema)?;
        let columns = RowColumns::of(&schema, metadata.fingerprint.dim)?;
        Ok(RowStream { input, metadata, columns, seen: HashSet::new(), rows: 0 })
    }

    /// Returns the metadata for an index with the vectors of the stream.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Returns the names of the kept columns.
    pub fn kept(&self) -> Vec<String> {
        self.columns.kept.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Waits for the next batch and returns its rows, or `None` at the end of the stream.
    ///
    /// # Errors
    /// The stream ends early or is damaged; a row has no id, has the id of an earlier row, or has no valid vector.
    pub fn read(&mut self) -> anyhow::Result<Option<Vec<Packed>>> {
        let Some(batch) = self.input.read()? else { return Ok(None) };
        let rows = PackedRows::of(&batch, &self.columns);
        let mut packed = Vec::with_capacity(batch.num_rows());
        for at in 0..batch.num_rows() {
            self.rows += 1;
            let no_id = || format!("row {}: has no id; give each row a unique id", self.rows);
            let id = rows.ids.get(at).with_context(no_id)?;
            let row = rows.row(at, id).with_context(|| format!("row `{id}`"))?;
            if let Packed::Row(row) = &row {
                ensure!(
                    self.seen.insert(row.id.digest()),
                    "row `{id}`: an earlier row has this id too; give each row a unique id"
                );
            }
            packed.push(row);
        }
        Ok(Some(packed))
    }
}

fn metadata(schema: &Schema) -> anyhow::Result<Metadata> {
    let key = Metadata::KEY;
    let json = schema.metadata().get(key).with_context(|| {
        format!("does not say which model made its vectors; keep `{key}` of the schema's metadata, as `embed` wrote it")
    })?;
    let metadata: Metadata = serde_json::from_str(json).with_context(|| {
        format!("`{key}` of the schema's metadata was written by another version of this tool; embed and pack with the same version")
    })?;
    ensure!(
        metadata.fingerprint.rows == RowKind::Documents,
        "its rows are chunks, but `pack` takes one row per document"
    );
    Ok(metadata)
}

impl RowColumns {
    fn of(schema: &Schema, dim: usize) -> anyhow::Result<Self> {
        let [id, text, vector] = COLUMNS.map(|name| schema.index_of(name).ok());
        let columns = (id, text, vector, schema.index_of(ERROR).ok());
        let (Some(id), Some(text), Some(vector), error) = columns else {
            let missing = COLUMNS.iter().find(|name| schema.index_of(name).is_err()).copied();
            bail!("has no column `{}`; keep it, as `embed` wrote it", missing.unwrap_or_default());
        };
        let kind = |column: usize| schema.field(column).data_type();
        for column in [id, text].into_iter().chain(error) {
            let may_be_null = Some(column) == error && *kind(column) == DataType::Null;
            ensure!(
                Strings::has(kind(column)) || may_be_null,
                "its column `{}` is {}, expected utf8; cast it",
                schema.field(column).name(),
                kind(column)
            );
        }
        ensure!(
            VectorColumn::of(kind(vector), None) == Some(VectorColumn::new(VectorType::F32, dim)),
            "its column `vector` is {}, expected fixed_size_list<float32>[{dim}] as its metadata says; cast it",
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
                "the name of its column `{name}` is empty or already used; rename the column, or leave it out"
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
    /// The values of the kept columns, one list per column.
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
        ensure!(self.vectors.is_valid(at), "has neither a vector nor an error; embed it before `pack`");
        let dim = self.vectors.value_length() as usize;
        let start = self.vectors.value_offset_at(at);
        let vector = &self.numbers[start..start + dim];
        // If an element of a vector is null, Arrow stores an arbitrary float in its place.
        let values = self.vectors.values();
        let has_nulls = values.null_count() > 0 && values.slice(start, dim).null_count() > 0;
        ensure!(
            !has_nulls && vector.iter().all(|x| x.is_finite()),
            "its vector is not finite; see which program changed it after `embed`"
        );
        let length = vector.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        ensure!(
            (length - 1.0).abs() <= LENGTH_TOLERANCE,
            "the length of its vector is {length:.4}, expected 1; see which program changed it after `embed`"
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
