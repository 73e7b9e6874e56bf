//! The errors of documents, of wrong command lines and of object storage. `Display` says what is wrong and where.
//!
//! The error of a document usually does not end the run: the pipeline passes on the error in place of the document, and the
//! run prints the error and counts it. An error that ends the run is an [`anyhow::Error`]. `command/advice.rs` adds what to do
//! to both, with the names of options.

use std::io;

use serde::{Deserialize, Serialize};

use crate::interrupt::Interrupted;

/// The reason why a document gets no row.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The file or folder could not be opened or read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// The path names no ordinary file any more. Somebody replaced the file after the run found it.
    #[error("was a file when it was found, and is now {found}")]
    NotAFile {
        /// The kind of file that the path names now.
        found: &'static str,
    },
    /// An ignore file in the folder cannot be used, so the folder is not read.
    #[error(transparent)]
    IgnoreFile(#[from] IgnoreFileError),
    /// An object could not be read.
    #[error("{}", .0.cause)]
    Object(StoreError),
    /// A row of a file could not be read, so the rest of the file is not read.
    #[error("{0} (the rest of the file is not read)")]
    RestNotRead(Box<DocumentError>),
    /// The content of the file cannot be used as a document.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The worker process did not extract the text within one of its time limits.
    #[error(
        "its text could not be extracted within {seconds} seconds of processor time, or five times that in real time"
    )]
    TooSlow {
        /// The limit on processor time, in seconds.
        seconds: u64,
    },
    /// The worker process died while it extracted the text.
    #[error("the process that reads it crashed or took more than {} GiB of memory", memory_max >> 30)]
    Crashed {
        /// The limit on the memory of a worker process, in bytes.
        memory_max: u64,
    },
    /// The command that reads pictures did not read a picture.
    #[error("{}`{program}` {cause}", page.map_or_else(String::new, |page| format!("page {page}: ")))]
    Ocr {
        /// The number of the page, counted from 1; `None` if the document is a picture.
        page: Option<u32>,
        /// The program.
        program: Box<str>,
        /// What went wrong.
        cause: OcrError,
    },
    /// The run was interrupted while it read the document.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// No worker process could be started.
    #[error("no process can be started to read it: {0}")]
    NoWorker(io::Error),
    /// The number of values in a row differs from the number of columns in the header.
    #[error("wrong number of values: {values} in the row, {columns} in the header")]
    ColumnCount {
        /// The number of columns in the header.
        columns: u64,
        /// The number of values in the row.
        values: u64,
    },
    /// A symlink points to a folder that contains the symlink.
    #[error("the symlink points to {ancestor}, which contains the symlink")]
    LinkLoop {
        /// The folder that the symlink points to.
        ancestor: String,
    },
    /// A line of a JSON Lines file is not valid UTF-8. JSON must be UTF-8.
    #[error("not UTF-8, but JSON must be UTF-8 (the first invalid byte is at offset {offset} of the line)")]
    NotUtf8 {
        /// The offset of the first invalid byte in the line.
        offset: usize,
    },
    /// The file extension names a text format, but the content is not text.
    #[error("not text but {found}")]
    NotText {
        /// The kind of content that was found.
        found: &'static str,
    },
    /// Some bytes are not valid in the encoding.
    #[error("cannot be decoded as {encoding}")]
    Undecodable {
        /// The encoding that was tried.
        encoding: &'static str,
    },
    /// Two encodings are probable, and give different texts.
    #[error("its encoding may be {first} or {second}, and they give different texts")]
    AmbiguousEncoding {
        /// The more probable encoding.
        first: &'static str,
        /// The other encoding.
        second: &'static str,
    },
    /// In no encoding are the characters of the text those of a language.
    #[error("its encoding is unknown: no encoding makes words of its bytes")]
    UnknownEncoding,
    /// A line is not a JSON object.
    #[error("not a JSON object: {0}")]
    NotJson(String),
    /// The JSON object or the row has none of the requested fields.
    #[error("no field `{field}`")]
    FieldMissing {
        /// The names of the requested fields.
        field: String,
        /// The names of the fields that are there.
        fields: String,
    },
    /// A field has a value of the wrong type.
    #[error("field `{field}` is {found}, expected {expected}")]
    FieldType {
        /// The name of the field.
        field: String,
        /// The purpose of the field.
        role: FieldRole,
        /// The types that the field may have.
        expected: &'static str,
        /// The type of the value.
        found: &'static str,
    },
    /// An earlier document has the same id.
    #[error("the id `{id}` is already used at {first}, so this document is skipped")]
    DuplicateId {
        /// The id.
        id: String,
        /// The place of the first document with this id.
        first: String,
    },
    /// The text is empty after cleaning.
    #[error("is empty: it has no visible characters")]
    Empty,
    /// The text has more tokens than allowed.
    #[error("has more than {max} tokens")]
    TooManyTokens {
        /// The limit.
        max: usize,
    },
    /// The tokenizer refused the text.
    #[error("cannot be tokenized: {0}")]
    Tokenizer(String),
    /// The model returned no usable vector.
    #[error(transparent)]
    NoVector(#[from] NoVector),
}

