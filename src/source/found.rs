//! What the search for documents comes upon.

use super::document::LeftOut;
use super::raw::Raw;
use crate::error::Failure;

/// What the search for documents comes upon.
#[derive(Debug)]
pub enum Found {
    /// A document to read.
    Raw(Raw),
    /// A file, folder or line that should have been one.
    Failed(Failure),
    /// Something that is no document by rule.
    LeftOut(LeftOut),
    /// A root at its end, without any document, good or bad.
    Nothing(String),
}
