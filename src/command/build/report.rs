//! A run of `build` for programs: the file of `--report`, whose schema is `docs/report.schema.json`.

use std::fs;

use serde::Serialize;

use crate::console::NamedFailure;
use crate::index::Fingerprint;
use crate::pipeline::Tally;
use crate::pipeline::Work;
use crate::shard::Shard;

/// A run, for programs: `docs/report.schema.json` says what each part is.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Of this report's form.
    pub format: u32,
    /// `qwen3-index` and its version.
    pub tool: &'static str,
    /// When it began, by the machine's clock.
    pub started: String,
    /// The output.
    pub output: String,
    /// Which share of the documents was taken, as I/N; all of them where there is none.
    pub shard: Option<Shard>,
    /// Whether nothing was embedded or written.
    pub dry_run: bool,
    /// As of the process.
    pub exit_code: u8,
    /// What ended the run, if it did not come to its end.
    pub error: Option<String>,
    /// What became of the documents.
    pub documents: Tally,
    /// What the model had to do.
    #[serde(flatten)]
    pub work: Work,
    /// While it was at work.
    pub tokens_per_second: Option<f64>,
    /// Vectors that an interrupted run had made.
    pub chunks_resumed: usize,
    /// What is in the output, once it is in place.
    pub rows: Option<RowCounts>,
    /// By the clock on the wall, for each stage; reading goes on beside the others.
    pub seconds: Seconds,
    /// Of this process at its largest, where the system tells.
    pub peak_memory_bytes: Option<u64>,
    /// What the vectors depend on, once it is known.
    pub fingerprint: Option<Fingerprint>,
    /// The first of them.
    pub failures: Vec<NamedFailure>,
    /// The first of their ids.
    pub stale: Vec<String>,
}

/// RowCounts of the output.
#[derive(Debug, Serialize)]
pub struct RowCounts {
    /// In it.
    pub total: usize,
    /// With new ids.
    pub added: usize,
    /// With other texts, vectors or kept values.
    pub changed: usize,
    /// That it had before.
    pub removed: usize,
    /// Size of the file.
    pub bytes: u64,
}

/// Seconds.
#[derive(Debug, Default, Serialize)]
pub struct Seconds {
    /// Checking the old output.
    pub old_output: f64,
    /// Loading the model, or finding out that it is the same.
    pub model: f64,
    /// In the model.
    pub embedding: f64,
    /// Writing, checking and putting in place.
    pub writing: f64,
    /// All of it.
    pub total: f64,
}

/// Bytes of memory that this process has had at most.
pub fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?;
    Some(kib.parse::<u64>().ok()? << 10)
}
