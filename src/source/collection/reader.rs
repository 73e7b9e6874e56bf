//! What a worker is asked about a file that holds several documents, and what its reader does.

use std::io;

use serde::{Deserialize, Serialize};

use super::outbox::Outbox;
use crate::source::document::Limits;
use crate::source::fields::Fields;
use crate::source::format::CollectionFormat;

/// A request to read a file that holds several documents. The file is open as standard input.
#[derive(Debug, Serialize, Deserialize)]
pub struct CollectionRequest {
    pub format: CollectionFormat,
    pub fields: Fields,
    pub limits: Limits,
    /// Whether the user named the file as an input.
    pub is_root: bool,
}

/// A file that holds several documents, after its start has been read.
pub trait CollectionReader {
    /// Puts every document into the outbox.
    ///
    /// # Errors
    /// The error is a wrapped [`ContentError`](crate::error::ContentError) if the rest of the file cannot be read, or the
    /// error of the outbox.
    fn read(self: Box<Self>, outbox: &mut Outbox) -> io::Result<()>;
}
