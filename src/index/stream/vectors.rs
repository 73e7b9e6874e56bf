//! Texts and their vectors in, an Arrow IPC stream out.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{FixedSizeListArray, Float32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use super::output::IpcWriter;
use crate::index::schema::{COLUMNS, element, vectors};
use crate::vector::embedding::Embedding;

/// A stream with the columns `text: utf8` and `vector: fixed_size_list<float32, dim>`.
pub struct VectorStream<W: Write> {
    output: IpcWriter<W>,
    schema: Arc<Schema>,
    dim: usize,
}

impl<W: Write> VectorStream<W> {
    /// Writes the schema.
    ///
    /// # Errors
    /// As those of `out`.
    pub fn new(out: W, dim: usize) -> io::Result<Self> {
        let [_, text, vector] = COLUMNS;
        let fields = [Field::new(text, DataType::Utf8, false), Field::new(vector, vectors(dim), false)];
        let schema = Arc::new(Schema::new(fields.to_vec()));
        Ok(VectorStream { output: IpcWriter::new(out, &schema)?, schema, dim })
    }

    /// Writes a batch, as far as to the reader.
    ///
    /// # Errors
    /// As those of `out`.
    pub fn write(&mut self, texts: &[String], vectors: &[Embedding]) -> io::Result<()> {
        let values: Vec<f32> = vectors.iter().flat_map(Embedding::values).copied().collect();
        let lists = FixedSizeListArray::try_new(
            element(),
            self.dim as i32,
            Arc::new(Float32Array::from(values)),
            None,
        );
        let texts = StringArray::from_iter_values(texts);
        self.output.write(lists.and_then(|lists| {
            RecordBatch::try_new(self.schema.clone(), vec![Arc::new(texts), Arc::new(lists)])
        }))
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// As those of `out`.
    pub fn finish(&mut self) -> io::Result<()> {
        self.output.finish()
    }
}
