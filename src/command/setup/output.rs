//! What all commands that write an index have in common: where it is put, and what would be lost there.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail, ensure};
use rustix::io::Errno;

use crate::console::HumanCount;
use crate::error::Usage;
use crate::index::{INDEX, IndexFileError, Part};
use crate::shard::Shard;
use crate::storage::lock::{Lock, LockError};
use crate::storage::object::Url;
use crate::storage::place::Place;

/// A file that belongs to an output while a run is at work, or was killed.
const LOCK: &str = "lock";

/// What is written must be neither what is read nor what else is written. `outputs` with the options that name them.
pub fn check_files(inputs: &[PathBuf], outputs: &[(&str, Option<&PathBuf>)]) -> Result<(), Usage> {
    // A file that is new has no real path yet.
    let real = |path: &Path| {
        let new = || Some(path.parent()?.join(".").canonicalize().ok()?.join(path.file_name()?));
        path.canonicalize().ok().or_else(new).unwrap_or_else(|| path.to_owned())
    };
    let mut taken: Vec<(PathBuf, String)> =
        inputs.iter().map(|input| (real(input), format!("input {}", input.display()))).collect();
    for (option, path) in outputs {
        let Some(path) = path else { continue };
        if let Some((_, other)) = taken.iter().find(|(there, _)| *there == real(path)) {
            return Err(Usage(format!("{other}: is the output too; name another with {option}")));
        }
        taken.push((real(path), format!("{option} {}", path.display())));
    }
    Ok(())
}

/// `None`, and a warning, where the file system knows no locks.
pub fn lock(place: &Place, warn: &dyn Fn(&str)) -> anyhow::Result<Option<Lock>> {
    match Lock::take(&place.sibling(LOCK), place.sibling_options()) {
        Ok(lock) => {
            place.clean()?;
            Ok(Some(lock))
        }
        Err(LockError::Failed(e)) if has_no_locks(&e) => {
            warn(&format!("{place}: its file system has no locks ({e}); see that no other run writes it"));
            Ok(None)
        }
        Err(LockError::Failed(e)) => Err(place.not_writable(&e)),
        Err(held) => Err(anyhow::Error::new(held).context(place.to_string())),
    }
}

fn has_no_locks(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::Unsupported || e.raw_os_error() == Some(Errno::NOLCK.raw_os_error())
}

/// Holds a place for an index of all documents, and looks at what is there.
pub fn hold(path: &Path, warn: &dyn Fn(&str)) -> anyhow::Result<(Option<Lock>, Place, Option<Part>)> {
    Url::refuse("output", path)?;
    let look = || Place::new("output", path, &INDEX);
    let lock = lock(&look()?, warn)?;
    // Again, since another run may have had the lock until now.
    let mut place = look()?;
    let old = check_old(&mut place, warn)?;
    Ok((lock, place, old))
}

/// What is there must be an index of all documents, or damaged, and then it is kept.
fn check_old(place: &mut Place, warn: &dyn Fn(&str)) -> anyhow::Result<Option<Part>> {
    if !place.is_taken() {
        return Ok(None);
    }
    match Part::open(place.path()) {
        Ok(old) => {
            check_shard(place, old.metadata().map(|metadata| metadata.shard), None)?;
            Ok(Some(old))
        }
        Err(IndexFileError::Damaged(e)) => {
            let kept = place.plan_backup();
            warn(&format!("{place}: is damaged ({e:#}); it will be kept as {}", kept.display()));
            Ok(None)
        }
        Err(error) => Err(would_be_lost(place, &error)),
    }
}

/// An index is not replaced by nothing; `why` there is nothing.
pub fn check_rows(place: &Place, old: Option<&Part>, rows: u64, why: &str) -> anyhow::Result<()> {
    let there = old.map_or(0, Part::rows);
    ensure!(
        there == 0 || rows > 0,
        "{place}: {why}, and the {} rows that are there would be lost; remove it first, if that is meant",
        HumanCount(there.into())
    );
    Ok(())
}

/// What is there is no index of this tool's.
pub fn would_be_lost(place: &Place, what: &IndexFileError) -> anyhow::Error {
    let what = match what {
        IndexFileError::Delta => "a delta",
        _ => "a Parquet file that this tool did not make",
    };
    anyhow!("{place}: is {what}, and would be lost; choose another place with -o")
}

/// What is there must be the same share of the documents as what is to be put there; unless it does not say.
pub fn check_shard(place: &Place, there: Option<Option<Shard>>, wanted: Option<Shard>) -> anyhow::Result<()> {
    match there {
        Some(there) if there != wanted => {
            let what = there
                .map_or("has all documents, not a shard".to_owned(), |shard| format!("is shard {shard}"));
            bail!("{place}: {what}, and would be lost; choose another place with -o, or remove it first")
        }
        _ => Ok(()),
    }
}
