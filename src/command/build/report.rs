//! Writes the JSON file of `--report`. The schema of the file is `docs/report.schema.json`.

use std::fs;
use std::io::Write as _;

use serde::Serialize;

use crate::cli::BuildArguments;
use crate::command::advice::explained_run;
use crate::command::process::{Exit, TOOL};
use crate::command::setup::target::Target;
use crate::console::{NamedFailure, Reporter, without_secrets};
use crate::index::{Fingerprint, Written};
use crate::pipeline::{Tally, Work};
use crate::shard::Shard;
use crate::storage::object::Stores;
use crate::storage::place::{FileKind, Place};

const REPORT: FileKind = FileKind { name: "JSON", magic: b"{", replaces_damaged: false };

/// The version of the schema.
const FORMAT: u32 = 1;

/// The results of a run so far. The report contains these results even if the run ends early.
#[derive(Default)]
pub struct BuildOutcome {
    /// `None` until the model is known.
    pub fingerprint: Option<Fingerprint>,
    pub documents: Tally,
    pub work: Work,
    /// The number of vectors that were taken from the journal of an interrupted run.
    pub chunks_resumed: usize,
    /// `None` until the output is in place.
    pub rows: Option<RowCounts>,
    pub seconds: Seconds,
}

/// The report. The schema describes each member.
#[derive(Serialize)]
pub struct Report<'a> {
    format: u32,
    tool: &'static str,
    started: &'a str,
    output: String,
    shard: Option<Shard>,
    dry_run: bool,
    exit_code: u8,
    error: Option<String>,
    documents: &'a Tally,
    #[serde(flatten)]
    work: &'a Work,
    tokens_per_second: Option<f64>,
    chunks_resumed: usize,
    rows: &'a Option<RowCounts>,
    seconds: Seconds,
    peak_memory_bytes: Option<u64>,
    fingerprint: &'a Option<Fingerprint>,
    failures: Vec<NamedFailure>,
    stale: Vec<String>,
}

/// The row counts of the output.
#[derive(Debug, Clone, Serialize)]
pub struct RowCounts {
    pub total: usize,
    /// The number of new rows with an id that the old output does not have.
    pub added: usize,
    /// The number of new rows with an id that the old output also has, but with another text, vector or kept value.
    pub changed: usize,
    /// The number of old rows with an id that the new output does not have.
    pub removed: usize,
    /// The size of the output, in bytes.
    pub bytes: u64,
}

/// Wall time of each stage, in seconds.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub struct Seconds {
    pub old_output: f64,
    pub model: f64,
    pub embedding: f64,
    pub writing: f64,
    pub total: f64,
}

impl RowCounts {
    /// Returns the row counts of a file that has been put in place.
    pub fn of(written: &Written) -> Self {
        let Written { rows, bytes, changes, .. } = written;
        let [added, changed, removed] = [&changes.added, &changes.changed, &changes.removed].map(Vec::len);
        RowCounts { total: *rows, added, changed, removed, bytes: *bytes }
    }
}

impl<'a> Report<'a> {
    /// Makes the report of a run that began at `started` and ended with `result`.
    pub fn new(
        arguments: &BuildArguments,
        started: &'a str,
        outcome: &'a BuildOutcome,
        result: &anyhow::Result<Exit>,
        reporter: &Reporter,
    ) -> Self {
        let BuildOutcome { fingerprint, documents, work, chunks_resumed, rows, seconds } = outcome;
        let (failures, stale) = reporter.take_names();
        Report {
            format: FORMAT,
            tool: TOOL,
            started,
            output: without_secrets(&arguments.output.to_string_lossy()).into_owned(),
            shard: arguments.reading.shard,
            dry_run: arguments.dry_run,
            exit_code: result.as_ref().map_or_else(Exit::of, |&exit| exit) as u8,
            error: result.as_ref().err().map(explained_run),
            documents,
            work,
            tokens_per_second: work.tokens_per_second(),
            chunks_resumed: *chunks_resumed,
            rows,
            seconds: Seconds {
                embedding: work.embedding.as_secs_f64(),
                total: reporter.elapsed().as_secs_f64(),
                ..*seconds
            },
            peak_memory_bytes: peak_memory(),
            fingerprint,
            failures,
            stale,
        }
    }
}

/// The place where the report is written.
pub struct ReportFile {
    target: Target,
    place: Place,
}

impl ReportFile {
    /// Checks, before the run begins, that the report can be written.
    ///
    /// # Errors
    /// No file can be written at the place, or the place has a file that is not JSON.
    pub fn open(arguments: &BuildArguments, stores: &mut Stores) -> anyhow::Result<Option<Self>> {
        let Some(path) = &arguments.report else { return Ok(None) };
        let target = Target::new("--report", path, &REPORT, stores)?.look()?;
        let place = target.place()?;
        place.check_writable()?;
        Ok(Some(ReportFile { target, place }))
    }

    /// Writes the report and puts it in place.
    ///
    /// # Errors
    /// The report cannot be written or uploaded.
    pub fn write(&self, report: &Report, reporter: &Reporter) -> anyhow::Result<()> {
        self.place.clean()?;
        let mut file = self.place.temporary()?;
        let text = serde_json::to_string_pretty(report)? + "\n";
        file.as_file_mut().write_all(text.as_bytes()).map_err(|e| self.place.cannot_write(&e))?;
        let published = self.place.publish(file)?;
        let warnings = published.warnings.into_iter().chain(self.target.upload(reporter.format())?);
        warnings.for_each(|warning| reporter.warn(&warning));
        Ok(())
    }
}

/// Returns the peak memory of this process, in bytes.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?;
    Some(kib.parse::<u64>().ok()? << 10)
}
