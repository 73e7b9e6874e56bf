//! Makes a bundle. A bundle is a folder for a machine without a network, and contains this program, ONNX Runtime, a model and
//! the digests of all files.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, anyhow, bail, ensure};
use sha2::{Digest, Sha256};

use super::load::Model;
use super::settings::cannot_read;
use super::weights_folder::repository_in_cache;
use crate::digest::hex;
use crate::interrupt;
use crate::storage::found::is_absent;
use crate::storage::lock::{Lock, LockError};
use crate::storage::unfinished;

/// The name of the model folder in a bundle. The program in the bundle uses this model by default.
pub const MODEL: &str = "model";

/// Bytes per read when a file is copied.
const BLOCK: usize = 1 << 20;

/// The name of the file with the digests. The file has the format of `sha256sum`.
const SUMS: &str = "SHA256SUMS";

/// A bundle that is in place.
pub struct Bundle {
    /// The total size of the files, in bytes.
    pub bytes: u64,
    /// Says why a power failure could still undo the last step, if it could.
    pub warning: Option<String>,
}

/// Makes the bundle. The folder appears only when the bundle is complete and flushed to disk. What a killed run has left of the same
/// bundle is removed first.
///
/// # Errors
/// The folder exists already, another run makes it, or a file cannot be read or written.
pub fn make(folder: &Path, model: &Model) -> anyhow::Result<Bundle> {
    let name = folder.file_name().with_context(|| exists_already(folder))?.to_string_lossy();
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let not_writable = |e: io::Error| {
        anyhow!(
            "{}: no folder can be made in it: {e}; check that it exists and that this user may write to it",
            parent.display()
        )
    };
    let lock = match Lock::take(&parent.join(format!(".{name}.lock")), OpenOptions::new()) {
        Ok(lock) => Some(lock),
        Err(error) if error.is_unsupported() => None,
        Err(LockError::Failed(e)) => return Err(not_writable(e)),
        Err(held) => return Err(Error::new(held).context(folder.display().to_string())),
    };
    let unfinished = unfinished::make_folder(parent, &format!(".{name}.bundle-"), lock.as_ref());
    let unfinished = unfinished.map_err(not_writable)?;
    match folder.symlink_metadata() {
        Ok(_) => bail!(exists_already(folder)),
        Err(e) if is_absent(&e) => {}
        Err(e) => bail!("{}: cannot be read: {e}; check the disk", folder.display()),
    }
    let bytes = fill(unfinished.path(), model)?;
    let cannot_write = |e| anyhow!("{}: cannot be written: {e}; check the disk", folder.display());
    fs::rename(unfinished.path(), folder).map_err(cannot_write)?;
    // The folder is not there any more under the name that would be removed.
    let _ = unfinished.keep();
    let warning = flush(parent).err().map(|e| {
        format!(
            "{}: is in place, but its folder cannot be flushed to disk ({e}); check the disk",
            folder.display()
        )
    });
    Ok(Bundle { bytes, warning })
}

fn exists_already(folder: &Path) -> String {
    format!("{}: exists already; name a new folder", folder.display())
}

/// Copies all files into a folder, flushes them to disk, and returns their size in bytes.
fn fill(folder: &Path, model: &Model) -> anyhow::Result<u64> {
    let program = env::current_exe()
        .map_err(|e| anyhow!("the file of this program cannot be found: {e}; start it by its full path"))?;
    let mut files = vec![(program, PathBuf::from(env!("CARGO_PKG_NAME")))];
    files.extend(model.libraries()?);
    for (file, name) in model.folder.files()? {
        check_is_of_model(&file, model.folder.root())?;
        files.push((file, Path::new(MODEL).join(name)));
    }
    let (mut sums, mut bytes, mut folders) = (String::new(), 0, BTreeSet::new());
    for (from, name) in files {
        let to = folder.join(&name);
        let (length, digest) = copy(&from, &to).with_context(|| {
            format!(
                "{}: cannot be copied to {}; check the disk and the permissions",
                from.display(),
                to.display()
            )
        })?;
        bytes += length;
        sums.push_str(&format!("{digest}  {}\n", name.display()));
        folders.extend(name.ancestors().skip(1).map(|parent| folder.join(parent)));
    }
    let finish = || -> io::Result<()> {
        let mut file = File::create_new(folder.join(SUMS))?;
        file.write_all(sums.as_bytes())?;
        file.sync_all()?;
        folders.iter().try_for_each(|folder| flush(folder))
    };
    finish().map_err(|e| anyhow!("{}: cannot be written: {e}; check the disk", folder.display()))?;
    Ok(bytes)
}

/// Checks that a file of the model folder is not a symlink to a file elsewhere. Such a file may be one that nobody wants to pass
/// on. The files of a snapshot in the cache of Hugging Face's tools are symlinks that stay in the folder of the repository.
fn check_is_of_model(file: &Path, folder: &Path) -> anyhow::Result<()> {
    let real = |path: &Path| path.canonicalize().map_err(|e| cannot_read(path, &e));
    let (target, folder) = (real(file)?, real(folder)?);
    let root = repository_in_cache(&folder).unwrap_or(&folder);
    ensure!(
        target.starts_with(root),
        "model file {}: is a symlink to {}, which is outside the model folder; put a copy of the file in its place",
        file.display(),
        target.display()
    );
    Ok(())
}

/// Copies a file with its permissions, and flushes the copy to disk. Returns the length of the file in bytes and its SHA-256.
fn copy(from: &Path, to: &Path) -> anyhow::Result<(u64, String)> {
    fs::create_dir_all(to.parent().unwrap_or(Path::new("")))?;
    let mut source = File::open(from)?;
    let mut target = File::create_new(to)?;
    let (mut digest, mut bytes, mut block) = (Sha256::new(), 0, vec![0; BLOCK]);
    loop {
        interrupt::check()?;
        match source.read(&mut block)? {
            0 => break,
            count => {
                target.write_all(&block[..count])?;
                digest.update(&block[..count]);
                bytes += count as u64;
            }
        }
    }
    target.set_permissions(source.metadata()?.permissions())?;
    target.sync_all()?;
    Ok((bytes, hex(&digest.finalize())))
}

fn flush(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
