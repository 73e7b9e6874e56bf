//! What can go wrong with one document, and a wrong call.
//!
//! An error of a document is data: it travels in the document's place, is printed once and counted, and the run goes on.
//! `Display` says what is wrong; `command/advice.rs` adds what to do, since that names options. An error of the run is an
//! [`anyhow::Error`] and ends it.

use std::io;

use serde::{Deserialize, Serialize};

/// Why a document has no row.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The file or folder could not be opened or read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// An object could not be read.
    #[error("{}", .0.cause)]
    Object(StoreError),
    /// A file of rows could be read up to here only.
    #[error("{0} (the rest of the file is not read)")]
    RestNotRead(Box<DocumentError>),
    /// The content of the file is wrong.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The text was not extracted in time.
    #[error("its text could not be extracted within {seconds} seconds")]
    TooSlow {
        /// The limit, in seconds.
        seconds: u64,
    },
    /// The worker process died while it extracted the text.
    #[error("the process that reads it crashed or took more than {} GiB of memory", memory_max >> 30)]
    Crashed {
        /// Memory that a worker process may take, in bytes.
        memory_max: u64,
    },
    /// No worker process could be started.
    #[error("no process can be started to read it: {0}")]
    NoWorker(io::Error),
    /// A row has more or fewer values than the header.
    #[error("wrong number of values: {values}, and the header has {columns}")]
    ColumnCount {
        /// Columns in the header.
        columns: u64,
        /// Values in the row.
        values: u64,
    },
    /// A symlink leads back to one of its parents.
    #[error("the symlink leads back to {ancestor}, which contains it")]
    LinkLoop {
        /// The parent that it leads to.
        ancestor: String,
    },
    /// A line of JSON is not UTF-8, as JSON must be.
    #[error("not UTF-8, as JSON must be (the first invalid byte is at offset {offset} of the line)")]
    NotUtf8 {
        /// Where the first invalid sequence starts, in bytes.
        offset: usize,
    },
    /// The content is not text, although the file extension says so.
    #[error("not text but {found}")]
    NotText {
        /// What the content is.
        found: &'static str,
    },
    /// The encoding has no character for some of the bytes.
    #[error("cannot be decoded as {encoding}")]
    Undecodable {
        /// The encoding that was tried.
        encoding: &'static str,
    },
    /// A line is not a JSON object.
    #[error("not a JSON object: {0}")]
    NotJson(String),
    /// The object or row has none of the fields asked for.
    #[error("no field `{field}`")]
    FieldMissing {
        /// The names asked for.
        field: String,
    },
    /// A field has a value of the wrong type.
    #[error("field `{field}` is {found}, expected {expected}")]
    FieldType {
        /// The name of the field.
        field: String,
        /// What the field is for.
        role: FieldRole,
        /// The types that it may have.
        expected: &'static str,
        /// The type that it has.
        found: &'static str,
    },
    /// An earlier document has the same id.
    #[error("the id `{id}` is already used at {first}, so this document is skipped")]
    DuplicateId {
        /// The id.
        id: String,
        /// Where it was used first.
        first: String,
    },
    /// Nothing is left of the text after cleaning.
    #[error("is empty: it has no visible characters")]
    Empty,
    /// The tokenizer refused the text.
    #[error("cannot be tokenized: {0}")]
    Tokenizer(String),
    /// The model gave no vector.
    #[error(transparent)]
    NoVector(#[from] NoVector),
}

/// What a field is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldRole {
    /// It holds the document's id.
    Id,
    /// It holds the document's text.
    Text,
}

/// Why a text has no vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoVector {
    /// The vector has a NaN or an infinity, or is zero.
    #[error("the model gave a vector that is zero or has a number that is not finite")]
    NotFinite,
    /// The text alone does not fit into the memory of the device.
    #[error("{tokens} tokens do not fit into the memory of the device")]
    OutOfMemory {
        /// Tokens of the text, or of the longest of its chunks.
        tokens: usize,
    },
}

impl DocumentError {
    /// Returns whether no other document of the same place can be read now either.
    pub fn ends_the_run(&self) -> bool {
        match self {
            DocumentError::Object(error) => error.affects_whole_store,
            DocumentError::RestNotRead(cause) => cause.ends_the_run(),
            _ => false,
        }
    }
}

impl From<io::Error> for DocumentError {
    /// Takes out the error that one of our own readers has put into an [`io::Error`].
    fn from(error: io::Error) -> Self {
        let error = match error.downcast::<ContentError>() {
            Ok(content) => return content.into(),
            Err(error) => error,
        };
        error.downcast().map_or_else(DocumentError::Unreadable, DocumentError::Object)
    }
}

/// What is wrong inside a file. A worker process sends it to the run.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub enum ContentError {
    /// The document has more bytes than allowed.
    #[error("larger than {max} bytes")]
    TooLarge {
        /// The limit, in bytes.
        max: u64,
    },
    /// Compressed data expands to more than allowed.
    #[error("expands to more than {max} times its size")]
    Expands {
        /// The limit, as a multiple of the compressed size.
        max: u64,
    },
    /// The file cannot be parsed.
    #[error("not readable as {kind}: {reason}")]
    Damaged {
        /// The format.
        kind: String,
        /// The parser's words.
        reason: String,
    },
    /// The content has another format than the file extension says.
    #[error("not {kind} but {found}")]
    OtherKind {
        /// The format that the extension names.
        kind: String,
        /// The format of the content.
        found: String,
    },
    /// An index that this tool made lies in a folder of documents.
    #[error("an index that this tool made")]
    OwnIndex,
    /// A quote is not closed, or is followed by more text of the same value.
    #[error("a quote is never closed, or text follows its end")]
    Quotes,
    /// The file is encrypted.
    #[error("needs a password")]
    Password,
    /// Most pages are pictures.
    #[error("most of its pages are pictures without text, as scanned pages are")]
    NoText,
    /// Most of the text is drawn in fonts that do not name their characters.
    #[error("its fonts do not say which characters they show")]
    NoUnicode,
    /// The table has none of the columns asked for.
    #[error("no column `{column}` (the columns are: {columns})")]
    ColumnMissing {
        /// The names asked for.
        column: String,
        /// The names in the table.
        columns: String,
    },
    /// The front matter of a document cannot be parsed.
    #[error("its front matter is not {syntax}: {reason}")]
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
    /// Which documents have no row because of it.
    pub lost: Lost,
}

/// Which documents have no row because of a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// The document with this id.
    Document(Box<str>),
    /// Documents whose id starts with this path, and rows of files below it: a folder or a broken symlink.
    Below(Box<str>),
    /// Unknown: the rest of a file of rows, or a line without a readable id.
    Unknown,
    /// None: the first document of a doubled id has its row.
    Nothing,
}

/// A call that is wrong whatever the state of the machine: exit code 2.
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
