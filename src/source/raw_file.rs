//! A file that has been found but has not been read yet.

use std::path::Path;
use std::sync::Arc;

use super::format::FileFormat;
use super::location::Location;
use crate::storage::object::Reader;

/// A file that has been found.
#[derive(Debug)]
pub struct RawFile {
    /// The id of the document. If the file contains one document per row, this id is the `file` in `file:line`, the id of a
    /// row that has no id of its own.
    pub id: String,
    /// The folder that the id is relative to.
    pub base: Arc<Path>,
    /// The place of the file.
    pub location: Location,
    /// The running download of an object; `None` before the download begins, and for a file on this machine.
    pub download: Option<Box<Reader>>,
    pub(super) format: FileFormat,
    /// Size of the file, in bytes, at the time when the file was found.
    pub size: u64,
}
