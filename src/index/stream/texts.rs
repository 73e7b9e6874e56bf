//! Reads an Arrow IPC stream of rows with texts, and writes a stream of the same rows with vectors.

use std::io::{self, Read, Write};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;

use super::input::{IpcReader, Strings};
use super::output::{BLOCKS, ERROR, IpcWriter};
use crate::index::metadata::Metadata;
use crate::index::schema::{TEXT, VECTOR};
use crate::index::vector_column::{VectorColumn, VectorType, list_length};
use crate::text::blocks::Structured;
use crate::vector::embedding::Embedding;

/// Limit on the bytes of text per batch. The offsets of a utf8 column have only 31 bits.
const TEXT_BYTES_MAX: usize = i32::MAX as usize;

/// Reads a stream with the column `text` and any other columns.
pub struct TextStream<R: Read> {
    input: IpcReader<R>,
    columns: TextColumns,
}

/// The indices of the columns `text`, `error` and `blocks` in the schema.
#[derive(Debug, Clone, Copy)]
struct TextColumns {
    text: usize,
    error: Option<usize>,
    blocks: Option<usize>,
}

impl TextColumns {
    fn of(schema: &Schema) -> anyhow::Result<Self> {
        let names =
            || schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
        ensure!(
            schema.index_of(VECTOR).is_err(),
            "has a column `{VECTOR}` already; leave it out, or give it another name"
        );
        let text = schema.index_of(TEXT).ok();
        let text = text.with_context(|| {
            format!(
                "has no column `{TEXT}` (its columns: {}); give the column with the texts this name",
                names()
            )
        })?;
        let error = schema.index_of(ERROR).ok();
        let blocks = schema.index_of(BLOCKS).ok();
        for column in [Some(text), error, blocks].into_iter().flatten() {
            let field = schema.field(column);
            let is_null = column != text && *field.data_type() == DataType::Null;
            if !Strings::has(field.data_type()) && !is_null {
                bail!(
                    "its column `{}` is {}, expected utf8, large_utf8 or utf8_view; cast it",
                    field.name(),
                    field.data_type()
                );
            }
        }
        Ok(TextColumns { text, error, blocks })
    }
}

impl<R: Read> TextStream<R> {
    /// Starts to read a stream, waits for the schema, and checks the schema.
    ///
    /// # Errors
    /// The input is not an Arrow IPC stream, has no column `text`, or already has a column `vector`.
    pub fn open(input: R) -> anyhow::Result<Self> {
        let input = IpcReader::open(input)?;
        let columns = TextColumns::of(&input.schema())?;
        Ok(TextStream { input, columns })
    }

    /// Starts the output stream, which has the rows of this stream and their vectors. Writes the schema to `out`. The schema
    /// includes `metadata`, which says how the vectors are made.
    ///
    /// # Errors
    /// `out` cannot be written.
    pub fn answer<W: Write>(&self, out: W, metadata: &Metadata) -> io::Result<EmbeddedStream<W>> {
        EmbeddedStream::new(out, &self.input.schema(), self.columns, metadata)
    }

    /// Waits for the next batch. Returns `None` at the end of the stream.
    ///
    /// # Errors
    /// The stream ends early or is damaged, or a batch has too much text.
    pub fn read(&mut self) -> anyhow::Result<Option<TextBatch>> {
        let Some(batch) = self.input.read()? else { return Ok(None) };
        let batch = TextBatch { batch, columns: self.columns };
        let bytes: usize = batch.rows().map(|row| row.text.len()).sum();
        ensure!(bytes <= TEXT_BYTES_MAX, "has a batch with {bytes} bytes of text; send fewer rows at a time");
        Ok(Some(batch))
    }
}

/// A batch of rows with texts.
pub struct TextBatch {
    batch: RecordBatch,
    columns: TextColumns,
}

/// A row of the input stream.
#[derive(Debug, Clone, Copy)]
pub struct TextRow<'a> {
    /// The text; empty for a null.
    pub text: &'a str,
    /// The blocks of the text as JSON; `None` if the text is plain.
    blocks: Option<&'a str>,
    /// The error that an earlier program wrote for this row; `None` if there is no error. A row with an error is not embedded.
    pub error: Option<&'a str>,
}

impl TextRow<'_> {
    /// Returns the text with its blocks.
    ///
    /// # Errors
    /// The column `blocks` is wrong.
    pub fn content(&self) -> Result<Structured, String> {
        let text = self.text.to_owned();
        match self.blocks {
            Some(blocks) => Structured::with_json_blocks(text, blocks),
            None => Ok(Structured::plain(text)),
        }
    }
}

