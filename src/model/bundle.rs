//! A model and its runtime in, a folder out that works on a machine without a network: the program, the runtime, the model,
//! and the digests of all.

use std::env;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};

use super::load::Model;
use crate::digest::hex;
use crate::interrupt;

/// The folder in a bundle with the model, which the program in it takes by itself.
pub const MODEL: &str = "model";

/// Bytes that are copied at a time.
const BLOCK: usize = 1 << 20;

/// In the form of `sha256sum`.
const SUMS: &str = "SHA256SUMS";

/// Makes the folder, whole or not at all, and gives back how many bytes are in it.
///
/// # Errors
/// It is there already; something cannot be read or written.
pub fn make(folder: &Path, model: &Model) -> anyhow::Result<u64> {
    let is_new = folder.symlink_metadata().is_err();
    ensure!(is_new, "{}: is there already; name a new folder", folder.display());
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let scratch = tempfile::Builder::new().prefix(".bundle-").tempdir_in(parent);
    let scratch = scratch.with_context(|| parent.display().to_string())?;
    // A temporary folder is its owner's alone; one in it is as any other.
    let unfinished = scratch.path().join(MODEL);
    let program = env::current_exe().context("this program cannot be found")?;
    let mut files = vec![(program, PathBuf::from(env!("CARGO_PKG_NAME")))];
    files.extend(model.libraries()?);
    files.extend(model.folder.files()?.into_iter().map(|(file, name)| (file, Path::new(MODEL).join(name))));
    let mut sums = String::new();
    let mut bytes = 0;
    for (from, name) in files {
        let to = unfinished.join(&name);
        let copied = copy(&from, &to).with_context(|| format!("{} to {}", from.display(), to.display()))?;
        bytes += copied.0;
        sums.push_str(&format!("{}  {}\n", copied.1, name.display()));
    }
    fs::write(unfinished.join(SUMS), sums)?;
    fs::rename(&unfinished, folder).with_context(|| folder.display().to_string())?;
    Ok(bytes)
}

/// Its length and SHA-256.
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
