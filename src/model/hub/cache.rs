//! The cache folder, as Hugging Face's own tools lay it out and lock it:
//!
//! ```text
//! models--OWNER--NAME/refs/REVISION          the commit that it was
//!                     blobs/ETAG             the bytes of a file; ETAG.incomplete while they come
//!                     snapshots/COMMIT/PATH  a link to them
//! .locks/models--OWNER--NAME/ETAG.lock       held while they come
//! ```

use super::environment::{home, variable};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::client::{Client, RemoteFile};
use super::event::{Progress, Tell};
use crate::digest::hex;

const PREFIX: &str = "models--";

/// A model in the cache.
#[derive(Debug)]
pub struct Cached {
    /// `owner/name`.
    pub id: String,
    /// Names of this commit.
    pub revisions: Vec<String>,
    /// The commit.
    pub commit: String,
    /// Where its files are.
    pub snapshot: PathBuf,
    /// Its graphs, as paths in it.
    pub graphs: Vec<String>,
    /// Bytes of its files.
    pub bytes: u64,
}

pub struct Cache(PathBuf);

impl Cache {
    pub fn from_environment() -> anyhow::Result<Self> {
        let path = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"].into_iter().find_map(variable);
        let path = path.or_else(|| Some(home()?.join("hub")));
        Ok(Cache(path.context("no HOME to keep models in; set HF_HOME, or name a folder with --model")?))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Of a revision that has been seen before.
    pub fn snapshot(&self, id: &str, revision: &str) -> Option<PathBuf> {
        let folder = self.folder(id);
        let is_commit = |revision: &str| folder.join("snapshots").join(revision).is_dir();
        let commit = if is_commit(revision) {
            revision.to_owned()
        } else {
            fs::read_to_string(folder.join("refs").join(revision)).ok()?.trim().to_owned()
        };
        Some(folder.join("snapshots").join(commit)).filter(|snapshot| snapshot.is_dir())
    }

    /// Sees to it that a file of a commit is there, whole.
    pub fn put(
        &self,
        id: &str,
        commit: &str,
        name: &str,
        client: &Client,
        remote: &RemoteFile,
        tell: Tell,
    ) -> anyhow::Result<PathBuf> {
        let blob = self.folder(id).join("blobs").join(&remote.etag);
        let link = self.folder(id).join("snapshots").join(commit).join(name);
        let put = |tell: Tell| -> anyhow::Result<()> {
            let _lock = self.lock(id, &remote.etag, tell)?;
            if !blob.is_file() {
                fs::create_dir_all(blob.parent().unwrap_or(&self.0))?;
                let unfinished = blob.with_added_extension("incomplete");
                download(&unfinished, client, remote, name, tell)?;
                fs::rename(&unfinished, &blob)?;
            }
            point_to(&link, &blob)
        };
        put(tell).with_context(|| name.to_owned())?;
        Ok(link)
    }

    /// Says which commit a revision is, now that all of it is there, and gives its folder.
    pub fn point(&self, id: &str, revision: &str, commit: &str) -> anyhow::Result<PathBuf> {
        let folder = self.folder(id);
        if revision != commit {
            let path = folder.join("refs").join(revision);
            let write = || {
                fs::create_dir_all(path.parent().unwrap_or(&folder))?;
                fs::write(&path, commit)
            };
            write().with_context(|| format!("cache {}", path.display()))?;
        }
        Ok(folder.join("snapshots").join(commit))
    }

    pub fn list(&self) -> anyhow::Result<Vec<Cached>> {
        let mut models = Vec::new();
        for (name, folder) in entries(&self.0)? {
            let Some(id) = name.strip_prefix(PREFIX).map(|name| name.replacen("--", "/", 1)) else {
                continue;
            };
            let refs = files(&folder.join("refs"), "")?;
            let is_of = |name: &str, commit: &str| {
                fs::read_to_string(folder.join("refs").join(name)).is_ok_and(|there| there.trim() == commit)
            };
            for (commit, snapshot) in entries(&folder.join("snapshots"))? {
                let files = files(&snapshot, "")?;
                let graphs: Vec<String> = files
                    .iter()
                    .map(|(name, _)| name.clone())
                    .filter(|name| name.ends_with(".onnx"))
                    .collect();
                if graphs.is_empty() {
                    continue;
                }
                let revisions =
                    refs.iter().filter(|(name, _)| is_of(name, &commit)).map(|(name, _)| name.clone());
                let (revisions, bytes) = (revisions.collect(), files.iter().map(|(_, bytes)| bytes).sum());
                models.push(Cached { id: id.clone(), revisions, commit, snapshot, graphs, bytes });
            }
        }
        Ok(models)
    }

    fn folder(&self, id: &str) -> PathBuf {
        self.0.join(folder_name(id))
    }

    /// Waits for whoever else is getting the same bytes; the system gives it back when its process ends.
    fn lock(&self, id: &str, etag: &str, tell: Tell) -> anyhow::Result<File> {
        let folder = self.0.join(".locks").join(folder_name(id));
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{etag}.lock"));
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                tell(Progress::Waiting(format!("another program is getting it (lock {})", path.display())));
                file.lock()?;
            }
            // A file system without locks: two runs at once would then disturb each other's download, which its digest tells.
            Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(e)) => return Err(e.into()),
        }
        Ok(file)
    }
}

