//! What can go wrong with one document, and what is wrong with a call.
//!
//! An error of a document is data: it travels with the document's place, is printed once and
//! counted, and the run goes on. An error of the run is an [`anyhow::Error`] and ends it. A [`Usage`]
//! error is one that no other state of the machine could mend: the call itself is wrong.

use std::io;

/// Why one document has no row.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The file or folder could not be opened or read.
    #[error("cannot be read: {0}; check that it exists and that this user may read it")]
    Unreadable(#[from] io::Error),
    /// A link that leads back to one of its parents.
    #[error("a link back to {ancestor}, which it lies in; remove it, or leave out --follow")]
    LinkLoop {
        /// Where it leads.
        ancestor: String,
    },
    /// More bytes than one document may have.
    #[error("larger than {max} bytes, the limit for one document; split it")]
    TooLarge {
        /// The limit, in bytes.
        max: u64,
    },
    /// A line of JSON that is not UTF-8, as JSON must be.
    #[error(
        "not UTF-8 (byte {offset} of the line is the first wrong one), as JSON must be; convert the file"
    )]
    NotUtf8 {
        /// Where the first invalid sequence starts, in bytes.
        offset: usize,
    },
    /// A file whose bytes are something else, whatever its name says.
    #[error("not text but {found}; rename it for what it is, or leave it out with --exclude")]
    NotText {
        /// What it is.
        found: &'static str,
    },
    /// Bytes that the encoding does not have.
    #[error("cannot be decoded as {encoding}; name its encoding with --encoding, or save it as UTF-8")]
    Undecodable {
        /// The encoding that was tried.
        encoding: &'static str,
    },
    /// A line that is not a JSON object.
    #[error("not a JSON object: {0}; each line must be one, like {{\"id\": \"1\", \"text\": \"…\"}}")]
    NotJson(String),
    /// A JSON object without the field.
    #[error("no field `{field}`; name the right one with {option}")]
    FieldMissing {
        /// The field asked for.
        field: String,
        /// The option that names it.
        option: &'static str,
    },
    /// A field of the wrong type.
    #[error("field `{field}` is {found}, expected {expected}; name another with {option}")]
    FieldType {
        /// The field asked for.
        field: String,
        /// What may stand there.
        expected: &'static str,
        /// What stands there.
        found: &'static str,
        /// The option that names it.
        option: &'static str,
    },
    /// An id that an earlier document has.
    #[error("the id `{id}` was already used at {first}; ids must be unique, this one is left out")]
    DuplicateId {
        /// The id.
        id: String,
        /// Where it was used first.
        first: String,
    },
    /// The tokenizer refused the text.
    #[error("cannot be tokenized: {0}")]
    Tokenizer(String),
    /// A vector with a NaN or an infinity, or of length zero.
    #[error("the model gave a vector that is not finite or is zero; try another export of the model (fp32)")]
    NotFinite,
}

/// A document that could not be embedded: where it is, and why.
#[derive(Debug)]
pub struct Failure {
    /// The file, or file and line, as a user would look it up.
    pub place: String,
    /// What went wrong.
    pub cause: DocumentError,
}

/// A call that is wrong whatever the machine's state: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);
