//! One result of the search for documents.

use super::document::LeftOut;
use super::raw::Raw;
use crate::error::Failure;

/// One result of the search for documents.
#[derive(Debug)]
pub enum Found {
    /// A document, found but not read.
    Raw(Raw),
    /// A file, folder or row that should hold documents and cannot be opened or read.
    Failed(Failure),
    /// A file or folder that is skipped by rule.
    LeftOut(LeftOut),
    /// The name of a root with neither documents nor failures. It comes at the end of that root.
    Nothing(String),
}
