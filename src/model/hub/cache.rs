//! The cache folder of downloaded models, with the layout and the locks of Hugging Face's own tools:
//!
//! ```text
//! models--OWNER--NAME/refs/REVISION          the commit of the revision
//!                     blobs/ETAG             the bytes of a file; ETAG.incomplete during the download
//!                     snapshots/COMMIT/PATH  a symlink to the blob
//!                     refs.incomplete        a new file of refs, before it is put in place
//! .locks/models--OWNER--NAME/ETAG.lock       locked during the download
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::client::{Client, RemoteFile};
use super::environment::{home, path_variable};
use super::event::{OnProgress, Progress};
use crate::digest::hex;
use crate::interrupt;
use crate::model::folder::{CONFIG, QWEN3, architecture};
use crate::storage::found::{is_absent, is_file, is_folder};

const PREFIX: &str = "models--";

/// The time between two attempts to lock a download that another program has locked.
const LOCK_EVERY: Duration = Duration::from_millis(200);

/// A snapshot of a model in the cache.
#[derive(Debug)]
pub struct CachedModel {
    /// `owner/name`.
    pub id: String,
    /// Branches and tags that point to the commit.
    pub revisions: Vec<String>,
    pub commit: String,
    /// The folder of the snapshot.
    pub snapshot: PathBuf,
    /// The paths of the ONNX files, relative to the snapshot. In a snapshot without ONNX files, the names of the weight files.
    pub files: Vec<String>,
    /// The total size of the files in the snapshot, in bytes.
    pub bytes: u64,
}

pub struct Cache(PathBuf);

impl Cache {
    /// Reads the path of the cache folder from the environment. The folder need not exist.
    ///
    /// # Errors
    /// `HOME` is not an absolute path, and no variable for the cache is set.
    pub fn from_environment() -> anyhow::Result<Self> {
        let path = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"].into_iter().find_map(path_variable);
        let path = path.or_else(|| Some(home()?.join("hub")));
        Ok(Cache(path.context("HOME names no absolute path, so there is no cache for models; set HF_HOME")?))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the snapshot of a revision, if the cache has the snapshot. Some files of the snapshot may be missing.
    ///
    /// # Errors
    /// The cache cannot be read.
    pub fn snapshot(&self, id: &str, revision: &str) -> anyhow::Result<Option<PathBuf>> {
        let folder = self.folder(id);
        let find = || -> io::Result<Option<PathBuf>> {
            let snapshot = |commit: &str| folder.join("snapshots").join(commit);
            if is_folder(&snapshot(revision))? {
                return Ok(Some(snapshot(revision)));
            }
            match fs::read_to_string(folder.join("refs").join(revision)) {
                Err(e) if is_absent(&e) => Ok(None),
                commit => {
                    let snapshot = snapshot(commit?.trim());
                    Ok(is_folder(&snapshot)?.then_some(snapshot))
                }
            }
        };
        find().map_err(|e| self.cannot_read(&e))
    }

    /// Returns whether there is a file at a path in the cache.
    ///
    /// # Errors
    /// The cache cannot be read.
    pub fn has(&self, path: &Path) -> anyhow::Result<bool> {
        is_file(path).map_err(|e| self.cannot_read(&e))
    }

    fn cannot_read(&self, e: &io::Error) -> anyhow::Error {
        anyhow!("cache {}: cannot be read: {e}; check the disk and the permissions", self.0.display())
    }

    /// Downloads a file of a commit if the cache does not have the file, and returns the path of the file in the snapshot.
    ///
    /// # Errors
    /// The download fails, the digest of the file is wrong, or the cache cannot be written.
    pub fn fetch(
        &self,
        id: &str,
        commit: &str,
        name: &str,
        client: &Client,
        remote: &RemoteFile,
        on_progress: OnProgress,
    ) -> anyhow::Result<PathBuf> {
        let blob = self.folder(id).join("blobs").join(&remote.etag);
        let link = self.folder(id).join("snapshots").join(commit).join(name);
        let fetch = |on_progress: OnProgress| -> anyhow::Result<()> {
            let _lock = self.lock(id, &remote.etag, on_progress)?;
            if !is_file(&blob)? {
                fs::create_dir_all(blob.parent().unwrap_or(&self.0))?;
                let unfinished = blob.with_added_extension("incomplete");
                download(&unfinished, client, remote, name, on_progress)?;
                File::open(&unfinished)?.sync_all()?;
                fs::rename(&unfinished, &blob)?;
            }
            make_link(&link, &blob)
        };
        fetch(on_progress).map_err(|e| self.explain_io(e)).with_context(|| name.to_owned())?;
        Ok(link)
    }

    /// Records the commit of a revision, and returns the snapshot of the commit. Call this function when all files are in the
    /// snapshot.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub fn set_revision(
        &self,
        id: &str,
        revision: &str,
        commit: &str,
        on_progress: OnProgress,
    ) -> anyhow::Result<PathBuf> {
        let folder = self.folder(id);
        if revision != commit {
            let path = folder.join("refs").join(revision);
            let write = |on_progress: OnProgress| -> anyhow::Result<()> {
                let _lock = self.lock(id, "refs", on_progress)?;
                fs::create_dir_all(path.parent().unwrap_or(&folder))?;
                // Other programs read the file at any time, and a killed run must not leave an empty one. The unfinished file is
                // not in `refs`, where every file is a revision.
                let unfinished = folder.join("refs.incomplete");
                let mut file = File::create(&unfinished)?;
                file.write_all(commit.as_bytes())?;
                file.sync_all()?;
                Ok(fs::rename(unfinished, &path)?)
            };
            write(on_progress).map_err(|e| self.explain_io(e))?;
        }
        Ok(folder.join("snapshots").join(commit))
    }