/// The reason why the command that reads pictures did not read a picture.
#[derive(Debug, thiserror::Error)]
pub enum OcrError {
    /// The command could not be started.
    #[error("cannot be started: {0}")]
    NotStarted(io::Error),
    /// The command reported a failure: its exit code or signal, and the start of what it wrote to standard error.
    #[error("failed with {0}")]
    Failed(Box<str>),
    /// The command did not end in time.
    #[error("took longer than {seconds} seconds")]
    TooSlow {
        /// The limit, in seconds.
        seconds: u64,
    },
    /// The command wrote too much.
    #[error("wrote more than {} MiB for one picture", max >> 20)]
    TooMuch {
        /// The limit, in bytes.
        max: u64,
    },
    /// The text is not UTF-8.
    #[error("wrote text that is not UTF-8")]
    NotUtf8,
}

/// The reason why an ignore file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IgnoreFileError {
    /// The path names no ordinary file.
    #[error("is {found}, not a file")]
    NotAFile {
        /// The kind of file that the path names.
        found: &'static str,
    },
    /// The file has more bytes than allowed.
    #[error("is larger than {} MiB", max >> 20)]
    TooLarge {
        /// The limit, in bytes.
        max: u64,
    },
    /// The file, together with the ignore files of the folders above, has more patterns than allowed.
    #[error("has more than {max} patterns, together with the folders above")]
    TooManyPatterns {
        /// The limit.
        max: usize,
    },
    /// The file is not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// A line is not a valid pattern. The message does not have the line, because it may be as long as a file.
    #[error("line {line}: {cause}")]
    Line {
        /// The number of the line, counted from 1.
        line: usize,
        /// What is wrong with the pattern.
        cause: String,
    },
    /// The patterns cannot be used together.
    #[error("{cause}")]
    Patterns {
        /// What is wrong with the patterns.
        cause: String,
    },
}

/// The purpose of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldRole {
    /// The field holds the document's id.
    Id,
    /// The field holds the document's text.
    Text,
}

/// The reason why a text has no vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoVector {
    /// The vector contains a NaN or an infinity, or all components of the vector are zero.
    #[error("the model returned a vector that is all zeros or has a NaN or an infinity")]
    NotFinite,
    /// The device has too little memory even for a batch that holds only this text.
    #[error("{tokens} tokens do not fit into the memory of the device")]
    OutOfMemory {
        /// The number of tokens of the text, or of the longest chunk if the text has several chunks.
        tokens: usize,
    },
}

impl DocumentError {
    /// Returns `true` if the run has to end, because it was interrupted, or because the error affects a whole object store.
    pub fn ends_the_run(&self) -> bool {
        match self {
            DocumentError::Interrupted(_) => true,
            DocumentError::Object(error) => error.cause.affects_whole_store(),
            DocumentError::RestNotRead(cause) => cause.ends_the_run(),
            _ => false,
        }
    }
}

impl From<io::Error> for DocumentError {
    /// Unwraps the [`ContentError`] or [`StoreError`] if a reader of this crate has wrapped such an error in the
    /// [`io::Error`]. Any other [`io::Error`] becomes [`DocumentError::Unreadable`].
    fn from(error: io::Error) -> Self {
        let error = match error.downcast::<ContentError>() {
            Ok(content) => return content.into(),
            Err(error) => error,
        };
        error.downcast().map_or_else(DocumentError::Unreadable, DocumentError::Object)
    }
}

/// An error in the content of a file. A worker process sends the error to the main process.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub enum ContentError {
    /// The document has more bytes than allowed.
    #[error("larger than {max} bytes")]
    TooLarge {
        /// The limit, in bytes.
        max: u64,
    },
    /// The compressed content expands to more bytes than allowed.
    #[error("expands to more than {max} times its size")]
    Expands {
        /// The limit, as a multiple of the size of the file.
        max: u64,
    },
    /// The file cannot be parsed.
    #[error("not readable as {kind}: {reason}")]
    Damaged {
        /// The format that the parser expected.
        kind: String,
        /// The error message of the parser.
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
    /// The file is an index that this tool made, not a document.
    #[error("is an index that this tool made")]
    OwnIndex,
    /// The JSON is not an array of objects.
    #[error("not a JSON array of objects")]
    NoArray,
    /// A quoted value has no closing quote, or the closing quote is followed by more text.
    #[error("a quoted value has no closing quote, or has text after the closing quote")]
    Quotes,
    /// The file is encrypted with a password.
    #[error("needs a password")]
    Password,
    /// The text of the book is encrypted for the programs and people that bought it.
    #[error("is protected against copying (DRM)")]
    Protected,
    /// The text is encrypted with a key.
    #[error("encrypted with {with}")]
    Encrypted {
        /// The name of the standard.
        with: String,
    },
    /// Most pages contain only pictures and no text.
    #[error("most of its pages are pictures without text, such as scans")]
    NoText,
    /// Most of the text is drawn in fonts that do not name their characters.
    #[error("its fonts do not say which characters they show")]
    NoUnicode,
    /// The page has a title at most, and a script writes the rest of it.
    #[error("has no text without its scripts")]
    Scripted,
    /// The table has none of the requested columns.
    #[error("no column `{column}` (the columns are: {columns})")]
    ColumnMissing {
        /// The names of the requested columns.
        column: String,
        /// The names of the columns in the table.
        columns: String,
    },
    /// The front matter of a document cannot be parsed.
    #[error("its front matter is not {syntax}: {reason}")]
    FrontMatter {
        /// YAML or TOML.
        syntax: String,
        /// The error message of the parser.
        reason: String,
    },
}

