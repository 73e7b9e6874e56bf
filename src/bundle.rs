//! A model and its runtime in, a folder out that works on a machine without a network: the program, the runtime, the model,
//! and the digests of all.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};

use crate::model::Model;

/// The folder in a bundle with the model, which the program in it takes by itself.
pub const MODEL: &str = "model";

/// In the form of `sha256sum`.
const SUMS: &str = "SHA256SUMS";

/// Makes the folder, whole or not at all, and gives back how many bytes are in it.
///
/// # Errors
/// It is there already; something cannot be read or written.
pub fn make(folder: &Path, model: &Model) -> anyhow::Result<u64> {
    ensure!(!folder.exists(), "{}: is there already; name a new folder", folder.display());
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unfinished = tempfile::Builder::new().prefix(".bundle-").tempdir_in(parent);
    let unfinished = unfinished.with_context(|| parent.display().to_string())?;
    let program = env::current_exe().context("this program cannot be found")?;
    let mut files = vec![(program, PathBuf::from(env!("CARGO_PKG_NAME")))];
    files.extend(model.libraries()?);
    files.extend(model.folder.files()?.into_iter().map(|(file, name)| (file, Path::new(MODEL).join(name))));
    let mut sums = String::new();
    let mut bytes = 0;
    for (from, name) in files {
        let to = unfinished.path().join(&name);
        let copied = copy(&from, &to).with_context(|| format!("{} to {}", from.display(), to.display()))?;
        bytes += copied.0;
        sums.push_str(&format!("{}  {}\n", copied.1, name.display()));
    }
    fs::write(unfinished.path().join(SUMS), sums)?;
    // A temporary folder is its owner's alone.
    let whole = unfinished.keep();
    fs::set_permissions(&whole, fs::metadata(parent)?.permissions())?;
    fs::rename(&whole, folder).with_context(|| folder.display().to_string())?;
    Ok(bytes)
}

/// Its length and SHA-256.
fn copy(from: &Path, to: &Path) -> io::Result<(u64, String)> {
    fs::create_dir_all(to.parent().unwrap_or(Path::new("")))?;
    let mut source = File::open(from)?;
    let mut copied =
        Hashed { file: BufWriter::with_capacity(1 << 20, File::create(to)?), digest: Sha256::new() };
    let bytes = io::copy(&mut source, &mut copied)?;
    copied.flush()?;
    fs::set_permissions(to, source.metadata()?.permissions())?;
    Ok((bytes, copied.digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}

/// A file whose digest is made as it is written.
struct Hashed {
    file: BufWriter<File>,
    digest: Sha256,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.digest.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