    /// Returns the snapshots that have an ONNX file, or weights in safetensors that this tool can export, sorted by repository
    /// and commit.
    ///
    /// # Errors
    /// A folder of the cache cannot be read.
    pub fn list(&self) -> anyhow::Result<Vec<CachedModel>> {
        let mut models = Vec::new();
        for (name, folder) in entries(&self.0)? {
            let Some(id) = name.strip_prefix(PREFIX).map(|name| name.replacen("--", "/", 1)) else {
                continue;
            };
            let refs = files(&folder.join("refs"), "")?;
            let points_to = |name: &str, commit: &str| {
                fs::read_to_string(folder.join("refs").join(name)).is_ok_and(|text| text.trim() == commit)
            };
            for (commit, snapshot) in entries(&folder.join("snapshots"))? {
                let files = files(&snapshot, "")?;
                let names = |is_wanted: fn(&str) -> bool| -> Vec<String> {
                    files.iter().map(|(name, _)| name.clone()).filter(|name| is_wanted(name)).collect()
                };
                let mut found = names(|name| name.ends_with(".onnx"));
                // The cache may have models of all kinds, and this tool can export only one.
                if found.is_empty() && architecture(&snapshot.join(CONFIG)).is_ok_and(|name| name == QWEN3) {
                    found = names(|name| name.ends_with(".safetensors"));
                }
                if found.is_empty() {
                    continue;
                }
                let revisions =
                    refs.iter().filter(|(name, _)| points_to(name, &commit)).map(|(name, _)| name.clone());
                let (revisions, bytes) = (revisions.collect(), files.iter().map(|(_, bytes)| bytes).sum());
                let id = id.clone();
                models.push(CachedModel { id, revisions, commit, snapshot, files: found, bytes });
            }
        }
        Ok(models)
    }

    /// Adds the cache folder and advice to an error of the file system. Returns any other error unchanged.
    fn explain_io(&self, error: anyhow::Error) -> anyhow::Error {
        match error.downcast::<io::Error>() {
            Ok(e) => anyhow!(
                "cache {}: cannot be written: {e}; check the disk, and check that this user may write to the cache folder",
                self.0.display()
            ),
            Err(error) => error,
        }
    }

    fn folder(&self, id: &str) -> PathBuf {
        self.0.join(folder_name(id))
    }

    /// Locks the download of a blob, and waits while another program holds the lock. The lock is released when the returned
    /// file is closed or the process ends.
    fn lock(&self, id: &str, etag: &str, on_progress: OnProgress) -> anyhow::Result<File> {
        let folder = self.0.join(".locks").join(folder_name(id));
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{etag}.lock"));
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                on_progress(Progress::Waiting(format!(
                    "waiting for another program that downloads this file (lock {})",
                    path.display()
                )));
                while let Err(TryLockError::WouldBlock) = file.try_lock() {
                    interrupt::sleep(LOCK_EVERY)?;
                }
            }
            // If the file system has no locks, the download starts without a lock. Two runs may then damage each other's
            // download, but the digest shows the damage.
            Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(e)) => return Err(e.into()),
        }
        Ok(file)
    }
}

