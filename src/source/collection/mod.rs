//! Reads files that hold several documents. This module runs in workers and opens no files.

mod expansion;
pub mod outbox;
mod parquet;
pub mod reader;
mod sheets;
pub mod stdin;

use parquet::ParquetTable;
use reader::{CollectionReader, CollectionRequest};
use sheets::excel::ExcelWorkbook;
use sheets::open_document::OpenWorkbook;
use stdin::StdinFile;

use super::format::CollectionFormat;
use crate::error::ContentError;

/// Opens a file and reads its start.
///
/// # Errors
/// The file is damaged, has another format, or is a table without a text column.
pub fn open(
    file: StdinFile,
    request: &CollectionRequest,
) -> Result<Box<dyn CollectionReader + '_>, ContentError> {
    Ok(match request.format {
        CollectionFormat::Parquet => Box::new(ParquetTable::open(file, request)?),
        CollectionFormat::Xlsx | CollectionFormat::Xlsb | CollectionFormat::Xls => {
            Box::new(ExcelWorkbook::open(file, request)?)
        }
        CollectionFormat::Ods => Box::new(OpenWorkbook::open(file, request)?),
    })
}
