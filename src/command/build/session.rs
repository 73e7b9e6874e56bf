//! Locks the places of the index and the delta for the whole run, reads the old index there, and uploads the new files.

use std::sync::Arc;

use crate::cli::BuildArguments;
use crate::command::setup::output;
use crate::command::setup::target::Target;
use crate::console::{LogFormat, Reporter};
use crate::index::{DELTA, INDEX, IndexFile, IndexFileError, Metadata, Part};
use crate::storage::lock::Lock;
use crate::storage::object::Stores;
use crate::storage::place::Place;

/// The places of the files that a run writes, and the lock on these places.
pub struct Session {
    output: Target,
    delta_output: Option<Target>,
    /// The place of the index.
    pub place: Place,
    /// The place of the delta, with `--delta`.
    pub delta: Option<Place>,
    /// `None` in a dry run with a local output, and on a file system without locks.
    lock: Option<Lock>,
}

impl Session {
    /// Takes the lock, and checks which files already exist at the places.
    ///
    /// # Errors
    /// Another run holds the lock, or no file can be written at one of the places.
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
        delta.as_ref().filter(|_| !arguments.dry_run).map_or(Ok(()), Place::check_writable)?;
        // If the output is an object, a dry run also downloads a local copy, so the dry run needs the lock on this copy.
        let needs_lock = !arguments.dry_run || output.is_object();
        let warn = |warning: &str| reporter.warn(warning);
        let lock = if needs_lock { output::lock(&output.place()?, &warn)? } else { None };
        output.fetch(reporter.format())?;
        // Another run may have changed the file before this run took the lock.
        let place = output.place()?;
        if let (Some(delta), Some(_)) = (&delta, &lock) {
            delta.clean()?;
        }
        Ok(Session { output, delta_output, place, delta, lock })
    }

    /// Returns whether the previous run left its lock file behind. A run does so if it is killed, or if it fails and its
    /// output is an object.
    pub fn was_left(&self) -> bool {
        self.lock.as_ref().is_some_and(|lock| lock.was_left)
    }

    /// Returns the file name of the graph that the index of the previous run was made with. Returns `None` if there is no such
    /// index; [`Session::read_old`] says why.
    pub fn old_graph(&self) -> Option<String> {
        let part = Part::open(self.place.path()).ok()?;
        part.metadata().map(|metadata| metadata.model_file.clone())
    }

    /// Reads the index of the previous run. Returns `None` if there is no index, or if the index is damaged. A damaged index
    /// will be renamed, not deleted.
    ///
    /// # Errors
    /// The place has a file that is not an index, or an index of another shard. The run would overwrite this file.
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
                    "{place}: is damaged ({e:#}); all texts are embedded again{delta}, and the damaged file {will} kept as {kept}"
                ));
                Ok(None)
            }
        }
    }

    /// Uploads the outputs that are objects: first the delta, then the index.
    ///
    /// # Errors
    /// The store does not accept an upload.
    pub fn upload(&self, format: Option<LogFormat>) -> anyhow::Result<()> {
        self.delta_output.iter().chain([&self.output]).try_for_each(|target| target.upload(format))
    }

    /// Releases the lock. If the run has failed and the output is an object, the lock file stays.
    pub fn close(self, has_failed: bool) {
        if let (Some(lock), true) = (self.lock, has_failed && self.output.is_object()) {
            // A failed upload may still have changed the object. The lock file tells the next run to keep the delta that
            // belongs to the changed object.
            lock.leave();
        }
    }
}
