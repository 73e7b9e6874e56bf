//! The place of a file: a path on this machine, or an object in object storage.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tempfile::tempfile;

use crate::storage::object::Object;

/// The place of a file.
#[derive(Debug, Clone)]
pub enum Location {
    /// A path on this machine.
    Path(PathBuf),
    /// An object in a bucket.
    Object(Object),
}

impl Location {
    /// Opens the file for reading.
    ///
    /// # Errors
    /// A file on this machine cannot be opened. For an object, this function never fails. If the object cannot be
    /// downloaded, reading from the returned reader fails.
    pub fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Location::Path(path) => Box::new(File::open(path)?),
            Location::Object(object) => Box::new(object.open()),
        })
    }

    /// Opens the file for a reader that moves in it. Downloads an object to a temporary file without a name first.
    ///
    /// # Errors
    /// The file cannot be opened, the object cannot be read, or the temporary file cannot be written.
    pub fn file(&self) -> io::Result<File> {
        match self {
            Location::Path(path) => File::open(path),
            Location::Object(object) => {
                let mut file = tempfile()?;
                io::copy(&mut object.open(), &mut file)?;
                Ok(file)
            }
        }
    }

    /// Returns the path or the URL.
    pub fn name(&self) -> Cow<'_, Path> {
        match self {
            Location::Path(path) => path.into(),
            Location::Object(object) => PathBuf::from(object.url().to_string()).into(),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name().display().fmt(f)
    }
}
