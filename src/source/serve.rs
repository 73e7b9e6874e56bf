//! The worker process. It reads requests or a file from standard input and writes answers to standard output, within limits
//! on time and memory.

use std::io::{self, BufRead, BufWriter, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;

use super::collection;
use super::collection::outbox::{Outbox, Sent};
use super::collection::reader::CollectionRequest;
use super::collection::stdin::StdinFile;
use super::confine::confine;
use super::extract::extract;
use super::worker::{Assignment, Request, Response, Task};
use crate::error::ContentError;
use crate::interrupt;

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
        Task::Collection(request) => read_collection(&request, &mut answers)?,
        Task::Confinement => answer(&mut answers, &Ok(confinement))?,
    }
    answers.flush()
}

/// Answers requests until standard input ends.
fn extract_texts(answers: &mut impl Write) -> io::Result<()> {
    let mut requests = io::stdin().lock();
    let mut line = String::new();
    while requests.read_line(&mut line)? > 0 {
        let Request { format, bytes, limits, page_part, wants_fields } = serde_json::from_str(&line)?;
        limit_seconds(limits.seconds)?;
        let mut content = Vec::new();
        requests.by_ref().take(bytes).read_to_end(&mut content)?;
        let read = || extract(format, &content, limits, page_part, wants_fields);
        let extracted = guarded(format.name(), read).flatten();
        answer(answers, &extracted)?;
        answers.flush()?;
        line.clear();
    }
    Ok(())
}

/// Sends the documents of a file in groups.
fn read_collection(request: &CollectionRequest, answers: &mut impl Write) -> io::Result<()> {
    let (format, seconds) = (request.format.name(), request.limits.seconds);
    limit_seconds(seconds)?;
    let file = StdinFile::new()?;
    let collection = match guarded(format, || collection::open(file, request)).flatten() {
        Ok(collection) => collection,
        Err(e) => return answer::<()>(answers, &Err(e)),
    };
    let mut send = |sent: &Sent| {
        answer(answers, &Ok(sent))?;
        answers.flush()?;
        limit_seconds(seconds)
    };
    let mut outbox = Outbox::new(&mut send);
    let end = match guarded(format, || collection.read(&mut outbox)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(e)) => Err(e.downcast::<ContentError>()?),
        Err(crashed) => Err(crashed),
    };
    outbox.end(end)
}

/// Runs a parser. A panic of the parser is reported as a damaged file.
fn guarded<T>(format: &str, read: impl FnOnce() -> T) -> Response<T> {
    catch_unwind(AssertUnwindSafe(read)).map_err(|_| {
        let reason = "its content makes the parser crash".to_owned();
        ContentError::Damaged { kind: format.to_owned(), reason }
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
