//! One result of the search for documents.

use super::document::LeftOut;
use super::raw::Raw;
use crate::error::Failure;

/// One result of the search for documents.
#[derive(Debug)]
pub enum Found {
    /// A document that has been found but has not been read yet.
    Raw(Raw),
    /// A file, folder or row that cannot be opened or read, with the reason.
    Failed(Failure),
    /// A file or folder that is skipped, with the reason.
    LeftOut(LeftOut),
    /// A file or folder that a `.ignore` or `.gitignore` excludes. Contains its path, as the ids of the documents there begin.
    Ignored(String),
    /// The name of a root below which no document was found and no failure occurred. This is the final result of the root.
    Nothing(String),
}
