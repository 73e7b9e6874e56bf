//! The data that all rows of a file share, and the progress of reading the file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::error::{DocumentError, Failure, Lost};
use crate::source::extract::Extracted;
use crate::source::format::FormatKind;
use crate::source::found::Found;
use crate::source::raw::{Raw, RawRow, RawSection, RowContent};

/// The rows of one file.
pub type RowIter = Box<dyn Iterator<Item = Found> + Send>;

/// The data that all rows of a file share, and the number of bytes of the file that have been read so far.
pub struct Source {
    /// The folder that the id of the file is relative to.
    base: Arc<Path>,
    /// The path and the id of the file.
    name: PathBuf,
    id: String,
    /// The part of the file that the rows are in, as it follows the id of the file in their ids; mostly empty.
    section: String,
    /// The path and the id of the file, each followed by the section.
    file: Arc<Path>,
    file_id: Arc<str>,
    format: FormatKind,
    /// The encoding that the file is decoded from; `None` for UTF-8.
    pub encoding: Option<&'static str>,
    /// How many bytes of the file have been read so far, counted before decompression.
    pub consumed: Arc<AtomicU64>,
    /// The sum of the progress of all earlier rows, in bytes.
    reported: u64,
}

impl Source {
    /// Returns the source of a file. `id` is the id of the file, which is relative to `base`.
    pub fn new(name: PathBuf, base: Arc<Path>, id: String, format: FormatKind) -> Self {
        Source {
            base,
            section: String::new(),
            file: name.as_path().into(),
            file_id: id.as_str().into(),
            name,
            id,
            format,
            encoding: None,
            consumed: Arc::default(),
            reported: 0,
        }
    }

    /// Sets the section of the rows that follow.
    pub fn section(&mut self, section: String) {
        if section != self.section {
            let mut file = self.name.clone().into_os_string();
            file.push(&section);
            self.file = PathBuf::from(file).into();
            self.file_id = format!("{}{section}", self.id).into();
            self.section = section;
        }
    }

    /// Returns a row. The progress of the row is the number of bytes that were read since the previous row.
    pub fn row(&mut self, number: u64, content: RowContent) -> Found {
        Found::Raw(Raw::Row(RawRow {
            file_id: self.file_id.clone(),
            file: self.file.clone(),
            number,
            content,
            format: self.format,
            encoding: self.encoding,
            progress: self.progress(),
        }))
    }

    /// Returns the current section as a document.
    pub fn document(&mut self, extracted: Extracted) -> Found {
        let (id, base, format) = ((*self.file_id).to_owned(), self.base.clone(), self.format);
        Found::Raw(Raw::Section(RawSection { id, base, format, extracted, progress: self.progress() }))
    }

    /// Returns the number of bytes that were read since the last call.
    fn progress(&mut self) -> u64 {
        // A worker may only estimate how much it has read.
        let progress = self.consumed.load(Relaxed).saturating_sub(self.reported);
        self.reported += progress;
        progress
    }

    /// Returns the failure of a row that ends the reading of the file. All rows after this row are lost too. `number` is `None`
    /// if the documents of the file are no rows.
    pub fn failed_from(&self, number: Option<u64>, cause: DocumentError) -> Found {
        let place = match number {
            Some(number) => format!("{}:{number}", self.file.display()),
            None => self.file.display().to_string(),
        };
        let cause = DocumentError::RestNotRead(Box::new(cause));
        Found::Failed(Failure { place, cause, lost: Lost::Unknown })
    }

    /// Returns the failure of one row.
    pub fn failed(&self, number: u64, cause: DocumentError) -> Found {
        let place = format!("{}:{number}", self.file.display());
        Found::Failed(Failure { place, cause, lost: Lost::Unknown })
    }

    /// Returns the failure of the current section, which is a document.
    pub fn failed_document(&self, cause: DocumentError) -> Found {
        let lost = Lost::Document((*self.file_id).into());
        Found::Failed(Failure { place: self.file.display().to_string(), cause, lost })
    }
}
