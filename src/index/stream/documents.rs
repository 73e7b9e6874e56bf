//! Documents in, an Arrow IPC stream of their texts out.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use serde_json::Value;

use super::output::{ERROR, IpcWriter};
use crate::index::kept;
use crate::index::schema::COLUMNS;

/// A batch ends with the document with which it comes to so many, or so many bytes of text and of what is kept: enough for texts of equal
/// length to meet in `embed`, little enough for no long wait, and no great loss where a process dies.
const BATCH_DOCUMENTS: usize = 1024;
const BATCH_BYTES: usize = 512 << 10;

/// A stream with the columns `id: utf8`, `text: utf8`, `error: utf8` nullable, and those that are kept, utf8 and nullable.
pub struct DocumentStream<W: Write> {
    output: IpcWriter<W>,
    schema: Arc<Schema>,
    /// A column each.
    columns: Vec<StringBuilder>,
    documents: usize,
    bytes: usize,
}

impl<W: Write> DocumentStream<W> {
    /// Writes the schema. `keep` names the further columns.
    ///
    /// # Errors
    /// As those of `out`.
    pub fn new(out: W, keep: &[String]) -> io::Result<Self> {
        let [id, text, _] = COLUMNS;
        let mut fields = vec![
            Field::new(id, DataType::Utf8, false),
            Field::new(text, DataType::Utf8, false),
            Field::new(ERROR, DataType::Utf8, true),
        ];
        fields.extend(keep.iter().map(|name| Field::new(name, DataType::Utf8, true)));
        let columns = fields.iter().map(|_| StringBuilder::new()).collect();
        let schema = Arc::new(Schema::new(fields));
        Ok(DocumentStream { output: IpcWriter::new(out, &schema)?, schema, columns, documents: 0, bytes: 0 })
    }

    /// Adds a document with its clean text.
    ///
    /// # Errors
    /// As those of `out`.
    pub fn push(&mut self, id: &str, text: &str, kept: &[Value]) -> io::Result<()> {
        self.push_row(id, text, None, kept)
    }

    /// Adds one that could not be read, and why.
    ///
    /// # Errors
    /// As those of `out`.
    pub fn push_failed(&mut self, id: &str, error: &str) -> io::Result<()> {
        self.push_row(id, "", Some(error), &[])
    }

    fn push_row(&mut self, id: &str, text: &str, error: Option<&str>, kept: &[Value]) -> io::Result<()> {
        let mut kept = kept.iter().map(kept::rendered);
        self.bytes += text.len();
        for (at, column) in self.columns.iter_mut().enumerate() {
            match at {
                0 => column.append_value(id),
                1 => column.append_value(text),
                2 => column.append_option(error),
                _ => {
                    let value = kept.next().flatten();
                    self.bytes += value.as_ref().map_or(0, String::len);
                    column.append_option(value);
                }
            }
        }
        self.documents += 1;
        if self.documents == BATCH_DOCUMENTS || self.bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes what there is as a batch, as far as to the reader.
    fn flush(&mut self) -> io::Result<()> {
        let columns = self.columns.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef).collect();
        (self.documents, self.bytes) = (0, 0);
        self.output.write(RecordBatch::try_new(self.schema.clone(), columns))
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// As those of `out`.
    pub fn finish(&mut self) -> io::Result<()> {
        if self.documents > 0 {
            self.flush()?;
        }
        self.output.finish()
    }
}
