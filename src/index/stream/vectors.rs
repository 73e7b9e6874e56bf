//! Writes texts and their vectors as an Arrow IPC stream.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{FixedSizeListArray, Float32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use super::output::IpcWriter;
use crate::index::schema::{TEXT, VECTOR};
use crate::index::vector_column::{VectorColumn, VectorType, list_length};
use crate::vector::embedding::Embedding;

/// Writes a stream with the columns `text: utf8` and `vector: fixed_size_list<float32, dim>`.
pub struct VectorStream<W: Write> {
    output: IpcWriter<W>,
    schema: Arc<Schema>,
    dim: usize,
}

impl<W: Write> VectorStream<W> {
    /// Starts a stream, and writes the schema.
    ///
    /// # Errors
    /// `out` cannot be written.
    pub fn new(out: W, dim: usize) -> io::Result<Self> {
        let fields = [
            Field::new(TEXT, DataType::Utf8, false),
            Field::new(VECTOR, VectorColumn::new(VectorType::F32, dim).column(), false),
        ];
        let schema = Arc::new(Schema::new(fields.to_vec()));
        Ok(VectorStream { output: IpcWriter::new(out, &schema)?, schema, dim })
    }

    /// Writes a batch and flushes the batch to the reader of the stream.
    ///
    /// # Errors
    /// `out` cannot be written.
    pub fn write(&mut self, texts: &[String], vectors: &[Embedding]) -> io::Result<()> {
        let values: Vec<f32> = vectors.iter().flat_map(Embedding::values).copied().collect();
        let lists = FixedSizeListArray::try_new(
            VectorType::F32.element(),
            list_length(self.dim),
            Arc::new(Float32Array::from(values)),
            None,
        );
        let texts = StringArray::from_iter_values(texts);
        self.output.write(lists.and_then(|lists| {
            RecordBatch::try_new(self.schema.clone(), vec![Arc::new(texts), Arc::new(lists)])
        }))
    }

    /// Writes the end marker.
    ///
    /// # Errors
    /// `out` cannot be written.
    pub fn finish(&mut self) -> io::Result<()> {
        self.output.finish()
    }
}
