//! Where a file is.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};

use crate::storage::object::Object;

/// A file on this machine, or an object.
#[derive(Debug, Clone)]
pub enum Location {
    /// A file.
    Path(PathBuf),
    /// An object.
    Object(Object),
}

impl Location {
    /// Its bytes.
    ///
    /// # Errors
    /// It is a file that cannot be opened; of an object, that shows when it is read.
    pub fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Location::Path(path) => Box::new(File::open(path)?),
            Location::Object(object) => Box::new(object.open()),
        })
    }

    /// A copy of an object on this machine, for who can only read files.
    ///
    /// # Errors
    /// It cannot be read, or there is no room for it.
    pub fn fetch(&self) -> io::Result<Option<TempPath>> {
        let Location::Object(object) = self else { return Ok(None) };
        let mut file = NamedTempFile::new()?;
        io::copy(&mut object.open(), file.as_file_mut())?;
        Ok(Some(file.into_temp_path()))
    }

    /// As a user would look it up.
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
