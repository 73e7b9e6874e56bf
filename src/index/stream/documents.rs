//! Writes the ids, texts and kept values of documents as an Arrow IPC stream.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use serde_json::Value;

use super::output::{BLOCKS, ERROR, IpcWriter};
use crate::index::kept;
use crate::index::schema::{ID, TEXT};
use crate::text::blocks::Structured;

/// Limit on the documents per batch. The limit is large enough for `embed` to find texts of equal length. It is small enough that
/// `embed` does not wait long for a batch, and that little work is lost if a process dies.
const BATCH_DOCUMENTS: usize = 1024;

/// A batch is complete when its texts and kept values have at least this many bytes.
const BATCH_BYTES: usize = 512 << 10;

/// Writes a stream with the columns `id: utf8`, `text: utf8`, `error: utf8` (nullable), `blocks: utf8` (nullable), and one column
/// per kept column (utf8, nullable).
pub struct DocumentStream<W: Write> {
    output: IpcWriter<W>,
    schema: Arc<Schema>,
    ids: StringBuilder,
    texts: StringBuilder,
    errors: StringBuilder,
    blocks: StringBuilder,
    kept: Vec<StringBuilder>,
    documents: usize,
    bytes: usize,
}

impl<W: Write> DocumentStream<W> {
    /// Starts a stream, and writes the schema. `keep` names the kept columns.
    ///
    /// # Errors
    /// `out` cannot be written.
    pub fn new(out: W, keep: &[String]) -> io::Result<Self> {
        let mut fields = vec![
            Field::new(ID, DataType::Utf8, false),
            Field::new(TEXT, DataType::Utf8, false),
            Field::new(ERROR, DataType::Utf8, true),
            Field::new(BLOCKS, DataType::Utf8, true),
        ];
        fields.extend(keep.iter().map(|name| Field::new(name, DataType::Utf8, true)));
        let schema = Arc::new(Schema::new(fields));
        Ok(DocumentStream {
            output: IpcWriter::new(out, &schema)?,
            schema,
            ids: StringBuilder::new(),
            texts: StringBuilder::new(),
            errors: StringBuilder::new(),
            blocks: StringBuilder::new(),
            kept: keep.iter().map(|_| StringBuilder::new()).collect(),
            documents: 0,
            bytes: 0,
        })
    }

    /// Adds a document with its clean text.
    ///
    /// # Errors
    /// `out` cannot be written.
    pub fn push(&mut self, id: &str, content: &Structured, kept: &[Value]) -> io::Result<()> {
        let blocks = content.blocks_as_json();
        self.bytes += blocks.as_ref().map_or(0, String::len);
        self.blocks.append_option(blocks);
        self.push_row(id, content.text(), None, kept)
    }

    /// Adds a document that could not be read, with the reason as `error`.
    ///
    /// # Errors
    /// `out` cannot be written.
    pub fn push_failed(&mut self, id: &str, error: &str) -> io::Result<()> {
        self.blocks.append_null();
        self.push_row(id, "", Some(error), &[])
    }

    fn push_row(&mut self, id: &str, text: &str, error: Option<&str>, kept: &[Value]) -> io::Result<()> {
        self.ids.append_value(id);
        self.texts.append_value(text);
        self.errors.append_option(error);
        self.bytes += text.len();
        let mut values = kept.iter().map(kept::rendered);
        for column in &mut self.kept {
            // A document that could not be read has no kept values.
            let value = values.next().flatten();
            self.bytes += value.as_ref().map_or(0, String::len);
            column.append_option(value);
        }
        self.documents += 1;
        if self.documents == BATCH_DOCUMENTS || self.bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes all buffered documents as one batch, and flushes the batch to the reader of the stream.
    fn flush(&mut self) -> io::Result<()> {
        let columns = [&mut self.ids, &mut self.texts, &mut self.errors, &mut self.blocks]
            .into_iter()
            .chain(&mut self.kept);
        let columns = columns.map(|column| Arc::new(column.finish()) as ArrayRef).collect();
        (self.documents, self.bytes) = (0, 0);
        self.output.write(RecordBatch::try_new(self.schema.clone(), columns))
    }

    /// Writes all buffered documents and the end marker.
    ///
    /// # Errors
    /// `out` cannot be written.
    pub fn finish(&mut self) -> io::Result<()> {
        if self.documents > 0 {
            self.flush()?;
        }
        self.output.finish()
    }
}