fn folder_name(id: &str) -> String {
    format!("{PREFIX}{}", id.replace('/', "--"))
}

/// Goes on with what is there of a file. Where that turns out to be of something else, once from its start.
fn download(path: &Path, client: &Client, remote: &RemoteFile, name: &str, tell: Tell) -> anyhow::Result<()> {
    tell(Progress::File { name, bytes: remote.bytes });
    let is_resumed = path.metadata().is_ok_and(|metadata| metadata.len() > 0);
    client.download(remote, path, tell)?;
    if is_intact(path, &remote.etag)? {
        return Ok(());
    }
    fs::remove_file(path)?;
    if is_resumed {
        client.download(remote, path, tell)?;
        if is_intact(path, &remote.etag)? {
            return Ok(());
        }
        fs::remove_file(path)?;
    }
    bail!(
        "what came is not what the hub says it is (another digest); run again, and if it stays, ask another mirror (HF_ENDPOINT)"
    )
}

/// Whether the digest is that of the ETag: SHA-256 of large files, of others the SHA-1 that git has of them. Of another
/// server's ETags nothing is known.
fn is_intact(path: &Path, etag: &str) -> io::Result<bool> {
    let file = File::open(path)?;
    let digest: String = match etag.len() {
        64 => hex(&digest_of(Sha256::new(), &file)?),
        40 => {
            let header = format!("blob {}\0", file.metadata()?.len());
            hex(&digest_of(Sha1::new_with_prefix(header), &file)?)
        }
        _ => return Ok(true),
    };
    if digest == etag {
        file.sync_all()?;
    }
    Ok(digest == etag)
}

fn digest_of<D: Digest>(mut digest: D, file: &File) -> io::Result<Vec<u8>> {
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(digest.finalize().to_vec()),
            count => digest.update(&buffer[..count]),
        }
    }
}

/// Makes a relative link, so that the cache can be moved.
fn point_to(link: &Path, blob: &Path) -> anyhow::Result<()> {
    let folder = link.parent().context("a file in a snapshot")?;
    fs::create_dir_all(folder)?;
    // From snapshots/COMMIT/PATH to blobs/ETAG, beside `snapshots`.
    let root = blob.parent().and_then(Path::parent).context("a blob in a cache")?;
    let depth = folder.strip_prefix(root)?.components().count();
    let target: PathBuf =
        std::iter::repeat_n("..", depth).collect::<PathBuf>().join(blob.strip_prefix(root)?);
    match symlink(&target, link) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            // Of another run, or of an old file of the same commit under another digest: that cannot be.
            if !link.exists() {
                fs::remove_file(link)?;
                symlink(target, link)?;
            }
            Ok(())
        }
        made => Ok(made?),
    }
}

/// Names and paths in a folder, sorted; none where there is no such folder.
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

/// Files below a folder, by their path from it, and their sizes.
fn files(folder: &Path, prefix: &str) -> anyhow::Result<Vec<(String, u64)>> {
    let mut found = Vec::new();
    for (name, path) in entries(folder)? {
        // A link whose blob is gone is no file.
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
