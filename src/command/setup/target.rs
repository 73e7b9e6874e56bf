//! The target of an output: a local file, or an object that a local file is uploaded to.

use std::path::{Path, PathBuf};

use crate::console::LogFormat;
use crate::storage::object::{RemoteOutput, Stores, Url};
use crate::storage::place::{FileKind, Place};

/// A file to write, and the object that the file is uploaded to, if any.
pub struct Target {
    what: &'static str,
    kind: &'static FileKind,
    path: PathBuf,
    remote: Option<RemoteOutput>,
}

impl Target {
    /// Makes the target. `what` names the target in messages.
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

    /// Returns whether the file is uploaded to an object.
    pub fn is_object(&self) -> bool {
        self.remote.is_some()
    }

    /// Returns the place of the local file, and checks whether a file already exists at this place.
    ///
    /// # Errors
    /// The errors of [`Place::new`].
    pub fn place(&self) -> anyhow::Result<Place> {
        let place = Place::new(self.what, &self.path, self.kind)?;
        Ok(match &self.remote {
            Some(remote) => place.with_name(format!("{} {}", self.what, remote.url())),
            None => place,
        })
    }

    /// Checks that an existing object has the same kind as the new file.
    ///
    /// # Errors
    /// The object exists and has another kind, or the store does not answer.
    pub fn look(mut self) -> anyhow::Result<Self> {
        self.remote.as_mut().map_or(Ok(()), |remote| remote.look(self.kind))?;
        Ok(self)
    }

    /// Downloads the object, unless the local file is already a copy of the object. Only the run that holds the lock on the
    /// local file may call this function.
    ///
    /// # Errors
    /// The object cannot be downloaded.
    pub fn fetch(&mut self, format: Option<LogFormat>) -> anyhow::Result<()> {
        let place = self.place()?;
        let Some(remote) = &mut self.remote else { return Ok(()) };
        remote.look(self.kind)?;
        remote.fetch(&place, format)
    }

    /// Uploads the file unless the object already has the same content. Returns a warning if something failed after that.
    ///
    /// # Errors
    /// The object cannot be written. The upload also fails if another program has written the object in the meantime, so that
    /// no change is lost.
    pub fn upload(&self, format: Option<LogFormat>) -> anyhow::Result<Option<String>> {
        self.remote.as_ref().map_or(Ok(None), |remote| remote.upload(&self.place()?, format))
    }
}
