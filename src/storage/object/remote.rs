//! Writes an object: the run writes a local file first, and then uploads the local file. The local file has its own folder in
//! the user's cache, with the lock and the journal that every output has. Two notes are in the same folder. The note `copy`
//! identifies the version of the object that the local file is a copy of. The note `upload` has the id of an upload that has
//! begun.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use super::store::{Reader, Store};
use super::url::{Url, Version};
use super::watch::UploadWatch;
use crate::console::{LogFormat, Transfer, debug};
use crate::digest::hex;
use crate::environment;
use crate::error::Usage;
use crate::interrupt;
use crate::storage::found::is_absent;
use crate::storage::place::{FileKind, Place};

/// The names of the two notes. The file name of a note ends in the name of the note. The note `copy` identifies the version of
/// the object that the local file is a copy of. The note `upload` has the id of an upload that has begun.
const COPY: &str = "copy";
const UPLOAD: &str = "upload";

/// The number of bytes to copy between two checks for an interrupt.
const COPY_BLOCK_BYTES: usize = 1 << 20;

/// An object to write, and the local file to upload.
#[derive(Debug)]
pub struct RemoteOutput {
    store: Arc<Store>,
    url: Arc<Url>,
    path: PathBuf,
    /// The version of the object that [`RemoteOutput::look`] found; `None` if there was no object.
    found: Option<Version>,
}

/// The content of the note `copy`: the local file with this stamp is a copy of this version of the object.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Copy {
    version: Version,
    /// The stamp of the local file. The stamp changes when the file is replaced or written to.
    stamp: FileStamp,
}

/// The inode, the length in bytes, and the time of the last change in seconds and nanoseconds.
type FileStamp = (u64, u64, i64, i64);

