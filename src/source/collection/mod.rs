//! Reads files that hold several documents. This module runs in workers and opens no files.

pub mod outbox;
mod parquet;
pub mod reader;
pub mod stdin;

use parquet::ParquetTable;
use reader::{CollectionReader, CollectionRequest};
use stdin::StdinFile;

use super::format::CollectionFormat;
use crate::error::ContentError;

/// Opens a file and reads its start.
///
/// # Errors
/// The file is damaged, has another format, or is a table without a text column.
pub fn open(file: StdinFile, request: &CollectionRequest) -> Result<Box<dyn CollectionReader>, ContentError> {
    Ok(match request.format {
        CollectionFormat::Parquet => Box::new(ParquetTable::open(file, request)?),
    })
}
