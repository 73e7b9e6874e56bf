//! What a worker does: requests in, answers out, within its limits.

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

/// Rows that are sent together, or as many as come to so many bytes.
const SENT_ROWS: usize = 256;
const SENT_BYTES: usize = 64 << 10;

/// Answers until nobody asks any more.
///
/// # Errors
/// A request that cannot be read or an answer that cannot be written: the other process is gone.
pub fn serve() -> io::Result<()> {
    interrupt::ignore()?;
    // In the middle of a document it would not see that nobody asks any more.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    limit_resources()?;
    let mut requests = io::stdin().lock();
    let mut answers = BufWriter::new(io::stdout().lock());
    let mut line = String::new();
    while requests.read_line(&mut line)? > 0 {
        match serde_json::from_str(&line)? {
            Request::Extract { markup, bytes, limits, front_matter } => {
                // The limit of the other process is of no use once that is gone.
                limit_seconds(limits.seconds)?;
                let mut content = Vec::new();
                requests.by_ref().take(bytes).read_to_end(&mut content)?;
                let extracted = guarded(markup.name(), || extract(markup, &content, limits, front_matter));
                answer(&mut answers, &extracted)?;
            }
            Request::Rows { path, fields, limits, is_root } => {
                limit_seconds(limits.seconds)?;
                let table =
                    guarded(parquet::KIND, || ParquetTable::open(Path::new(&path), &fields, limits, is_root));
                send_rows(table, limits, &mut answers)?;
            }
        }
        answers.flush()?;
        line.clear();
    }
    Ok(())
}

fn send_rows(table: Response<ParquetTable>, limits: Limits, answers: &mut impl Write) -> io::Result<()> {
    let mut table = match table {
        Ok(table) => table,
        Err(e) => return answer::<()>(answers, &Err(e)),
    };
    answer(answers, &Ok(()))?;
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

fn take_rows(table: &mut ParquetTable) -> Sent {
    let mut sent = Sent::new();
    let mut bytes = 0;
    while sent.len() < SENT_ROWS && bytes < SENT_BYTES {
        let row = guarded(parquet::KIND, || table.next().transpose());
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

/// A panic is a reader's way to say that a file is damaged.
fn guarded<T>(kind: &str, read: impl FnOnce() -> Response<T>) -> Response<T> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        Err(ContentError::Damaged { kind: kind.to_owned(), reason: "its reader gave up".to_owned() })
    })
}

fn answer<T: Serialize>(answers: &mut impl Write, answer: &Response<T>) -> io::Result<()> {
    serde_json::to_writer(&mut *answers, answer)?;
    answers.write_all(b"\n")
}

fn limit_resources() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = |resource, max: u64| {
        let max = Some(getrlimit(resource).maximum.map_or(max, |hard| hard.min(max)));
        setrlimit(resource, Rlimit { current: max, maximum: max })
    };
    limit(Resource::As, MEMORY_MAX)?;
    // A crash is expected now and then; it leaves nothing on disk.
    Ok(limit(Resource::Core, 0)?)
}

/// So much more time on the processor.
fn limit_seconds(seconds: u64) -> io::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime).tv_sec as u64;
    let mut limit = getrlimit(Resource::Cpu);
    limit.current =
        Some(used.saturating_add(seconds).saturating_add(1)).min(limit.maximum.or(Some(u64::MAX)));
    Ok(setrlimit(Resource::Cpu, limit)?)
}