fn folder_name(id: &str) -> String {
    format!("{PREFIX}{}", id.replace('/', "--"))
}

/// Downloads a file, or resumes the download of an earlier run. If the digest is wrong after a resumed download, the bytes of
/// the earlier run may belong to another file, so this function downloads the file once more, from scratch.
fn download(
    path: &Path,
    client: &Client,
    remote: &RemoteFile,
    name: &str,
    on_progress: OnProgress,
) -> anyhow::Result<()> {
    on_progress(Progress::File { name, bytes: remote.bytes });
    let is_resumed = path.metadata().is_ok_and(|metadata| metadata.len() > 0);
    client.download(remote, path, on_progress)?;
    if is_intact(path, &remote.etag)? {
        return Ok(());
    }
    fs::remove_file(path)?;
    if is_resumed {
        client.download(remote, path, on_progress)?;
        if is_intact(path, &remote.etag)? {
            return Ok(());
        }
        fs::remove_file(path)?;
    }
    bail!(
        "the downloaded file does not have the digest that the hub announced; run again, and if it happens again, set HF_ENDPOINT to another mirror"
    )
}

/// Returns whether the digest of a file equals the ETag. The ETag of a large file is the file's SHA-256, and the ETag of a small
/// file is the SHA-1 that git computes for a blob. Returns `true` if the ETag is not a digest, because then the digest of the
/// file cannot be checked.
fn is_intact(path: &Path, etag: &str) -> anyhow::Result<bool> {
    let file = File::open(path)?;
    let digest: String = match etag.len() {
        64 => hex(&digest_of(Sha256::new(), &file)?),
        40 => {
            let header = format!("blob {}\0", file.metadata()?.len());
            hex(&digest_of(Sha1::new_with_prefix(header), &file)?)
        }
        _ => return Ok(true),
    };
    Ok(digest == etag)
}

fn digest_of<D: Digest>(mut digest: D, file: &File) -> anyhow::Result<Vec<u8>> {
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut buffer = vec![0; 1 << 20];
    loop {
        interrupt::check()?;
        match reader.read(&mut buffer)? {
            0 => return Ok(digest.finalize().to_vec()),
            count => digest.update(&buffer[..count]),
        }
    }
}

/// Makes a symlink to a blob. The symlink is relative, so that the cache can be moved.
fn make_link(link: &Path, blob: &Path) -> anyhow::Result<()> {
    let folder = link.parent().context("the path has no folder")?;
    fs::create_dir_all(folder)?;
    // The symlink has the path snapshots/COMMIT/PATH and points to blobs/ETAG. Both paths are below `root`.
    let root = blob.parent().and_then(Path::parent).context("the blob has no folder")?;
    let depth = folder.strip_prefix(root)?.components().count();
    let target: PathBuf =
        std::iter::repeat_n("..", depth).collect::<PathBuf>().join(blob.strip_prefix(root)?);
    match symlink(&target, link) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            // Another run has made the symlink. If the blob was deleted later, the symlink is broken, and this run replaces it.
            if !link.try_exists()? {
                fs::remove_file(link)?;
                symlink(target, link)?;
            }
            Ok(())
        }
        made => Ok(made?),
    }
}

/// Returns the name and the path of each entry of a folder, sorted by name. Returns an empty list if the folder does not exist.
fn entries(folder: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let in_cache = || format!("cache {}", folder.display());
    let read = fs::read_dir(folder).with_context(in_cache)?;
    let named = |entry: io::Result<fs::DirEntry>| {
        entry.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
    };
    let mut entries: Vec<_> = read.map(named).collect::<io::Result<_>>().with_context(in_cache)?;
    entries.sort();
    Ok(entries)
}

/// Returns the name and the size in bytes of each file below a folder. Each name is `prefix`, followed by the path of the file
/// relative to the folder.
fn files(folder: &Path, prefix: &str) -> anyhow::Result<Vec<(String, u64)>> {
    let mut found = Vec::new();
    for (name, path) in entries(folder)? {
        // A symlink to a deleted blob is skipped, because it has no metadata.
        let Ok(metadata) = path.metadata() else { continue };
        let name = format!("{prefix}{name}");
        if metadata.is_dir() {
            found.extend(files(&path, &format!("{name}/"))?);
        } else {
            found.push((name, metadata.len()));
        }
    }
    Ok(found)
}
