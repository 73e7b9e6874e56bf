//! Makes a bundle. A bundle is a folder for a machine without a network, and contains this program, ONNX Runtime, a model and
//! the digests of all files.

use std::env;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};
use sha2::{Digest, Sha256};

use super::load::Model;
use crate::digest::hex;
use crate::interrupt;

/// The name of the model folder in a bundle. The program in the bundle uses this model by default.
pub const MODEL: &str = "model";

/// Bytes per read when a file is copied.
const BLOCK: usize = 1 << 20;

/// The name of the file with the digests. The file has the format of `sha256sum`.
const SUMS: &str = "SHA256SUMS";

/// Makes the bundle and returns its size in bytes. The folder appears only when the bundle is complete.
///
/// # Errors
/// The folder exists already, or a file cannot be read or written.
pub fn make(folder: &Path, model: &Model) -> anyhow::Result<u64> {
    let is_new = folder.symlink_metadata().is_err();
    ensure!(is_new, "{}: exists already; name a new folder", folder.display());
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let scratch = tempfile::Builder::new().prefix(".bundle-").tempdir_in(parent);
    let scratch = scratch.map_err(|e| {
        anyhow!(
            "{}: no folder can be made in it: {e}; check that it exists and that this user may write to it",
            parent.display()
        )
    })?;
    // Other users cannot read a temporary folder. So this function makes the bundle in a new folder inside the temporary
    // folder, because the new folder has the usual permissions.
    let unfinished = scratch.path().join(MODEL);
    let program = env::current_exe()
        .map_err(|e| anyhow!("the file of this program cannot be found: {e}; start it by its full path"))?;
    let mut files = vec![(program, PathBuf::from(env!("CARGO_PKG_NAME")))];
    files.extend(model.libraries()?);
    files.extend(model.folder.files()?.into_iter().map(|(file, name)| (file, Path::new(MODEL).join(name))));
    let mut sums = String::new();
    let mut bytes = 0;
    for (from, name) in files {
        let to = unfinished.join(&name);
        let (length, digest) = copy(&from, &to).with_context(|| {
            format!(
                "{}: cannot be copied to {}; check the disk and the permissions",
                from.display(),
                to.display()
            )
        })?;
        bytes += length;
        sums.push_str(&format!("{digest}  {}\n", name.display()));
    }
    let cannot_write = |e| anyhow!("{}: cannot be written: {e}; check the disk", folder.display());
    fs::write(unfinished.join(SUMS), sums).map_err(cannot_write)?;
    fs::rename(&unfinished, folder).map_err(cannot_write)?;
    Ok(bytes)
}

/// Copies a file with its permissions. Returns the length of the file in bytes and its SHA-256.
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
    fs::set_permissions(to, source.metadata()?.permissions())?;
    Ok((bytes, hex(&digest.finalize())))
}
