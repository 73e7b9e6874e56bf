//! What a run holds from its start to its end: the lock, the place of the index and the place of the delta.

use std::sync::Arc;

use crate::cli::BuildArguments;
use crate::command::setup::output;
use crate::command::setup::target::Target;
use crate::console::{LogFormat, Reporter};
use crate::index::{DELTA, INDEX, IndexFile, IndexFileError, Metadata};
use crate::storage::lock::Lock;
use crate::storage::object::Stores;
use crate::storage::place::Place;

/// The places that a run writes to, and the lock on them.
pub struct Session {
    output: Target,
    delta_output: Option<Target>,
    /// Where the index is put.
    pub place: Place,
    /// Where the delta is put.
    pub delta: Option<Place>,
    /// `None` in a dry run, and on a file system without locks.
    lock: Option<Lock>,
}

impl Session {
    /// Takes the lock and looks at what is in the places.
    ///
    /// # Errors
    /// Another run holds the lock, or a place cannot be written.
    pub fn open(
        arguments: &BuildArguments,
        stores: &mut Stores,
        reporter: &Arc<Reporter>,
    ) -> anyhow::Result<Self> {
        let mut output = Target::new("output", &arguments.output, &INDEX, stores)?;
        let delta_output = match &arguments.delta {
            Some(path) => Some(Target::new("--delta", path, &DELTA, stores)?.look()?),
            None => None,
        };
        let delta = delta_output.as_ref().map(Target::place).transpose()?;
        // A dry run fetches a copy of an object too, so it needs the lock on that copy.
        let needs_lock = !arguments.dry_run || output.is_object();
        let warn = |warning: &str| reporter.warn(warning);
        let lock = if needs_lock { output::lock(&output.place()?, &warn)? } else { None };
        output.fetch(reporter.format())?;
        // Another run may have changed the file until the lock was taken.
        let place = output.place()?;
        if let (Some(delta), Some(_)) = (&delta, &lock) {
            delta.clean()?;
        }
        Ok(Session { output, delta_output, place, delta, lock })
    }

    /// Whether the run before this one died before its end.
    pub fn was_left(&self) -> bool {
        self.lock.as_ref().is_some_and(|lock| lock.was_left)
    }

    /// Reads the index of the last run. `None` if there is none, or if it is damaged: then it is kept under another name.
    ///
    /// # Errors
    /// The file is not an index of the same documents, and would be lost.
    pub fn read_old(
        &mut self,
        arguments: &BuildArguments,
        reporter: &Reporter,
    ) -> anyhow::Result<Option<IndexFile>> {
        if !self.place.is_taken() {
            return Ok(None);
        }
        match IndexFile::open(self.place.path()) {
            Ok(file) => {
                let shard = |metadata: &Metadata| metadata.shard;
                output::check_shard(&self.place, file.metadata().map(shard), arguments.reading.shard)?;
                Ok(Some(file))
            }
            Err(error @ (IndexFileError::Foreign | IndexFileError::Delta)) => {
                Err(output::would_be_lost(&self.place, &error))
            }
            Err(IndexFileError::Damaged(e)) => {
                let kept = self.place.plan_backup();
                let (place, kept) = (&self.place, kept.display());
                let will = if arguments.dry_run { "would be" } else { "will be" };
                let delta = if arguments.delta.is_some() { "; the delta has all rows" } else { "" };
                reporter.warn(&format!(
                    "{place}: is damaged ({e:#}); all texts are embedded again{delta}, and the file {will} kept as {kept}"
                ));
                Ok(None)
            }
        }
    }

    /// Uploads what was written for an object: the delta before the index that it leads to.
    ///
    /// # Errors
    /// The store does not take it.
    pub fn upload(&self, format: Option<LogFormat>) -> anyhow::Result<()> {
        self.delta_output.iter().chain([&self.output]).try_for_each(|target| target.upload(format))
    }

    /// Gives the lock back.
    pub fn close(self, has_failed: bool) {
        if let (Some(lock), true) = (self.lock, has_failed && self.output.is_object()) {
            // The store may have taken the object all the same, and then the next run must not remove the delta that leads to it.
            lock.leave();
        }
    }
}
