//! Checks the place of a new index: no other run may write there, and no other file there may be lost.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};

use crate::command::process::Exit;
use crate::console::{HumanCount, debug};
use crate::error::Usage;
use crate::index::{INDEX, IndexFileError, Part};
use crate::interrupt::Interrupted;
use crate::pipeline::OldOutput;
use crate::shard::Shard;
use crate::storage::lock::{Lock, LockError};
use crate::storage::object::Url;
use crate::storage::place::{Place, Published};

/// The end of the lock file's name. The lock file is a hidden file beside the output.
const LOCK: &str = "lock";

/// Checks that no two outputs are the same file, and that no output is an input. `outputs` has the option and the path of
/// each output.
pub fn check_files(inputs: &[PathBuf], outputs: &[(&str, Option<&PathBuf>)]) -> Result<(), Usage> {
    // Only an existing file has a canonical path. The path of a new file is made from the canonical path of its folder.
    let real = |path: &Path| {
        let new = || Some(path.parent()?.join(".").canonicalize().ok()?.join(path.file_name()?));
        path.canonicalize().ok().or_else(new).unwrap_or_else(|| path.to_owned())
    };
    let mut taken: Vec<(PathBuf, String)> =
        inputs.iter().map(|input| (real(input), format!("input {}", input.display()))).collect();
    for (option, path) in outputs {
        let Some(path) = path else { continue };
        if let Some((_, other)) = taken.iter().find(|(there, _)| *there == real(path)) {
            return Err(Usage(format!("{other}: is also the output; name another file with {option}")));
        }
        taken.push((real(path), format!("{option} {}", path.display())));
    }
    Ok(())
}

/// Warns if the name of a new file hides that the file is Parquet. `named` is the place as the user named it.
pub fn check_name(place: &Place, named: &Path, warn: &dyn Fn(&str)) {
    let is_parquet =
        |extension: &OsStr| ["parquet", "pq"].iter().any(|pq| extension.eq_ignore_ascii_case(pq));
    if !place.is_taken() && named.extension().is_some_and(|extension| !is_parquet(extension)) {
        let expected = named.with_extension("parquet");
        let expected = expected.file_name().unwrap_or_default().display();
        warn(&format!("{place}: is written as Parquet; other programs expect the name {expected}"));
    }
}

/// Takes the lock on a place. Warns and returns `None` if the file system has no locks.
pub fn lock(place: &Place, warn: &dyn Fn(&str)) -> anyhow::Result<Option<Lock>> {
    match Lock::take(&place.sibling(LOCK), place.sibling_options()) {
        Ok(lock) => {
            debug(|| format!("lock {}: taken", place.sibling(LOCK).display()));
            place.clean()?;
            Ok(Some(lock))
        }
        Err(error) if error.is_unsupported() => {
            warn(&format!(
                "{place}: is on a file system without locks ({error}); make sure that no other run writes this output"
            ));
            Ok(None)
        }
        Err(LockError::Failed(e)) => Err(place.not_writable(&e)),
        Err(held) => Err(anyhow::Error::new(held).context(place.to_string())),
    }
}

/// Takes the lock on the place at `path` and opens the old index there, if any. The old index must not be a shard.
pub fn hold(path: &Path, warn: &dyn Fn(&str)) -> anyhow::Result<(Option<Lock>, Place, OldOutput<Part>)> {
    Url::refuse("output", path)?;
    let look = || Place::new("output", path, &INDEX);
    let lock = lock(&look()?, warn)?;
    // Another run may have changed the file before this run took the lock.
    let mut place = look()?;
    check_name(&place, path, warn);
    let old = check_old(&mut place, warn)?;
    Ok((lock, place, old))
}

/// Opens the old file, which must be an index and not a shard. A damaged file will be renamed, not deleted.
fn check_old(place: &mut Place, warn: &dyn Fn(&str)) -> anyhow::Result<OldOutput<Part>> {
    if !place.is_taken() {
        return Ok(OldOutput::Absent);
    }
    match Part::open(place.path()) {
        Ok(old) => {
            check_shard(place, old.metadata().map(|metadata| metadata.shard), None)?;
            Ok(OldOutput::Index(old))
        }
        Err(IndexFileError::Damaged(damage)) => {
            let kept = place.plan_backup()?;
            warn(&format!(
                "{place}: is damaged ({damage}); the damaged file will be kept as {}",
                kept.display()
            ));
            Ok(OldOutput::Damaged { rows: damage.rows.unwrap_or(0) })
        }
        Err(error) => Err(not_replaceable(place, error)),
    }
}

/// Checks that an index without rows does not replace an index with rows. The error message shows `why` the new index has no
/// rows.
pub fn check_rows(place: &Place, old: &OldOutput<Part>, rows: u64, why: &str) -> anyhow::Result<()> {
    match old {
        _ if rows > 0 => Ok(()),
        OldOutput::Absent => Ok(()),
        OldOutput::Index(old) if old.rows() == 0 => Ok(()),
        OldOutput::Index(old) => bail!(
            "{place}: {why}, and the {} rows of the old file would be lost; remove the file first to allow that",
            HumanCount(old.rows().into())
        ),
        OldOutput::Damaged { .. } => bail!(
            "{place}: {why}, and the old file is damaged, so its rows cannot be compared; remove the file first to allow that"
        ),
    }
}

/// Returns the exit code of a run that has put its output in place. A damaged old output needs a person, even though the new
/// output is whole, and so does a disk that fails.
pub fn exit(old: &OldOutput<Part>, published: &Published) -> Exit {
    if old.is_damaged() || published.needs_attention { Exit::Partial } else { Exit::Done }
}

/// Returns the error for an existing file that the output must not replace, because the file is no index or cannot be read.
pub fn not_replaceable(place: &Place, error: IndexFileError) -> anyhow::Error {
    let what = match error {
        IndexFileError::Delta => "a delta",
        IndexFileError::Unreadable(e) if e.is::<Interrupted>() => return e,
        IndexFileError::Unreadable(e) => {
            return anyhow!(
                "{place}: cannot be read: {e:#}; check the disk and run again (the file is untouched)"
            );
        }
        IndexFileError::Foreign | IndexFileError::Index | IndexFileError::Damaged(_) => {
            "a Parquet file that this tool did not make"
        }
    };
    anyhow!("{place}: is {what}, and would be lost; choose another place with -o")
}

/// Checks that the old file and the new file are indexes of the same shard. `there` is the shard of the old file, or `None`
/// if the old file has no metadata. A file without metadata passes the check. For an index of all documents, the shard is
/// `None`.
pub fn check_shard(place: &Place, there: Option<Option<Shard>>, wanted: Option<Shard>) -> anyhow::Result<()> {
    match there {
        Some(there) if there != wanted => {
            let what = there
                .map_or("has all documents, not a shard".to_owned(), |shard| format!("is shard {shard}"));
            bail!(
                "{place}: {what}, and would be lost; choose another place with -o, or remove the file first"
            )
        }
        _ => Ok(()),
    }
}
