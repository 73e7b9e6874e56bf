//! The worker process. It reads requests or a file from standard input and writes answers to standard output, within limits
//! on time and memory.

use std::io::{self, BufRead, BufWriter, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;

use super::confine::confine;
use super::document::Limits;
use super::extract::extract;
use super::fields;
use super::picture::Pictures;
use super::rows::parquet::{self, ParquetTable};
use super::rows::stdin::StdinFile;
use super::worker::{Assignment, Part, Request, Response, Sent, Task};
use crate::error::ContentError;
use crate::interrupt;

/// Maximum number of rows per answer.
const SENT_ROWS: usize = 256;
/// Size at which an answer is complete, in bytes of rows. No more rows are added to a complete answer.
const SENT_BYTES: usize = 64 << 10;

/// Does the task of an [`Assignment`], which is JSON, until standard input ends.
///
/// # Errors
/// A request cannot be read or an answer cannot be written, because the run has ended.
pub fn serve(assignment: &str) -> io::Result<()> {
    interrupt::ignore()?;
    // A worker that is busy with a document does not notice the end of the run, so the kernel must end the worker.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let Assignment { task, memory } = serde_json::from_str(assignment)?;
    let confinement = confine(memory)?;
    let mut answers = BufWriter::new(io::stdout().lock());
    match task {
        Task::Extract => extract_texts(&mut answers)?,
        Task::Rows { fields, limits, is_root } => {
            let file = StdinFile::new()?;
            limit_seconds(limits.seconds)?;
            let table = guarded(parquet::NAME, || ParquetTable::open(file, &fields, limits, is_root));
            send_rows(table, limits, &mut answers)?;
        }
        Task::Confinement => answer(&mut answers, &Ok(confinement))?,
    }
    answers.flush()
}

/// Answers requests until standard input ends.
fn extract_texts(answers: &mut impl Write) -> io::Result<()> {
    let mut requests = io::stdin().lock();
    let mut line = String::new();
    while requests.read_line(&mut line)? > 0 {
        let Request { format, bytes, limits, wants_fields, draws } = serde_json::from_str(&line)?;
        limit_seconds(limits.seconds)?;
        let mut content = Vec::new();
        requests.by_ref().take(bytes).read_to_end(&mut content)?;
        let mut sent = Ok(());
        let mut send = |picture| {
            let part = Ok(Part::Picture(picture));
            if sent.is_ok() {
                let done = answer(answers, &part).and_then(|()| answers.flush());
                sent = done.and_then(|()| limit_seconds(limits.seconds));
            }
        };
        let pictures = draws.then_some(&mut send as &mut Pictures);
        let extracted = guarded(format.name(), || extract(format, &content, limits, wants_fields, pictures));
        sent?;
        answer(answers, &extracted.map(Part::Text))?;
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

/// Limits the processor time of this process: after this call, the process may use `seconds` more seconds, and at most one
/// second beyond that. SIGXCPU then ends the process.
fn limit_seconds(seconds: u64) -> io::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime).tv_sec as u64;
    let mut limit = getrlimit(Resource::Cpu);
    limit.current =
        Some(used.saturating_add(seconds).saturating_add(1)).min(limit.maximum.or(Some(u64::MAX)));
    Ok(setrlimit(Resource::Cpu, limit)?)
}
