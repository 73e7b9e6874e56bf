//! Remembers the digests of models between runs, because hashing weights of gigabytes takes longer than everything else that a run
//! without changes does. The cache has one file per graph and one per `tokenizer.json`:
//!
//! ```text
//! $XDG_CACHE_HOME/qwen3-index/digests-v2/DIGEST-OF-THE-PATH.json
//! ```
//!
//! An error of the cache is never an error of the run: the files are hashed then.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{self, Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::environment;

/// The folder of the cache. Its version is raised when the digest of the same files becomes another one.
const FOLDER: &str = "digests-v2";

/// How old the last change of a file must be for its digest to be remembered. A file system may give two changes in quick succession
/// the same time.
const UNCHANGED_FOR: Duration = Duration::from_secs(2);

/// The digests that earlier runs have computed.
#[derive(Debug, Clone)]
pub struct RememberedDigests(Option<PathBuf>);

/// What the file system says about some files. Any change of a file changes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesState(Vec<FileState>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FileState {
    path: PathBuf,
    device: u64,
    inode: u64,
    bytes: u64,
    /// The time of the last change of the content, in seconds and nanoseconds.
    modified: (i64, i64),
    /// The time of the last change of the content or of the file's attributes. Unlike the time above, no program can set it.
    changed: (i64, i64),
}

/// The content of a file of the cache.
#[derive(Serialize, Deserialize)]
struct Remembered {
    files: FilesState,
    digest: String,
}

impl RememberedDigests {
    /// Returns the digests in the user's cache. If the environment names no cache, no digest is remembered.
    pub fn of_user() -> Self {
        RememberedDigests(environment::cache().map(|cache| cache.join(env!("CARGO_PKG_NAME")).join(FOLDER)))
    }

    /// Returns no digests.
    pub fn none() -> Self {
        RememberedDigests(None)
    }

    /// Returns the digest of some files, if none of them has changed since the digest was computed. `first` is the first file.
    pub fn find(&self, first: &Path) -> Option<String> {
        let remembered: Remembered = serde_json::from_slice(&fs::read(self.file(first)?).ok()?).ok()?;
        let paths: Vec<PathBuf> = remembered.files.0.iter().map(|file| file.path.clone()).collect();
        let is_same = FilesState::read(&paths)? == remembered.files;
        is_same.then_some(remembered.digest)
    }

    /// Remembers the digest of some files. `before` is the state of the files before they were read, `first` the first file.
    pub fn store(&self, first: &Path, before: Option<FilesState>, digest: &str) {
        let store = || -> Option<()> {
            let file = self.file(first)?;
            let files = before.filter(FilesState::is_settled)?;
            let paths: Vec<PathBuf> = files.0.iter().map(|file| file.path.clone()).collect();
            if FilesState::read(&paths)? != files {
                return None;
            }
            let folder = file.parent()?;
            fs::create_dir_all(folder).ok()?;
            let unfinished = NamedTempFile::new_in(folder).ok()?;
            serde_json::to_writer(&unfinished, &Remembered { files, digest: digest.to_owned() }).ok()?;
            unfinished.persist(file).ok()?;
            Some(())
        };
        let _ = store();
    }

    /// Returns the file of the cache for the digest of `first` and the files after it.
    fn file(&self, first: &Path) -> Option<PathBuf> {
        let path = first.canonicalize().ok()?;
        let name = blake3::hash(path.as_os_str().as_encoded_bytes()).to_hex();
        Some(self.0.as_ref()?.join(format!("{name}.json")))
    }
}

impl FilesState {
    /// Returns the state of files; `None` if the state of a file cannot be read.
    pub fn read(paths: &[PathBuf]) -> Option<Self> {
        let states = paths.iter().map(|path| {
            // Not the target of a symlink: the symlink may lead elsewhere later.
            let path = path::absolute(path).ok()?;
            let metadata = fs::metadata(&path).ok()?;
            Some(FileState {
                path,
                device: metadata.dev(),
                inode: metadata.ino(),
                bytes: metadata.len(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            })
        });
        states.collect::<Option<_>>().map(FilesState)
    }

    /// Returns whether the last change of every file is some time ago.
    fn is_settled(&self) -> bool {
        let Some(limit) = SystemTime::now().checked_sub(UNCHANGED_FOR) else { return false };
        let Ok(limit) = limit.duration_since(UNIX_EPOCH) else { return false };
        self.0.iter().all(|file| u64::try_from(file.changed.0).is_ok_and(|seconds| seconds < limit.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    #[test]
    fn a_digest_is_remembered_until_a_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let digests = RememberedDigests(Some(folder.path().join("cache")));
        let graph = folder.path().join("model.onnx");
        let data = folder.path().join("model.onnx_data");
        let paths = [graph.clone(), data.clone()];
        for path in &paths {
            fs::write(path, "weights").unwrap();
        }
        // Files that have only just changed are not remembered.
        digests.store(&graph, FilesState::read(&paths), "one");
        assert_eq!(digests.find(&graph), None);
        sleep(UNCHANGED_FOR + Duration::from_secs(1));
        digests.store(&graph, FilesState::read(&paths), "one");
        assert_eq!(digests.find(&graph).as_deref(), Some("one"));
        assert_eq!(RememberedDigests::none().find(&graph), None);

        // A symlink that leads to another file is a change.
        let other = folder.path().join("other");
        fs::write(&other, "weights").unwrap();
        let linked = folder.path().join("linked.onnx");
        std::os::unix::fs::symlink(&graph, &linked).unwrap();
        sleep(UNCHANGED_FOR + Duration::from_secs(1));
        digests.store(&graph, FilesState::read(&[graph.clone(), linked.clone()]), "two");
        assert_eq!(digests.find(&graph).as_deref(), Some("two"));
        fs::remove_file(&linked).unwrap();
        std::os::unix::fs::symlink(&other, &linked).unwrap();
        assert_eq!(digests.find(&graph), None);

        // The same length and the same time of modification do not hide a change.
        digests.store(&graph, FilesState::read(&paths), "one");
        assert_eq!(digests.find(&graph).as_deref(), Some("one"));
        let modified = fs::metadata(&data).unwrap().modified().unwrap();
        fs::write(&data, "heights").unwrap();
        fs::File::options().write(true).open(&data).unwrap().set_modified(modified).unwrap();
        assert_eq!(digests.find(&graph), None);
    }
}
