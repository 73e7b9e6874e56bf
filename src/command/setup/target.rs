//! Where something is to be written: a file, or an object by way of one.

use std::path::{Path, PathBuf};

use crate::console::LogFormat;
use crate::storage::object::{RemoteOutput, Stores, Url};
use crate::storage::place::{FileKind, Place};

/// A file to be written, and the object that it is to become, if it is to.
pub struct Target {
    what: &'static str,
    kind: &'static FileKind,
    path: PathBuf,
    remote: Option<RemoteOutput>,
}

impl Target {
    /// `what` is what messages call it.
    ///
    /// # Errors
    /// A URL that names no object.
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

    /// Whether it is an object.
    pub fn is_object(&self) -> bool {
        self.remote.is_some()
    }

    /// The place of the file, as it is now.
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

    /// Looks at the object that is there, which must be of the kind that is going to be.
    ///
    /// # Errors
    /// It is of another kind; the store does not say.
    pub fn look(mut self) -> anyhow::Result<Self> {
        self.remote.as_mut().map_or(Ok(()), |remote| remote.look(self.kind))?;
        Ok(self)
    }

    /// Sees to it that the file is what the object is now. To be called by the one run that holds its place.
    ///
    /// # Errors
    /// The object cannot be had.
    pub fn fetch(&mut self, format: Option<LogFormat>) -> anyhow::Result<()> {
        let place = self.place()?;
        let Some(remote) = &mut self.remote else { return Ok(()) };
        remote.look(self.kind)?;
        remote.fetch(&place, format)
    }

    /// Makes the file the object, where that is another one.
    ///
    /// # Errors
    /// The object cannot be written, or somebody else has written it; it is what it was.
    pub fn upload(&self, format: Option<LogFormat>) -> anyhow::Result<()> {
        self.remote.as_ref().map_or(Ok(()), |remote| remote.upload(&self.place()?, format))
    }
}
