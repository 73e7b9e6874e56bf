//! An object to be written, by way of a file on this machine: in a folder of its own in the user's cache, where lock and
//! journal are as for any output. Beside the file stands which content of the object it is a copy of.

use super::watch::UploadWatch;
use std::env;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use super::store::{Reader, Store};
use super::url::{Url, Version};
use crate::console::{LogFormat, Transfer};
use crate::digest::hex;
use crate::error::Usage;
use crate::interrupt;
use crate::storage::place::{FileKind, Place};

/// Beside the file: which content of the object it is; and an upload that has begun.
const COPY: &str = "copy";
const UPLOAD: &str = "upload";

/// What is copied before it is looked whether to go on.
const BLOCK: usize = 1 << 20;

/// An object, and the file that is to become it.
#[derive(Debug)]
pub struct RemoteOutput {
    store: Arc<Store>,
    url: Arc<Url>,
    path: PathBuf,
    /// What was there when the run began.
    found: Option<Version>,
}

/// Of which content of the object a file is a copy; the file is known by its stamp.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Copy {
    version: Version,
    stamp: (u64, u64, i64, i64),
}

impl RemoteOutput {
    pub(super) fn new(store: Arc<Store>, url: Url) -> anyhow::Result<Self> {
        ensure!(!url.is_prefix(), Usage(format!("{url}: is a folder; name an object in it")));
        let cache =
            ["XDG_CACHE_HOME", "HOME"].map(|name| env::var_os(name).filter(|value| !value.is_empty()));
        let [cache, home] = cache.map(|value| value.map(PathBuf::from));
        let cache = cache.or_else(|| Some(home?.join(".cache")));
        let cache =
            cache.with_context(|| format!("{url}: there is no HOME to make it in; set XDG_CACHE_HOME"))?;
        let digest = hex(&blake3::hash(url.to_string().as_bytes()).as_bytes()[..16]);
        let folder = cache.join(env!("CARGO_PKG_NAME")).join(digest);
        // Who may not read the object may not read its copy either.
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("{url}: {}: cannot be made; set XDG_CACHE_HOME", folder.display()))?;
        let path = folder.join(url.name());
        Ok(RemoteOutput { store, url: url.into(), path, found: None })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What becomes of it.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Looks at what is there. It must be of the kind that is going to be put there, by its first bytes.
    ///
    /// # Errors
    /// It is of another kind; the store does not say.
    pub fn look(&mut self, kind: &FileKind) -> anyhow::Result<()> {
        self.found = self.store.look(&self.url)?;
        if let Some(found) = self.found.as_ref().filter(|found| found.bytes > 0) {
            let start = self.store.start(&self.url, found, kind.magic.len())?;
            ensure!(
                start == kind.magic || kind.is_kept && start.iter().all(|&byte| byte == 0),
                "{}: is no {} file and would be lost; name an object that is new or {}",
                self.url,
                kind.name,
                kind.name
            );
        }
        Ok(())
    }

    /// Sees to it that the file is a copy of what is there. To be called by the one run that holds its place.
    ///
    /// # Errors
    /// It cannot be had, or not be written.
    pub fn fetch(&self, place: &Place, format: Option<LogFormat>) -> anyhow::Result<()> {
        self.abort_left(place)?;
        if self.is_copy(place) {
            return Ok(());
        }
        let Some(found) = &self.found else {
            return match fs::remove_file(&self.path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(place.not_writable(&e)),
                _ => Ok(()),
            };
        };
        let mut file = place.temporary()?;
        let mut reader = Reader::new(self.store.clone(), self.url.clone(), found.bytes, Some(found.clone()));
        let mut transfer = Transfer::new("downloading", format);
        transfer.begin(&self.url.to_string(), found.bytes);
        let (mut block, mut done) = (vec![0; BLOCK], 0);
        loop {
            let read = reader.read(&mut block);
            // An interrupted read is no trouble of the store's.
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
        ensure!(done == found.bytes, "{}: ended after {done} of {} bytes; run again", self.url, found.bytes);
        place.put(file)?;
        self.mark(place, found)
    }

    /// Makes the file the object, if it is not a copy of it.
    ///
    /// # Errors
    /// Another program has written the object in the meantime; it cannot be written. What was there is there still.
    pub fn upload(&self, place: &Place, format: Option<LogFormat>) -> anyhow::Result<()> {
        if self.is_copy(place) {
            return Ok(());
        }
        self.abort_left(place)?;
        let file = File::open(&self.path).map_err(|e| place.not_writable(&e))?;
        let mut transfer = Transfer::new("uploading", format);
        transfer.begin(&self.url.to_string(), file.metadata()?.len());
        let note = place.beside(UPLOAD);
        let watch = UploadWatch {
            begun: &mut |id| fs::write(&note, id).map_err(|e| place.not_writable(&e)),
            sent: &mut |bytes| transfer.show(bytes),
        };
        let version = self.store.put(&self.url, file, self.found.as_ref(), watch)?;
        transfer.finish();
        self.mark(place, &version)?;
        if note.exists() { Ok(fs::remove_file(&note)?) } else { Ok(()) }
    }

    /// Removes the parts of an upload that a run left which was killed.
    fn abort_left(&self, place: &Place) -> anyhow::Result<()> {
        let note = place.beside(UPLOAD);
        let Ok(id) = fs::read_to_string(&note) else { return Ok(()) };
        // A note that was cut off names nothing; and for some stores, to abort nothing is to delete the object.
        if !id.is_empty() {
            self.store.abort(&self.url, &id)?;
        }
        Ok(fs::remove_file(&note)?)
    }

    /// Whether the file is known to be what was found.
    fn is_copy(&self, place: &Place) -> bool {
        let copy =
            fs::read(place.beside(COPY)).ok().and_then(|text| serde_json::from_slice::<Copy>(&text).ok());
        let found = self.found.clone().and_then(|version| Some(Copy { version, stamp: self.stamp()? }));
        found.is_some() && copy == found
    }

    fn mark(&self, place: &Place, version: &Version) -> anyhow::Result<()> {
        let stamp = self.stamp().with_context(|| place.cannot_read_again())?;
        let copy = Copy { version: version.clone(), stamp };
        fs::write(place.beside(COPY), serde_json::to_vec(&copy)?).map_err(|e| place.not_writable(&e))
    }

    fn stamp(&self) -> Option<(u64, u64, i64, i64)> {
        let metadata = self.path.metadata().ok()?;
        Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
    }
}
