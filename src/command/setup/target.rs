//! Where a file is written: a path, or an object by way of a local file.

use std::path::{Path, PathBuf};

use crate::console::LogFormat;
use crate::storage::object::{RemoteOutput, Stores, Url};
use crate::storage::place::{FileKind, Place};

/// A file to write, and the object that it is uploaded to, if any.
pub struct Target {
    what: &'static str,
    kind: &'static FileKind,
    path: PathBuf,
    remote: Option<RemoteOutput>,
}

impl Target {
    /// Messages call it `what`.
    ///
    /// # Errors
    /// The URL names no object.
    pub fn new(
        what: &'static str,
        path: &Path,
        kind: &'static FileKind,
        stores: &mut Stores,
    ) -> anyhow::Result<Self> {
        let remote = Url::of(path)?.map(|url| stores.remote(url)).transpose()?;
        let path = remote.as_ref().map_or(path, RemoteOutput::path).to_owned();
        Ok(Target { what, kind, path, remote })
    }

    /// Whether the file is uploaded to an object.
    pub fn is_object(&self) -> bool {
        self.remote.is_some()
    }

    /// Returns the place of the file as it is now.
    ///
    /// # Errors
    /// As [`Place::new`].
    pub fn place(&self) -> anyhow::Result<Place> {
        let place = Place::new(self.what, &self.path, self.kind)?;
        Ok(match &self.remote {
            Some(remote) => place.with_name(format!("{} {}", self.what, remote.url())),
            None => place,
        })
    }

    /// Checks that an object that is there already is of the same kind as the new one.
    ///
    /// # Errors
    /// It is of another kind, or the store does not answer.
    pub fn look(mut self) -> anyhow::Result<Self> {
        self.remote.as_mut().map_or(Ok(()), |remote| remote.look(self.kind))?;
        Ok(self)
    }

    /// Downloads the object unless the file is a copy of it. Only the run that holds the lock may call this.
    ///
    /// # Errors
    /// The object cannot be downloaded.
    pub fn fetch(&mut self, format: Option<LogFormat>) -> anyhow::Result<()> {
        let place = self.place()?;
        let Some(remote) = &mut self.remote else { return Ok(()) };
        remote.look(self.kind)?;
        remote.fetch(&place, format)
    }

    /// Uploads the file unless the object is equal to it.
    ///
    /// # Errors
    /// The object cannot be written, or somebody else has written it in the meantime. It stays as it is.
    pub fn upload(&self, format: Option<LogFormat>) -> anyhow::Result<()> {
        self.remote.as_ref().map_or(Ok(()), |remote| remote.upload(&self.place()?, format))
    }
}
