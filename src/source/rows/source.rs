//! A file of rows, as each of its rows refers to it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::error::{DocumentError, Failure, Lost};
use crate::source::found::Found;
use crate::source::raw::{Raw, RowContent};

/// The rows of one file.
pub type RowIter = Box<dyn Iterator<Item = Found> + Send>;

/// What all rows of one file have in common.
pub struct Source {
    pub file: Arc<Path>,
    file_id: Arc<str>,
    /// What it was decoded from, where that was not UTF-8.
    pub encoding: Option<&'static str>,
    /// How many of the file's bytes have been read, and how many of them a row has answered for.
    pub taken: Arc<AtomicU64>,
    told: u64,
}

impl Source {
    pub fn new(file: &Path, id: String) -> Self {
        Source { file: file.into(), file_id: id.into(), encoding: None, taken: Arc::default(), told: 0 }
    }

    pub fn row(&mut self, number: u64, content: RowContent) -> Found {
        let taken = self.taken.load(Relaxed);
        let progress = taken - std::mem::replace(&mut self.told, taken);
        Found::Raw(Raw::Row {
            file_id: self.file_id.clone(),
            file: self.file.clone(),
            number,
            content,
            encoding: self.encoding,
            progress,
        })
    }

    /// What is behind it cannot be read either.
    pub fn failed_from(&self, number: u64, cause: DocumentError) -> Found {
        self.failed(number, DocumentError::RestNotRead(Box::new(cause)))
    }

    pub fn failed(&self, number: u64, cause: DocumentError) -> Found {
        let place = format!("{}:{number}", self.file.display());
        Found::Failed(Failure { place, cause, lost: Lost::Unknown })
    }
}
