//! The place of a file: a path on this machine, or an object in object storage.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

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
        })
    }

    /// Opens the file for a reader that moves in it. Downloads an object to a temporary file without a name first.
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
        }
    }

    /// Returns the path or the URL.
    pub fn name(&self) -> PathBuf {
        match self {
            Location::File(file) => file.path(),
            Location::Object(object) => object.url().to_string().into(),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name().display().fmt(f)
    }
}