impl RemoteOutput {
    pub(super) fn new(store: Arc<Store>, url: Url) -> anyhow::Result<Self> {
        ensure!(!url.is_prefix(), Usage(format!("{url}: is a folder; name an object in it")));
        let cache = environment::cache().with_context(|| {
            format!("{url}: there is no folder for a local copy of the object; set XDG_CACHE_HOME or HOME to an absolute path")
        })?;
        let digest = hex(&blake3::hash(url.to_string().as_bytes()).as_bytes()[..16]);
        let folder = cache.join(env!("CARGO_PKG_NAME")).join(digest);
        // Only this user may read the folder, because other users of this machine may not be allowed to read the object.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).with_context(|| {
            format!(
                "{url}: {}: cannot make this folder for a local copy of the object; set XDG_CACHE_HOME",
                folder.display()
            )
        })?;
        let path = folder.join(url.name());
        Ok(RemoteOutput { store, url: url.into(), path, found: None })
    }

    /// Returns the path of the local file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the URL of the object.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Finds the current version of the object. Checks that the object is a file of `kind`, because a file of `kind` will
    /// replace the object.
    ///
    /// # Errors
    /// The object is another kind of file; the store cannot be reached or denies access.
    pub fn look(&mut self, kind: &FileKind) -> anyhow::Result<()> {
        self.found = self.store.head(&self.url)?;
        if let Some(found) = self.found.as_ref().filter(|found| found.bytes > 0) {
            let start = self.store.read_start(&self.url, found, kind.magic.len())?;
            let may_be_damaged = kind.replaces_damaged && start.iter().all(|&byte| byte == 0);
            ensure!(
                start == kind.magic || may_be_damaged,
                "{}: is not a {} file and would be lost; name a new object or a {} file",
                self.url,
                kind.name,
                kind.name
            );
        }
        Ok(())
    }

    /// Makes the local file a copy of the object, or removes the local file if there is no object. Only the run that holds the
    /// lock may call this function.
    ///
    /// # Errors
    /// The object cannot be read; the file cannot be written.
    pub fn fetch(&self, place: &Place, format: Option<LogFormat>) -> anyhow::Result<()> {
        self.abort_unfinished_upload(place)?;
        let is_copy = self.is_copy(place);
        debug(|| {
            let why = match &self.found {
                Some(_) if is_copy => "is a copy of the object, so it is not downloaded again",
                Some(_) => "is no copy of the object, so it is downloaded",
                None => "is not used, because there is no object yet",
            };
            format!("{}: {} {why}", self.url, self.path.display())
        });
        if is_copy {
            return Ok(());
        }
        match &self.found {
            Some(found) => self.download(found, place, format),
            None => match fs::remove_file(&self.path) {
                Err(e) if !is_absent(&e) => Err(place.not_writable(&e)),
                _ => Ok(()),
            },
        }
    }

    fn download(&self, found: &Version, place: &Place, format: Option<LogFormat>) -> anyhow::Result<()> {
        let mut file = place.temporary()?;
        let mut reader = Reader::new(self.store.clone(), self.url.clone(), found.bytes, Some(found.clone()));
        let mut transfer = Transfer::new("downloading", format);
        transfer.begin(&self.url.to_string(), found.bytes);
        let (mut block, mut done) = (vec![0; COPY_BLOCK_BYTES], 0);
        loop {
            let read = reader.read(&mut block);
            // The check for an interrupt comes before `read?`: an interrupt makes the read fail too, but must not be reported
            // as an error of the store.
            interrupt::check()?;
            let count = read?;
            if count == 0 {
                break;
            }
            file.as_file_mut().write_all(&block[..count]).map_err(|e| place.cannot_write(&e))?;
            done += count as u64;
            transfer.show(done);
        }
        transfer.finish();
        ensure!(
            done == found.bytes,
            "{}: the download ended after {done} of {} bytes; run again",
            self.url,
            found.bytes
        );
        place.publish(file)?;
        self.note_copy(place, found)
    }

    /// Uploads the local file, unless it is already a copy of the object. Returns a warning if the object is in place, but the notes
    /// beside the local file are not up to date.
    ///
    /// # Errors
    /// Another program wrote the object during this run, or the object cannot be written. After an error, the object is unchanged,
    /// unless another program wrote the object.
    pub fn upload(&self, place: &Place, format: Option<LogFormat>) -> anyhow::Result<Option<String>> {
        if self.is_copy(place) {
            return Ok(None);
        }
        self.abort_unfinished_upload(place)?;
        let file = File::open(&self.path).map_err(|e| place.not_writable(&e))?;
        let mut transfer = Transfer::new("uploading", format);
        transfer.begin(&self.url.to_string(), file.metadata()?.len());
        let note = place.sibling(UPLOAD);
        let watch = UploadWatch {
            begun: &mut |id| fs::write(&note, id).map_err(|e| place.not_writable(&e)),
            sent: &mut |bytes| transfer.show(bytes),
        };
        let version = self.store.upload(&self.url, file, self.found.as_ref(), watch)?;
        transfer.finish();
        let noted = self.note_copy(place, &version).and_then(|()| match fs::remove_file(&note) {
            Err(e) if !is_absent(&e) => Err(place.not_writable(&e)),
            _ => Ok(()),
        });
        Ok(noted
            .err()
            .map(|e| format!("{}: is uploaded, but the next run downloads it again ({e:#})", self.url)))
    }

    /// Removes the uploaded parts that a killed run left in the store.
    fn abort_unfinished_upload(&self, place: &Place) -> anyhow::Result<()> {
        let note = place.sibling(UPLOAD);
        let Ok(id) = fs::read_to_string(&note) else { return Ok(()) };
        // The id is empty if a run was killed before it wrote the id. A request to abort an upload without an id would make
        // some stores delete the object.
        if !id.is_empty() {
            self.store.abort_upload(&self.url, &id)?;
        }
        Ok(fs::remove_file(&note)?)
    }

    /// Returns whether the local file is a copy of the version that [`RemoteOutput::look`] found, according to the note `copy`.
    fn is_copy(&self, place: &Place) -> bool {
        let noted =
            fs::read(place.sibling(COPY)).ok().and_then(|text| serde_json::from_slice::<Copy>(&text).ok());
        let found = self.found.clone().and_then(|version| Some(Copy { version, stamp: self.stamp()? }));
        found.is_some() && noted == found
    }

    fn note_copy(&self, place: &Place, version: &Version) -> anyhow::Result<()> {
        let stamp = self.stamp().with_context(|| place.cannot_read_again())?;
        let copy = Copy { version: version.clone(), stamp };
        fs::write(place.sibling(COPY), serde_json::to_vec(&copy)?).map_err(|e| place.not_writable(&e))
    }

    fn stamp(&self) -> Option<FileStamp> {
        let metadata = self.path.metadata().ok()?;
        Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
    }
}
