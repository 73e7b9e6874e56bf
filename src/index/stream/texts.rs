//! Rows with texts in, the same rows with vectors out; each an Arrow IPC stream.

use std::io::{self, Read, Write};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;

use super::input::{IpcReader, Strings};
use super::output::{ERROR, IpcWriter};
use crate::index::metadata::Metadata;
use crate::index::schema::{COLUMNS, element, vectors};
use crate::vector::embedding::Embedding;

/// Bytes of text in a batch of the stream that is written, since its offsets have 32 bits.
const TEXT_BYTES_MAX: usize = i32::MAX as usize;

/// A stream with a column `text`, and others.
pub struct TextStream<R: Read> {
    input: IpcReader<R>,
    columns: TextColumns,
}

/// Where a row's text is, and what was wrong with it before it came here.
#[derive(Debug, Clone, Copy)]
struct TextColumns {
    text: usize,
    error: Option<usize>,
}

impl TextColumns {
    fn of(schema: &Schema) -> anyhow::Result<Self> {
        let [_, text, vector] = COLUMNS;
        let names =
            || schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
        ensure!(
            schema.index_of(vector).is_err(),
            "has a column `{vector}` already; leave it out, or give it another name"
        );
        let text = schema.index_of(text).ok();
        let text = text.with_context(|| {
            format!("has no column `text` (there are: {}); give the one with the texts this name", names())
        })?;
        let error = schema.index_of(ERROR).ok();
        for column in [Some(text), error].into_iter().flatten() {
            let field = schema.field(column);
            let is_null = Some(column) == error && *field.data_type() == DataType::Null;
            if !Strings::has(field.data_type()) && !is_null {
                bail!(
                    "its column `{}` is {}, expected utf8, large_utf8 or utf8_view",
                    field.name(),
                    field.data_type()
                );
            }
        }
        Ok(TextColumns { text, error })
    }
}

impl<R: Read> TextStream<R> {
    /// Waits for the schema.
    ///
    /// # Errors
    /// It is no Arrow IPC stream, or has not the columns it should have.
    pub fn open(input: R) -> anyhow::Result<Self> {
        let input = IpcReader::open(input)?;
        let columns = TextColumns::of(&input.schema())?;
        Ok(TextStream { input, columns })
    }

    /// Writes the schema of the same rows with vectors, which `metadata` says what they depend on.
    ///
    /// # Errors
    /// As those of `out`.
    pub fn answer<W: Write>(&self, out: W, metadata: &Metadata) -> io::Result<EmbeddedStream<W>> {
        EmbeddedStream::new(out, &self.input.schema(), self.columns, metadata)
    }

    /// Waits for the next batch; `None` at the end.
    ///
    /// # Errors
    /// The stream ends early or is damaged.
    pub fn read(&mut self) -> anyhow::Result<Option<TextBatch>> {
        let Some(batch) = self.input.read()? else { return Ok(None) };
        let batch = TextBatch { batch, columns: self.columns };
        let bytes: usize = batch.rows().map(|row| row.text.len()).sum();
        ensure!(bytes <= TEXT_BYTES_MAX, "has a batch with {bytes} bytes of text; send fewer rows at a time");
        Ok(Some(batch))
    }
}

/// Some rows of it.
pub struct TextBatch {
    batch: RecordBatch,
    columns: TextColumns,
}

/// A row, as it came.
#[derive(Debug, Clone, Copy)]
pub struct TextRow<'a> {
    /// Null is an empty text.
    pub text: &'a str,
    /// Why it is not to be embedded.
    pub error: Option<&'a str>,
}

impl TextBatch {
    /// The rows, in their order.
    pub fn rows(&self) -> impl Iterator<Item = TextRow<'_>> {
        let TextColumns { text, error } = self.columns;
        let strings = |column: usize| Strings::of(self.batch.column(column)).unwrap_or(Strings::Null);
        let (texts, errors) = (strings(text), error.map_or(Strings::Null, strings));
        let row = move |at| TextRow { text: texts.get(at).unwrap_or_default(), error: errors.get(at) };
        (0..self.batch.num_rows()).map(row)
    }
}

/// What became of a row that came without an error.
pub enum Made {
    /// Its vector.
    Vector(Embedding),
    /// Nothing: the text is empty.
    Nothing,
    /// Why there is none.
    Failed(String),
}

impl Made {
    fn failed(&self) -> Option<&str> {
        if let Made::Failed(why) = self { Some(why) } else { None }
    }
}

/// The stream that is written: the columns that came, with clean texts; and `vector`, and `error`, if that is not there yet.
pub struct EmbeddedStream<W: Write> {
    output: IpcWriter<W>,
    schema: Arc<Schema>,
    dim: usize,
}

impl<W: Write> EmbeddedStream<W> {
    fn new(out: W, came: &Schema, columns: TextColumns, metadata: &Metadata) -> io::Result<Self> {
        let [_, text, vector] = COLUMNS;
        let dim = metadata.fingerprint.dim;
        let mut fields: Vec<Arc<Field>> = came.fields().iter().cloned().collect();
        fields[columns.text] = Arc::new(Field::new(text, DataType::Utf8, false));
        fields.push(Arc::new(Field::new(vector, vectors(dim), true)));
        let error = Arc::new(Field::new(ERROR, DataType::Utf8, true));
        match columns.error {
            Some(column) => fields[column] = error,
            None => fields.push(error),
        }
        let mut said = came.metadata().clone();
        said.insert(Metadata::KEY.to_owned(), serde_json::to_string(metadata)?);
        let schema = Arc::new(Schema::new_with_metadata(fields, said));
        Ok(EmbeddedStream { output: IpcWriter::new(out, &schema)?, schema, dim })
    }

    /// Writes what became of a batch, as far as to the reader. An error that it came with stays.
    ///
    /// # Errors
    /// As those of `out`.
    ///
    /// # Panics
    /// If there is not a text and an outcome for each row.
    pub fn write(&mut self, batch: &TextBatch, texts: &[String], made: &[Made]) -> io::Result<()> {
        let TextColumns { text, error } = batch.columns;
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
            RecordBatch::try_new(self.schema.clone(), columns)
        }))
    }

    fn lists(&self, made: &[Made]) -> Result<FixedSizeListArray, ArrowError> {
        let mut values = Vec::with_capacity(made.len() * self.dim);
        for made in made {
            match made {
                Made::Vector(vector) => values.extend_from_slice(vector.values()),
                // There is a place for it all the same.
                Made::Nothing | Made::Failed(_) => values.resize(values.len() + self.dim, 0.0),
            }
        }
        let is_there: NullBuffer = made.iter().map(|made| matches!(made, Made::Vector(_))).collect();
        let values = Arc::new(Float32Array::from(values));
        FixedSizeListArray::try_new(element(), self.dim as i32, values, Some(is_there))
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// As those of `out`.
    pub fn finish(&mut self) -> io::Result<()> {
        self.output.finish()
    }
}
