//! The place of a file: a path on this machine, or an object in object storage.

use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::tempfile;

use super::local_file::LocalFile;
use crate::error::DocumentError;
use crate::storage::object::Object;

/// The place of a file.
#[derive(Debug, Clone)]
pub enum Location {
    /// A file on this machine.
    File(LocalFile),
    /// An object in a bucket.
    Object(Object),
    /// A file inside of another file, such as a message of a mailbox.
    Inside(Arc<Inside>),
}

/// A file inside of another file.
#[derive(Debug)]
pub struct Inside {
    /// The path of the outer file and the name inside of it, for messages.
    pub name: PathBuf,
    pub content: Vec<u8>,
    /// How many bytes of the outer file were read for this one, counted before decompression.
    pub progress: u64,
    /// How many messages are around this one.
    pub depth: usize,
}

/// The content of an [`Inside`], for a reader.
struct Shared(Arc<Inside>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0.content
    }
}

impl Location {
    /// Opens the file for reading.
    ///
    /// # Errors
    /// The errors of [`LocalFile::open`]. For an object, this function never fails. If the object cannot be downloaded,
    /// reading from the returned reader fails.
    pub fn open(&self) -> Result<Box<dyn Read + Send>, DocumentError> {
        Ok(match self {
            Location::File(file) => Box::new(file.open()?),
            Location::Object(object) => Box::new(object.open()),
            Location::Inside(inside) => Box::new(Cursor::new(Shared(inside.clone()))),
        })
    }

    /// Opens the file for a reader that moves in it. Anything but a file on this machine is copied to a temporary file without a
    /// name first.
    ///
    /// # Errors
    /// The errors of [`LocalFile::open`], or the object cannot be read, or the temporary file cannot be written.
    pub fn file(&self) -> Result<File, DocumentError> {
        match self {
            Location::File(file) => file.open(),
            Location::Object(object) => {
                let mut file = tempfile()?;
                io::copy(&mut object.open(), &mut file)?;
                Ok(file)
            }
            Location::Inside(inside) => {
                let mut file = tempfile()?;
                file.write_all(&inside.content)?;
                Ok(file)
            }
        }
    }

    /// Returns how many messages are around the file.
    pub fn depth(&self) -> usize {
        if let Location::Inside(inside) = self { inside.depth } else { 0 }
    }

    /// Returns the path or the URL.
    pub fn name(&self) -> PathBuf {
        match self {
            Location::File(file) => file.path(),
            Location::Object(object) => object.url().to_string().into(),
            Location::Inside(inside) => inside.name.clone(),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name().display().fmt(f)
    }
}
