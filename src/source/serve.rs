//! The worker process. It reads requests from standard input and writes answers to standard output, within limits on time
//! and memory.

use std::io::{self, BufRead, BufWriter, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde::Serialize;

use super::document::Limits;
use super::extract::extract;
use super::fields;
use super::rows::parquet::{self, ParquetTable};
use super::worker::{MEMORY_MAX, Request, Response, Sent};
use crate::error::ContentError;
use crate::interrupt;

/// Maximum number of rows per answer.
const SENT_ROWS: usize = 256;
/// Size at which an answer is complete, in bytes of rows. No more rows are added to a complete answer.
const SENT_BYTES: usize = 64 << 10;

/// Answers requests until standard input ends.
///
/// # Errors
/// A request cannot be read or an answer cannot be written, because the run has ended.
pub fn serve() -> io::Result<()> {
    interrupt::ignore()?;
    // A worker that is busy with a document does not notice the end of the run, so the kernel must end the worker.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    limit_resources()?;
    let mut requests = io::stdin().lock();
    let mut answers = BufWriter::new(io::stdout().lock());
    let mut line = String::new();
    while requests.read_line(&mut line)? > 0 {
        match serde_json::from_str(&line)? {
            Request::Extract { format, bytes, limits, front_matter } => {
                // The parent process also limits the time, but the parent process may end before the worker.
                limit_seconds(limits.seconds)?;
                let mut content = Vec::new();
                requests.by_ref().take(bytes).read_to_end(&mut content)?;
                let extracted = guarded(format.name(), || extract(format, &content, limits, front_matter));
                answer(&mut answers, &extracted)?;
            }
            Request::Rows { path, fields, limits, is_root } => {
                limit_seconds(limits.seconds)?;
                let table =
                    guarded(parquet::NAME, || ParquetTable::open(Path::new(&path), &fields, limits, is_root));
                send_rows(table, limits, &mut answers)?;
            }
        }
        answers.flush()?;
        line.clear();
    }
    Ok(())
}

/// Sends the rows of a table in groups, until the end of the table or the first damaged row.
fn send_rows(table: Response<ParquetTable>, limits: Limits, answers: &mut impl Write) -> io::Result<()> {
    let mut table = match table {
        Ok(table) => table,
        Err(e) => return answer::<()>(answers, &Err(e)),
    };
    answer(answers, &Ok(table.row_count()))?;
    loop {
        answers.flush()?;
        limit_seconds(limits.seconds)?;
        let sent = take_rows(&mut table);
        answer(answers, &Ok(&sent))?;
        if !matches!(sent.last(), Some(Ok(_) | Err(ContentError::TooLarge { .. }))) {
            return Ok(());
        }
    }
}

/// Reads the next group of rows.
fn take_rows(table: &mut ParquetTable) -> Sent {
    let mut sent = Sent::new();
    let mut bytes = 0;
    while sent.len() < SENT_ROWS && bytes < SENT_BYTES {
        let row = guarded(parquet::NAME, || table.next().transpose());
        let Some(row) = row.transpose() else { break };
        bytes += row.as_ref().map_or(0, fields::bytes);
        let is_damaged = matches!(&row, Err(e) if !matches!(e, ContentError::TooLarge { .. }));
        sent.push(row);
        if is_damaged {
            break;
        }
    }
    sent
}

/// Runs a parser. A panic of the parser is reported as a damaged file.
fn guarded<T>(format: &str, read: impl FnOnce() -> Response<T>) -> Response<T> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        let reason = "its content makes the parser crash".to_owned();
        Err(ContentError::Damaged { kind: format.to_owned(), reason })
    })
}

fn answer<T: Serialize>(answers: &mut impl Write, answer: &Response<T>) -> io::Result<()> {
    serde_json::to_writer(&mut *answers, answer)?;
    answers.write_all(b"\n")
}

/// Limits the memory of this process, and turns off core dumps.
fn limit_resources() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = |resource, max: u64| {
        let max = Some(getrlimit(resource).maximum.map_or(max, |hard| hard.min(max)));
        setrlimit(resource, Rlimit { current: max, maximum: max })
    };
    limit(Resource::As, MEMORY_MAX)?;
    // Damaged files crash workers from time to time, and core dumps would fill the disk.
    Ok(limit(Resource::Core, 0)?)
}

/// Limits the processor time of this process: after this call, the process may use about `seconds` more seconds.
fn limit_seconds(seconds: u64) -> io::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime).tv_sec as u64;
    let mut limit = getrlimit(Resource::Cpu);
    limit.current =
        Some(used.saturating_add(seconds).saturating_add(1)).min(limit.maximum.or(Some(u64::MAX)));
    Ok(setrlimit(Resource::Cpu, limit)?)
}