/// The place and the cause of a failure to read or embed a document.
#[derive(Debug)]
pub struct Failure {
    /// The file. For a line or a row of a file, also the line number or the row number.
    pub place: String,
    /// The error.
    pub cause: DocumentError,
    /// The documents that have no row because of this failure.
    pub lost: Lost,
}

impl Failure {
    /// Returns the failure if the run can go on.
    ///
    /// # Errors
    /// The failure affects a whole object store, or the run was interrupted, so it ends the run.
    pub fn tolerated(self) -> anyhow::Result<Self> {
        match self.cause {
            DocumentError::Interrupted(interrupted) => Err(interrupted.into()),
            cause if cause.ends_the_run() => Err(anyhow::Error::new(cause).context(self.place)),
            cause => Ok(Failure { cause, ..self }),
        }
    }
}

/// The documents that have no row because of a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// The document with this id.
    Document(Box<str>),
    /// All documents at or below this path, including the rows of files there. The path is a folder or a broken symlink.
    Below(Box<str>),
    /// Documents with unknown ids: the rest of a file of rows, or a line without a readable id.
    Unknown,
    /// No document is lost: the id is a duplicate, and the first document with this id has a row.
    Nothing,
}

/// An error in the command line. The same arguments fail on every machine. The exit code is 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The error of a failed request to object storage.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{url}: {cause}")]
pub struct StoreError {
    /// The URL of the object or of the prefix.
    pub url: String,
    /// The cause.
    pub cause: RequestFailure,
    /// The environment variables with the credentials of the store.
    pub credentials: &'static str,
}

/// The reason why a request to object storage failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestFailure {
    /// There is no bucket of this name.
    #[error("the bucket does not exist")]
    NoBucket,
    /// The bucket has no object of this name.
    #[error("does not exist")]
    NoObject,
    /// The store denied access.
    #[error("access denied ({reason})")]
    Denied {
        /// The error code or the status of the answer.
        reason: String,
        /// Whether the store would deny access to other objects too.
        whole_store: bool,
    },
    /// The current version of the object differs from the version that the request asked for.
    #[error("another program wrote or removed the object during this run")]
    Changed,
    /// The answer to a request for a range of the object has another length than its headers say.
    #[error("the store announced {announced} bytes, but sent fewer or more")]
    WrongLength {
        /// The length of the range, in bytes.
        announced: u64,
    },
    /// The listing of the objects probably does not end.
    #[error("the listing does not end: {reason}")]
    EndlessListing {
        /// What shows that the listing does not end.
        reason: String,
    },
    /// A listing contains a key that is not a valid path.
    #[error("{0}")]
    InvalidKey(String),
    /// The environment has no credentials, and the cloud gives none to this machine.
    #[error("no credentials")]
    NoCredentials,
    /// The settings in the environment cannot be used.
    #[error("{0}")]
    Settings(String),
    /// The store cannot be reached, or answers with another error.
    #[error("{reason}")]
    Other {
        /// The error code or the status of the answer, or the error of the connection.
        reason: String,
    },
}

impl RequestFailure {
    /// Returns whether requests for other objects of the store would fail too.
    pub fn affects_whole_store(&self) -> bool {
        match self {
            RequestFailure::Denied { whole_store, .. } => *whole_store,
            RequestFailure::NoBucket
            | RequestFailure::NoCredentials
            | RequestFailure::Settings(_)
            | RequestFailure::Other { .. } => true,
            RequestFailure::NoObject
            | RequestFailure::Changed
            | RequestFailure::WrongLength { .. }
            | RequestFailure::EndlessListing { .. }
            | RequestFailure::InvalidKey(_) => false,
        }
    }
}

impl From<ContentError> for io::Error {
    fn from(error: ContentError) -> Self {
        io::Error::other(error)
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        io::Error::other(error)
    }
}
