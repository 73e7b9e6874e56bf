//! Helpers of both benchmarks.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Returns the path of a file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Reads a JSON Lines file of the repository.
pub fn json_lines<T: for<'a> Deserialize<'a>>(path: &str) -> Vec<T> {
    let text = fs::read_to_string(repository(path)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Lists all readable files below a folder, sorted by name.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().filter_map(Result::ok);
    entries.filter(|entry| entry.file_type().is_file()).map(|entry| entry.into_path()).collect()
}

/// Returns the CPU seconds, user and system, of this process and of the child processes that have ended (`man 5 proc`).
pub fn cpu_seconds() -> f64 {
    /// Clock ticks per second. Linux reports CPU times in hundredths on every architecture.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let times = after_name.split_whitespace().skip(11).take(4);
    times.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / TICKS_PER_SECOND
}

/// Returns the argument after `cargo bench --bench NAME --`, or an empty text. Cargo adds options of its own.
pub fn argument() -> String {
    std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default()
}
