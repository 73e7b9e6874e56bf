//! What can go wrong with one document, and what is wrong with a call.
//!
//! An error of a document is data: it travels with the document's place, is printed once and
//! counted, and the run goes on. An error of the run is an [`anyhow::Error`] and ends it. A [`Usage`]
//! error is one that no other state of the machine could mend: the call itself is wrong.

use std::io;

use serde::{Deserialize, Serialize};

/// Why one document has no row.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The file or folder could not be opened or read.
    #[error("cannot be read: {0}; check that it exists and that this user may read it")]
    Unreadable(io::Error),
    /// An object could not be read.
    #[error("{}", .0.cause)]
    Object(StoreError),
    /// What ends a file of rows before its end.
    #[error("{0} (what is behind it in the file is not read)")]
    RestNotRead(Box<DocumentError>),
    /// What is in the file is not as it should be.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// Its text took too long to take out.
    #[error(
        "its text was not out after {seconds} seconds; allow more with --max-document-seconds, or leave it out with --exclude"
    )]
    TooSlow {
        /// The limit, in seconds.
        seconds: u64,
    },
    /// The process that should have taken its text out did not live to do so.
    #[error("its reader crashed, or took more than {} GiB of memory; it may be damaged: save it again, or leave it out with --exclude", memory_max >> 30)]
    Crashed {
        /// Memory that the process may have, in bytes.
        memory_max: u64,
    },
    /// No process could be started for it.
    #[error("no process can be started to read it: {0}; check the limits on processes and memory")]
    NoWorker(io::Error),
    /// A row with more or fewer values than the header.
    #[error(
        "{values} values in a row of {columns} columns; put values that hold the separator or a line end in quotes"
    )]
    ColumnCount {
        /// In the header.
        columns: u64,
        /// In the row.
        values: u64,
    },
    /// A link that leads back to one of its parents.
    #[error("a link back to {ancestor}, which it lies in; remove it, or leave out --follow")]
    LinkLoop {
        /// Where it leads.
        ancestor: String,
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
    /// A text in which nothing can be seen.
    #[error("is empty: nothing in it can be seen")]
    Empty,
    /// The tokenizer refused the text.
    #[error("cannot be tokenized: {0}")]
    Tokenizer(String),
    /// The model gave none.
    #[error(transparent)]
    NoVector(#[from] NoVector),
}

/// Why a text has no vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoVector {
    /// There is a NaN or an infinity in it, or it is zero.
    #[error("the model gave a vector that is not finite or is zero; try another export of the model (fp32)")]
    NotFinite,
    /// Alone it is more than the device can hold.
    #[error(
        "{tokens} tokens at once are more than the memory of the device holds; lower --max-tokens, or free memory"
    )]
    OutOfMemory {
        /// Of the text, or of the longest of its chunks.
        tokens: usize,
    },
}

impl DocumentError {
    /// Whether no other document of that place can be read now either, so that there is no use in going on.
    pub fn ends_the_run(&self) -> bool {
        match self {
            DocumentError::Object(error) => error.affects_whole_store,
            DocumentError::RestNotRead(cause) => cause.ends_the_run(),
            _ => false,
        }
    }
}

impl From<io::Error> for DocumentError {
    /// A reader of ours has its own reasons to fail.
    fn from(error: io::Error) -> Self {
        let error = match error.downcast::<ContentError>() {
            Ok(content) => return content.into(),
            Err(error) => error,
        };
        error.downcast().map_or_else(DocumentError::Unreadable, DocumentError::Object)
    }
}

/// What is wrong inside a file. It crosses from one process to another.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub enum ContentError {
    /// More bytes than one document may have.
    #[error("larger than {max} bytes; allow more with --max-document-mib, or split it")]
    TooLarge {
        /// The limit, in bytes.
        max: u64,
    },
    /// Packed data that expands beyond all measure.
    #[error("unpacks to more than {max} times its size; allow more with --max-expansion if you trust it")]
    Expands {
        /// The limit.
        max: u64,
    },
    /// It cannot be parsed.
    #[error("not readable as {kind}: {reason}; open it and save it again, or leave it out with --exclude")]
    Damaged {
        /// The kind of file.
        kind: String,
        /// The parser's words.
        reason: String,
    },
    /// It is something else than its name says.
    #[error("not {kind} but {found}; rename it for what it is, or leave it out with --exclude")]
    OtherKind {
        /// What it is called.
        kind: String,
        /// What it is.
        found: String,
    },
    /// An index that this tool made, in a folder of documents.
    #[error("an index that this tool made; name it by itself if it is to be read")]
    OwnIndex,
    /// A quote that is not closed, or closed in the middle of a value.
    #[error("a quote is never closed, or has more text behind it; double the quotes inside of values")]
    Quotes,
    /// It is encrypted.
    #[error("needs a password; save it without one")]
    Password,
    /// There is nothing in it but pictures.
    #[error("most of its pages have no text, as scanned ones have none; run OCR over it first")]
    NoText,
    /// There is text, but most of it is shapes without characters.
    #[error("its fonts don't say which characters they show; run OCR over it first")]
    NoUnicode,
    /// No column with the text.
    #[error("no column `{column}` (there are: {columns}); name the right one with --text-field")]
    ColumnMissing {
        /// The one asked for.
        column: String,
        /// Those that are there.
        columns: String,
    },
    /// The settings at the top of a document cannot be parsed.
    #[error("its front matter is not {syntax}: {reason}; mend it, or run without --keep")]
    FrontMatter {
        /// YAML or TOML.
        syntax: String,
        /// The parser's words.
        reason: String,
    },
}

/// A document that could not be embedded: where it is, and why.
#[derive(Debug)]
pub struct Failure {
    /// The file, or file and line, as a user would look it up.
    pub place: String,
    /// What went wrong.
    pub cause: DocumentError,
    /// What has no row because of it.
    pub lost: Lost,
}

/// What has no row because of a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// The document with this id.
    Document(Box<str>),
    /// Those whose id starts with this path, and rows of files below it: a folder, or a link that leads nowhere.
    Below(Box<str>),
    /// There is no telling: a file of rows from there on, or a line without a readable id.
    Unknown,
    /// Nothing: the id has its row.
    Nothing,
}

/// A call that is wrong whatever the machine's state: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Why a request to object storage failed.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {cause}")]
pub struct StoreError {
    /// The object or the prefix.
    pub url: String,
    /// What is wrong, and what to do.
    pub cause: String,
    /// Whether requests for other objects of the store would fail too.
    pub affects_whole_store: bool,
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        io::Error::other(error)
    }
}