impl TextBatch {
    /// Returns the rows in their order.
    pub fn rows(&self) -> impl Iterator<Item = TextRow<'_>> {
        let TextColumns { text, error, blocks } = self.columns;
        let strings = |column: usize| Strings::of(self.batch.column(column)).unwrap_or(Strings::Null);
        let optional = |column: Option<usize>| column.map_or(Strings::Null, strings);
        let (texts, errors, blocks) = (strings(text), optional(error), optional(blocks));
        let row = move |at| TextRow {
            text: texts.get(at).unwrap_or_default(),
            blocks: blocks.get(at),
            error: errors.get(at),
        };
        (0..self.batch.num_rows()).map(row)
    }
}

/// The outcome of embedding a row.
pub enum Made {
    /// The vector of the row's text.
    Vector(Embedding),
    /// No vector, because the text is empty or the row already had an error.
    Nothing,
    /// The reason that the text could not be embedded.
    Failed(String),
}

impl Made {
    fn failed(&self) -> Option<&str> {
        if let Made::Failed(why) = self { Some(why) } else { None }
    }
}

/// Writes a stream with all columns of the input but `blocks`, and the columns `vector` and `error`. The column `text` contains the clean
/// texts.
pub struct EmbeddedStream<W: Write> {
    output: IpcWriter<W>,
    schema: Arc<Schema>,
    dim: usize,
}

impl<W: Write> EmbeddedStream<W> {
    fn new(out: W, received: &Schema, columns: TextColumns, metadata: &Metadata) -> io::Result<Self> {
        let dim = metadata.fingerprint.dim;
        let mut fields: Vec<Arc<Field>> = received.fields().iter().cloned().collect();
        fields[columns.text] = Arc::new(Field::new(TEXT, DataType::Utf8, false));
        fields.push(Arc::new(Field::new(VECTOR, VectorColumn::new(VectorType::F32, dim).column(), true)));
        let error = Arc::new(Field::new(ERROR, DataType::Utf8, true));
        match columns.error {
            Some(column) => fields[column] = error,
            None => fields.push(error),
        }
        columns.blocks.map(|column| fields.remove(column));
        let mut entries = received.metadata().clone();
        entries.insert(Metadata::KEY.to_owned(), serde_json::to_string(metadata)?);
        let schema = Arc::new(Schema::new_with_metadata(fields, entries));
        Ok(EmbeddedStream { output: IpcWriter::new(out, &schema)?, schema, dim })
    }

    /// Writes a batch with the clean text and the outcome of each row, and flushes the batch to the reader of the stream. A row
    /// that already had an error keeps this error.
    ///
    /// # Errors
    /// `out` cannot be written.
    ///
    /// # Panics
    /// If `texts` or `made` does not have one item per row.
    pub fn write(&mut self, batch: &TextBatch, texts: &[String], made: &[Made]) -> io::Result<()> {
        let TextColumns { text, error, blocks } = batch.columns;
        assert_eq!((texts.len(), made.len()), (batch.batch.num_rows(), batch.batch.num_rows()));
        let errors: StringArray =
            batch.rows().zip(made).map(|(row, made)| row.error.or_else(|| made.failed())).collect();
        let mut columns: Vec<ArrayRef> = batch.batch.columns().to_vec();
        columns[text] = Arc::new(StringArray::from_iter_values(texts));
        let lists = self.lists(made);
        self.output.write(lists.and_then(|lists| {
            columns.push(Arc::new(lists));
            match error {
                Some(column) => columns[column] = Arc::new(errors),
                None => columns.push(Arc::new(errors)),
            }
            blocks.map(|column| columns.remove(column));
            RecordBatch::try_new(self.schema.clone(), columns)
        }))
    }

    fn lists(&self, made: &[Made]) -> Result<FixedSizeListArray, ArrowError> {
        let mut values = Vec::with_capacity(made.len() * self.dim);
        for made in made {
            match made {
                Made::Vector(vector) => values.extend_from_slice(vector.values()),
                // Arrow stores floats for every vector, even if the vector is null.
                Made::Nothing | Made::Failed(_) => values.resize(values.len() + self.dim, 0.0),
            }
        }
        let is_there: NullBuffer = made.iter().map(|made| matches!(made, Made::Vector(_))).collect();
        let values = Arc::new(Float32Array::from(values));
        FixedSizeListArray::try_new(VectorType::F32.element(), list_length(self.dim), values, Some(is_there))
    }

    /// Writes the end marker.
    ///
    /// # Errors
    /// `out` cannot be written.
    pub fn finish(&mut self) -> io::Result<()> {
        self.output.finish()
    }
}
