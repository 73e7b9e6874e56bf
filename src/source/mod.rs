//! Roots as the user named them in, one [`Found`] after another out, in a stable order.
//!
//! Finding is cheap and lazy; reading ([`Raw::read`]) is not, and is left to the caller's threads.

mod jsonl;
mod walk;

use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use crate::error::{DocumentError, Failure, Usage};
use jsonl::Lines;
use walk::{Entry, Walk};

pub use jsonl::Fields;

/// The name that stands for JSONL on standard input.
const STDIN: &str = "-";

/// Bytes of one document: a file, or a line of JSONL. Offsets in a Parquet string column are 32 bits,
/// and cleaning holds a second copy.
const DOCUMENT_BYTES_MAX: u64 = 1 << 30;

/// One text with its identity, as read.
#[derive(Debug)]
pub struct Document {
    /// Unique in one output file; stable from run to run.
    pub id: String,
    /// The text, cleaned or not as the stage says.
    pub text: String,
    /// Where it came from.
    pub origin: Origin,
}

impl Document {
    /// File, or file and line, as a user would look it up.
    pub fn place(&self) -> String {
        self.origin.place(&self.id)
    }
}

/// Where a document came from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The file of lines, or the folder below which the document's id is its file.
    pub file: Arc<Path>,
    /// The line, counted from 1, in a file of lines.
    pub line: Option<u64>,
}

impl Origin {
    /// File, or file and line, of the document with this id.
    pub fn place(&self, id: &str) -> String {
        match self.line {
            None => self.file.join(id).display().to_string(),
            Some(line) => format!("{}:{line}", self.file.display()),
        }
    }
}

/// A document that has been found but not read.
#[derive(Debug)]
pub enum Raw {
    /// A text file.
    File {
        /// The document's id.
        id: String,
        /// The folder that the id is relative to.
        base: Arc<Path>,
        /// The file.
        path: PathBuf,
        /// Its size when it was found, in bytes.
        size: u64,
    },
    /// A line of JSONL.
    Line {
        /// The file's id, for lines without one.
        file_id: Arc<str>,
        /// The file.
        file: Arc<Path>,
        /// The line, counted from 1.
        number: u64,
        /// What stands there, without the line end.
        bytes: Vec<u8>,
    },
}

impl Raw {
    /// Bytes on disk, for progress and for bounding what is in memory.
    pub fn size(&self) -> u64 {
        match self {
            Raw::File { size, .. } => *size,
            Raw::Line { bytes, .. } => bytes.len() as u64,
        }
    }

    /// Reads, decodes and parses.
    pub fn read(self, fields: &Fields) -> Result<Document, Failure> {
        match self {
            Raw::File { id, base, path, .. } => match read_text(&path) {
                Ok(text) => Ok(Document { id, text, origin: Origin { file: base, line: None } }),
                Err(cause) => Err(Failure { place: path.display().to_string(), cause }),
            },
            Raw::Line { file_id, file, number, bytes } => {
                let origin = Origin { file, line: Some(number) };
                match fields.parse(&bytes) {
                    Ok((id, text)) => {
                        Ok(Document { id: id.unwrap_or_else(|| format!("{file_id}:{number}")), text, origin })
                    }
                    Err(cause) => Err(Failure { place: origin.place(""), cause }),
                }
            }
        }
    }
}

fn read_text(path: &Path) -> Result<String, DocumentError> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::TooLarge { max: DOCUMENT_BYTES_MAX });
    }
    String::from_utf8(bytes).map_err(|e| DocumentError::NotUtf8 { offset: e.utf8_error().valid_up_to() })
}

/// What the search for documents comes upon.
#[derive(Debug)]
pub enum Found {
    /// A document to read.
    Raw(Raw),
    /// A file, folder or line that should have been one.
    Failed(Failure),
    /// Something that is no document by rule.
    LeftOut(LeftOut),
}

/// Why something below a folder is not looked at. Counted for the summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOut {
    /// Its name starts with a dot.
    Hidden,
    /// A symbolic link.
    Link,
    /// A kind of file that is not read.
    OtherKind,
    /// A socket, pipe or device.
    Special,
}

/// The kinds of files that are read, known by their ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One document.
    Text,
    /// A document a line.
    Jsonl,
}

impl Kind {
    const ENDINGS: &str = ".txt .text .md .markdown .jsonl .ndjson";

    fn of(path: &Path) -> Option<Kind> {
        match path.extension()?.to_ascii_lowercase().to_str()? {
            "txt" | "text" | "md" | "markdown" => Some(Kind::Text),
            "jsonl" | "ndjson" => Some(Kind::Jsonl),
            _ => None,
        }
    }
}

/// One root, checked.
#[derive(Debug)]
enum Root {
    Stdin,
    File(PathBuf, Kind),
    Folder(PathBuf),
}

/// The roots of a run.
#[derive(Debug)]
pub struct Roots(Vec<Root>);

impl Roots {
    /// Checks that every root exists and can be a source.
    ///
    /// # Errors
    /// [`Usage`] for a file of an unknown kind or standard input named twice; an error of the run for
    /// a root that does not exist.
    pub fn new(names: &[PathBuf]) -> anyhow::Result<Self> {
        let roots = names.iter().map(|name| root(name)).collect::<anyhow::Result<Vec<_>>>()?;
        if roots.iter().filter(|root| matches!(root, Root::Stdin)).count() > 1 {
            return Err(Usage(format!("`{STDIN}` (standard input) is named twice; name it once")).into());
        }
        Ok(Roots(roots))
    }

