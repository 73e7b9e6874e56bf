//! Remembers the texts of pictures between runs, because a command may take seconds per page, and which pages of a document are
//! pictures, because drawing them takes time too. The cache has one file per picture and command, and one per document:
//!
//! ```text
//! $XDG_CACHE_HOME/qwen3-index/ocr/DIGEST
//! ```
//!
//! The first line of a file is the digest of the text, and the text follows. An error of the cache is never an error of the run: the
//! command runs again then.

use std::fs::{self, DirBuilder};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use tempfile::NamedTempFile;

use super::command::TEXT_BYTES_MAX;
use crate::digest::{Digest, hex};
use crate::environment;
use crate::source::local_file::LocalFile;

/// Maximum size of the cache, in bytes. A page has about 3 KB of text.
const CACHE_BYTES_MAX: u64 = 1 << 30;

/// Size of the cache after the files that were not used for the longest time have been removed, in bytes.
const CACHE_BYTES_KEPT: u64 = CACHE_BYTES_MAX / 4 * 3;

/// The space that a file takes on the disk in addition to its length, in bytes.
const FILE_BYTES: u64 = 4096;

/// The texts that earlier runs have read.
#[derive(Debug)]
pub struct TextCache {
    /// `None` if the environment names no folder.
    folder: Option<PathBuf>,
    /// The size of the cache, in bytes; `None` until this run adds a text.
    bytes: Mutex<Option<u64>>,
}

impl TextCache {
    /// Reads the path of the cache from the environment. The folder need not exist.
    pub fn from_environment() -> Self {
        Self::new(environment::cache().map(|cache| cache.join(env!("CARGO_PKG_NAME")).join("ocr")))
    }

    /// Returns the cache in a folder, which need not exist. Without a folder, nothing is remembered.
    pub fn new(folder: Option<PathBuf>) -> Self {
        TextCache { folder, bytes: Mutex::new(None) }
    }

    /// Returns the text with this key. Returns `None` if the cache does not have it, or if its file is damaged.
    pub fn get(&self, key: Digest) -> Option<String> {
        let file = LocalFile::named(path(self.folder.as_ref()?, key)).open().ok()?;
        let mut content = String::new();
        (&file).take(TEXT_BYTES_MAX + FILE_BYTES).read_to_string(&mut content).ok()?;
        let (digest, text) = content.split_once('\n')?;
        if digest != digest_of(text) {
            return None;
        }
        // The files that are used stay the longest. A file system without this time loses nothing else.
        let _ = file.set_modified(SystemTime::now());
        Some(text.to_owned())
    }

    /// Adds a text. The files that were not used for the longest time make room for it.
    pub fn put(&self, key: Digest, text: &str) {
        // The next run reads the picture again if this fails.
        let _ = self.try_put(key, text);
    }

    fn try_put(&self, key: Digest, text: &str) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        // Other users must not read the texts.
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut file = NamedTempFile::new_in(folder)?;
        writeln!(file, "{}", digest_of(text))?;
        file.write_all(text.as_bytes())?;
        file.persist(path(folder, key))?;
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let before = bytes.map_or_else(|| total(folder), Ok)?;
        let after = before + text.len() as u64 + FILE_BYTES;
        *bytes = Some(if after > CACHE_BYTES_MAX { shrink(folder, CACHE_BYTES_KEPT)? } else { after });
        Ok(())
    }
}

fn path(folder: &Path, key: Digest) -> PathBuf {
    folder.join(hex(key.as_bytes()))
}

fn digest_of(text: &str) -> String {
    hex(Digest::of(text).as_bytes())
}

/// Returns the path, the size in bytes and the time of the last use of each file in a folder.
fn files(folder: &Path) -> io::Result<Vec<(PathBuf, u64, SystemTime)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Another run may have removed the file.
        if let Ok(metadata) = entry.metadata()
            && metadata.is_file()
        {
            files.push((entry.path(), metadata.len() + FILE_BYTES, metadata.modified()?));
        }
    }
    Ok(files)
}

fn total(folder: &Path) -> io::Result<u64> {
    Ok(files(folder)?.iter().map(|(_, bytes, _)| bytes).sum())
}

/// Removes files until the others have at most `max` bytes. Returns the size of these files.
fn shrink(folder: &Path, max: u64) -> io::Result<u64> {
    let mut files = files(folder)?;
    files.sort_by_key(|(_, _, used)| *used);
    let mut total = files.iter().map(|(_, bytes, _)| bytes).sum();
    for (path, bytes, _) in files {
        if total <= max {
            break;
        }
        // Another run may have removed the file.
        let _ = fs::remove_file(path);
        total -= bytes;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    fn cache(folder: &Path) -> TextCache {
        TextCache::new(Some(folder.join("ocr")))
    }

    #[test]
    fn texts_are_kept_and_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (Digest::of("one"), Digest::of("other"));
        assert_eq!(cache(folder.path()).get(one), None);
        cache(folder.path()).put(one, "line\nline");
        assert_eq!(cache(folder.path()).get(one).as_deref(), Some("line\nline"));
        assert_eq!(cache(folder.path()).get(other), None);
        let file = path(&folder.path().join("ocr"), one);
        let whole = fs::read(&file).unwrap();
        for damaged in [
            &whole[..20],
            &whole[..whole.len() - 1],
            &[whole.clone(), whole.clone()].concat(),
            b"",
            b"\xFF\n",
        ] {
            fs::write(&file, damaged).unwrap();
            assert_eq!(cache(folder.path()).get(one), None);
        }
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert_eq!(cache(folder.path()).get(one), None);
        cache(folder.path()).put(one, "nowhere");
    }

    #[test]
    fn the_oldest_texts_are_removed_first() {
        let folder = tempfile::tempdir().unwrap();
        let keys = ["a", "b", "c"].map(Digest::of);
        for (key, age) in keys.iter().zip([1, 3, 2]) {
            cache(folder.path()).put(*key, "text");
            let file = File::open(path(&folder.path().join("ocr"), *key)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(100 * age)).unwrap();
        }
        let one = total(&folder.path().join("ocr")).unwrap() / 3;
        assert_eq!(shrink(&folder.path().join("ocr"), 2 * one).unwrap(), 2 * one);
        let has = keys.map(|key| cache(folder.path()).get(key).is_some());
        assert_eq!(has, [true, false, true]);
    }
}
