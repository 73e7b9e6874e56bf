//! Locks the places of the index and the delta for the whole run, reads the old index there, and uploads the new files.

use std::sync::Arc;

use anyhow::ensure;

use crate::cli::BuildArguments;
use crate::command::setup::output;
use crate::command::setup::target::Target;
use crate::console::{LogFormat, Reporter, counted, debug};
use crate::index::{
    Changes, DELTA, DeltaOutput, INDEX, IndexFile, IndexFileError, IndexWriter, Metadata, Part, Written,
};
use crate::pipeline::OldOutput;
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
    /// Whether the note of an earlier run stays when this run has ended well.
    keeps_note: bool,
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
        if !needs_lock {
            debug(|| "lock: none, because a dry run writes nothing".to_owned());
        }
        output.fetch(reporter.format())?;
        // Another run may have changed the file before this run took the lock.
        let place = output.place()?;
        if let (Some(delta), Some(_)) = (&delta, &lock) {
            delta.clean()?;
        }
        output::check_name(&place, &arguments.output, &warn);
        if let (Some(delta), Some(named)) = (&delta, &arguments.delta) {
            output::check_name(delta, named, &warn);
        }
        Ok(Session { output, delta_output, place, delta, lock, keeps_note: false })
    }

    /// Completes the index and puts it in place, with the delta. Notes the content of the new index beside the output until the
    /// run has ended, so that a run after a killed one knows that nobody has been told of the delta.
    ///
    /// # Errors
    /// The errors of [`IndexWriter::publish`].
    pub fn publish(
        &mut self,
        writer: IndexWriter,
        stale: u32,
        outdated: Vec<String>,
    ) -> anyhow::Result<Written> {
        let (place, lock) = (&self.place, &mut self.lock);
        let unreported = lock.as_ref().and_then(Lock::note).map(str::to_owned);
        let mut remember = |content: &str| match lock.as_mut() {
            Some(lock) => lock.set_note(Some(content.to_owned())).map_err(|e| place.not_writable(&e)),
            None => Ok(()),
        };
        let delta = self.delta.as_ref();
        let delta =
            delta.map(|place| DeltaOutput { place, unreported: unreported.clone(), remember: &mut remember });
        let mut written = writer.publish(delta, stale, outdated);
        match &mut written {
            Ok(written) => {
                if let Some(delta) = &self.delta {
                    let Changes { added, changed, removed } = &written.changes;
                    let rows = (added.len() + changed.len() + removed.len()) as u64;
                    debug(|| format!("{delta}: {}", counted(rows, "row")));
                }
                if let (Some(unreported), None) = (unreported, &self.delta) {
                    self.keeps_note = written.content == unreported;
                    written.published.warnings.extend(about_unreported(self.keeps_note, written.is_new));
                }
            }
            Err(_) => {
                // The run fails with the error that it has. A note about a file that is not in place is harmless.
                let _ = lock.as_mut().map(|lock| lock.set_note(unreported));
            }
        }
        written
    }

    /// Returns the metadata of the index of the previous run, without reading its rows. Returns `None` if there is no index, or
    /// if its footer cannot be used; [`Session::read_old`] says why.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn old_metadata(&self) -> anyhow::Result<Option<Metadata>> {
        if !self.place.is_taken() {
            return Ok(None);
        }
        match Part::open(self.place.path()) {
            Ok(part) => Ok(part.metadata().cloned()),
            Err(error @ IndexFileError::Unreadable(_)) => Err(output::not_replaceable(&self.place, error)),
            Err(_) => Ok(None),
        }
    }

    /// Reads the index of the previous run. A damaged index will be renamed, not deleted.
    ///
    /// # Errors
    /// The file cannot be read, is not an index, or is an index of another shard. The file is damaged, and its rows cannot be
    /// counted, so nothing would stop the loss of most documents.
    pub fn read_old(
        &mut self,
        arguments: &BuildArguments,
        reporter: &Reporter,
    ) -> anyhow::Result<OldOutput<IndexFile>> {
        if !self.place.is_taken() {
            debug(|| format!("{}: does not exist yet, so no vector can be reused", self.place));
            return Ok(OldOutput::Absent);
        }
        match IndexFile::open(self.place.path()) {
            Ok(file) => {
                let shard = |metadata: &Metadata| metadata.shard;
                output::check_shard(&self.place, file.metadata().map(shard), arguments.reading.shard)?;
                Ok(OldOutput::Index(file))
            }
            Err(IndexFileError::Damaged(damage)) => {
                let kept = self.place.plan_backup()?;
                let (place, kept) = (&self.place, kept.display());
                ensure!(
                    damage.rows.is_some() || arguments.allow_shrink,
                    "{place}: is damaged ({damage}), and does not say how many rows it had; put a backup in its place, or embed all texts again with --allow-shrink (the damaged file would be kept as {kept})"
                );
                let will = if arguments.dry_run { "would be" } else { "will be" };
                let delta = if arguments.delta.is_some() { "; the delta has all rows" } else { "" };
                reporter.warn(&format!(
                    "{place}: is damaged ({damage}); all texts are embedded again{delta}, and the damaged file {will} kept as {kept}"
                ));
                Ok(OldOutput::Damaged { rows: damage.rows.unwrap_or(0) })
            }
            Err(error) => Err(output::not_replaceable(&self.place, error)),
        }
    }

    /// Uploads the outputs that are objects: first the delta, then the index.
    ///
    /// # Errors
    /// The store does not accept an upload.
    pub fn upload(&self, format: Option<LogFormat>) -> anyhow::Result<Vec<String>> {
        let targets = self.delta_output.iter().chain([&self.output]);
        let warnings: Vec<Option<String>> =
            targets.map(|target| target.upload(format)).collect::<anyhow::Result<_>>()?;
        Ok(warnings.into_iter().flatten().collect())
    }

    /// Releases the lock, and forgets the note unless it is about a delta that nobody has been told of.
    pub fn close(self) {
        self.lock.into_iter().filter(|_| !self.keeps_note).for_each(Lock::release);
    }
}

/// Returns the warning of a run without `--delta` about the delta of an interrupted run. `leads_here` says whether that delta leads to
/// the output.
fn about_unreported(leads_here: bool, is_new: bool) -> Option<String> {
    let what = match (leads_here, is_new) {
        (true, _) => "the next run with --delta keeps it",
        (false, true) => {
            "it does not lead to the new output; load the whole output where the delta would have been applied"
        }
        // The delta leads to a file that was never put in place.
        (false, false) => return None,
    };
    Some(format!("a delta of an interrupted run has not been reported; {what}"))
}