    /// Every document below the roots, in the order of the roots and, below each, of the names.
    ///
    /// An id is the path below the root, or the file's name; with several roots it starts with the
    /// root as it was named, so that they cannot collide. A line of JSONL without an id is `file:line`.
    pub fn documents(&self) -> impl Iterator<Item = Found> + '_ {
        let prefixed = self.0.len() > 1;
        self.0.iter().flat_map(move |root| Documents::of(root, prefixed))
    }

    /// Bytes of all documents below the roots, or `None` where standard input is one of them.
    /// A walk of its own, without reading: what progress is measured against.
    pub fn total_bytes(&self) -> Option<u64> {
        let mut total = 0;
        for root in &self.0 {
            match root {
                Root::Stdin => return None,
                Root::File(path, _) => total += fs::metadata(path).map_or(0, |m| m.len()),
                Root::Folder(path) => {
                    total += Walk::new(path)
                        .map(|entry| if let Entry::File(file) = entry { file.size } else { 0 })
                        .sum::<u64>();
                }
            }
        }
        Some(total)
    }
}

fn root(name: &Path) -> anyhow::Result<Root> {
    if name.as_os_str() == STDIN {
        return Ok(Root::Stdin);
    }
    let in_input =
        || format!("input {}: check that it exists and that this user may read it", name.display());
    let metadata = fs::metadata(name).with_context(in_input)?;
    // `./docs/` and `docs` are the same root and give the same ids.
    let path: PathBuf = name.components().filter(|part| *part != Component::CurDir).collect();
    // A root is opened once at the start: one that cannot be read is no folder without documents.
    if metadata.is_dir() {
        fs::read_dir(name).with_context(in_input)?;
        return Ok(Root::Folder(path));
    }
    match Kind::of(&path) {
        Some(kind) if metadata.is_file() => {
            fs::File::open(name).with_context(in_input)?;
            Ok(Root::File(path, kind))
        }
        _ => Err(Usage(format!(
            "input {}: unknown kind; give a folder, or a file that ends in {}",
            name.display(),
            Kind::ENDINGS
        ))
        .into()),
    }
}

/// The documents of one root.
enum Documents {
    One(Option<Found>),
    Lines(Lines),
    Folder { walk: Walk, base: Arc<Path>, prefix: PathBuf, lines: Option<Lines> },
}

impl Documents {
    fn of(root: &Root, prefixed: bool) -> Self {
        match root {
            Root::Stdin => Documents::Lines(Lines::new(
                Box::new(io::BufReader::new(io::stdin())),
                Path::new("stdin"),
                "stdin".into(),
            )),
            Root::Folder(path) => {
                let (base, prefix) =
                    if prefixed { (Path::new(""), path.clone()) } else { (path.as_path(), PathBuf::new()) };
                Documents::Folder { walk: Walk::new(path), base: base.into(), prefix, lines: None }
            }
            Root::File(path, kind) => {
                let parent = path.parent().unwrap_or(Path::new(""));
                let (base, below) = if prefixed {
                    (Path::new(""), path.as_path())
                } else {
                    (parent, Path::new(path.file_name().unwrap_or_default()))
                };
                let size = fs::metadata(path).map_or(0, |m| m.len());
                let file = walk::File { path: path.clone(), below: below.to_owned(), kind: *kind, size };
                match open(file, base.into(), Path::new("")) {
                    Ok(lines) => Documents::Lines(lines),
                    Err(found) => Documents::One(Some(found)),
                }
            }
        }
    }
}

/// A file of lines is opened; any other is found, and opened later.
fn open(file: walk::File, base: Arc<Path>, prefix: &Path) -> Result<Lines, Found> {
    let id = id_of(&prefix.join(&file.below));
    match file.kind {
        Kind::Text => Err(Found::Raw(Raw::File { id, base, path: file.path, size: file.size })),
        Kind::Jsonl => match fs::File::open(&file.path) {
            Ok(opened) => {
                Ok(Lines::new(Box::new(io::BufReader::with_capacity(1 << 16, opened)), &file.path, id))
            }
            Err(e) => Err(Found::Failed(Failure { place: file.path.display().to_string(), cause: e.into() })),
        },
    }
}

impl Iterator for Documents {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        match self {
            Documents::One(found) => found.take(),
            Documents::Lines(lines) => lines.next(),
            Documents::Folder { walk, base, prefix, lines } => loop {
                if let Some(found) = lines.as_mut().and_then(Lines::next) {
                    return Some(found);
                }
                match walk.next()? {
                    Entry::File(file) => match open(file, base.clone(), prefix) {
                        Ok(opened) => *lines = Some(opened),
                        Err(found) => return Some(found),
                    },
                    Entry::LeftOut(why) => return Some(Found::LeftOut(why)),
                    Entry::Failed(failure) => return Some(Found::Failed(failure)),
                }
            },
        }
    }
}

/// The path with `/` between its parts on every system; a byte that is not Unicode as `\xff`.
fn id_of(below: &Path) -> String {
    let mut id = String::new();
    for part in below.components() {
        if !id.is_empty() && !id.ends_with('/') {
            id.push('/');
        }
        for chunk in part.as_os_str().as_encoded_bytes().utf8_chunks() {
            id.push_str(chunk.valid());
            for byte in chunk.invalid() {
                id.push_str(&format!("\\x{byte:02x}"));
            }
        }
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_paths_with_slashes_on_every_system() {
        use std::os::unix::ffi::OsStrExt;
        assert_eq!(id_of(Path::new("a/b.txt")), "a/b.txt");
        assert_eq!(id_of(Path::new("/srv/docs/今天.md")), "/srv/docs/今天.md");
        assert_eq!(id_of(Path::new(std::ffi::OsStr::from_bytes(b"a\xffb.txt"))), "a\\xffb.txt");
    }
}
