//! The data that all rows of a file share, and the progress of reading the file.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::error::{DocumentError, Failure, Lost};
use crate::source::found::Found;
use crate::source::raw::{Raw, RawRow, RowContent};

/// The rows of one file.
pub type RowIter = Box<dyn Iterator<Item = Found> + Send>;

/// The data that all rows of a file share, and the number of bytes of the file that have been read so far.
pub struct Source {
    pub file: Arc<Path>,
    file_id: Arc<str>,
    /// The encoding that the file is decoded from; `None` for UTF-8.
    pub encoding: Option<&'static str>,
    /// How many bytes of the file have been read so far, counted before decompression.
    pub consumed: Arc<AtomicU64>,
    /// The sum of the progress of all earlier rows, in bytes.
    reported: u64,
}

impl Source {
    pub fn new(file: &Path, id: String) -> Self {
        Source {
            file: file.into(),
            file_id: id.into(),
            encoding: None,
            consumed: Arc::default(),
            reported: 0,
        }
    }

    /// Returns a row. The progress of the row is the number of bytes that were read since the previous row.
    pub fn row(&mut self, number: u64, content: RowContent) -> Found {
        let consumed = self.consumed.load(Relaxed);
        let progress = consumed - std::mem::replace(&mut self.reported, consumed);
        Found::Raw(Raw::Row(RawRow {
            file_id: self.file_id.clone(),
            file: self.file.clone(),
            number,
            content,
            encoding: self.encoding,
            progress,
        }))
    }

    /// Returns the failure of a row that ends the reading of the file. All rows after this row are lost too.
    pub fn failed_from(&self, number: u64, cause: DocumentError) -> Found {
        self.failed(number, DocumentError::RestNotRead(Box::new(cause)))
    }

    /// Returns the failure of one row.
    pub fn failed(&self, number: u64, cause: DocumentError) -> Found {
        let place = format!("{}:{number}", self.file.display());
        Found::Failed(Failure { place, cause, lost: Lost::Unknown })
    }
}
