//! Runs parsers in separate processes (workers). If a file makes a parser crash, hang or use too much memory, only that
//! document fails and the run continues.
//!
//! A worker is this program, started with a hidden subcommand and a [`Task`] as its argument. A worker that extracts texts
//! reads requests from standard input. A request is one line of JSON, followed by the bytes of the document. A worker that
//! reads rows has the open file as its standard input. A worker writes answers to standard output. An answer is one line of
//! JSON.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::Signal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::collection::outbox::Sent;
use super::collection::reader::CollectionRequest;
use super::confine::Confinement;
use super::document::{Limits, PagePart};
use super::extract::Extracted;
use super::fields::Fields;
use super::format::{CollectionFormat, DocumentFormat};
use crate::error::{ContentError, DocumentError};

/// The hidden subcommand that makes this program a worker.
const SUBCOMMAND: &str = "worker";

/// Maximum address space of the second worker for a document, and of a worker that reads a file with several documents, in
/// bytes. The parsed tree of an ordinary HTML page needs ten times as many bytes as the page.
const MEMORY_MAX: u64 = 2 << 30;

/// Maximum address space of the first worker for a document, in bytes. The main process runs one of them per thread.
const MEMORY_SHARE: u64 = 512 << 20;

/// How many seconds of real time a worker has for each second of processor time that it may use. The processor may be busy
/// with the model, so the processor time decides. The real time ends a worker that waits for a slow disk.
const REAL_TIME_RATIO: u64 = 5;

/// Maximum processor time of a worker that says how it is confined, in seconds.
const CONFINEMENT_SECONDS: u64 = 10;

/// Maximum number of answers per worker that wait in the channel. The maximum is small, because an answer may be as large
/// as a document.
const QUEUE_ANSWERS: usize = 1;

/// Maximum number of bytes in an answer for each byte of a document: the text and the fields may have as many bytes as
/// the document, and JSON may write a byte as `\u0000`.
const ANSWER_RATIO: u64 = 2 * 6;

/// Maximum number of bytes in an answer beside the content of a document, such as the names of fields in a group of rows.
const ANSWER_FRAME: u64 = 64 << 20;

/// How long a request waits before it is tried again to write into a full pipe.
const PIPE_WAIT: Duration = Duration::from_micros(500);

/// What a worker does.
#[derive(Debug, Serialize, Deserialize)]
pub enum Task {
    /// Extracts texts. Each request on standard input is a [`Request`] and a document. The answer to each is one
    /// [`Extracted`].
    Extract,
    /// Reads a file that holds several documents. The file is open as standard input. Each answer is a [`Sent`]. If the first
    /// answer is an error, the file has another format or cannot be opened.
    Collection(CollectionRequest),
    /// Says how the kernel confines the worker. The answer is one [`Confinement`].
    Confinement,
}

/// The argument of a worker.
#[derive(Debug, Serialize, Deserialize)]
pub struct Assignment {
    pub task: Task,
    /// Maximum address space, in bytes.
    pub memory: u64,
}

/// A request to extract the text of a document.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    pub format: DocumentFormat,
    /// The number of bytes of the document. The bytes follow the request.
    pub bytes: u64,
    pub limits: Limits,
    pub page_part: PagePart,
    /// Whether the answer has [`Extracted::fields`].
    pub wants_fields: bool,
}

/// An answer of a worker.
pub type Response<T> = Result<T, ContentError>;

/// The workers of a run. All of them together have at most [`MEMORY_SHARE`] per thread that reads documents, [`MEMORY_MAX`]
/// for one large document, and [`MEMORY_MAX`] for one file that holds several documents.
#[derive(Debug)]
pub struct Workers {
    program: PathBuf,
    limits: Limits,
    page_part: PagePart,
    /// Workers that wait for another document, each with [`MEMORY_SHARE`].
    idle: Mutex<Vec<Worker>>,
    /// Held while a worker with [`MEMORY_MAX`] extracts a text.
    large: Mutex<()>,
}

impl Workers {
    /// Returns an empty pool of workers. `program` is the absolute path of this program.
    pub fn new(program: PathBuf, limits: Limits) -> Self {
        let page_part = PagePart::default();
        Workers { program, limits, page_part, idle: Mutex::default(), large: Mutex::default() }
    }

    /// Sets which part of a web page is extracted.
    pub fn with_page_part(self, page_part: PagePart) -> Self {
        Workers { page_part, ..self }
    }

    /// Extracts the text of a document in a worker. Most documents need little memory, so the first worker has little. If the
    /// document fails there, a second worker decides, which has [`MEMORY_MAX`]. Only one second worker runs at a time.
    ///
    /// # Errors
    /// The document is damaged or exceeds a limit, or no worker can be started.
    pub fn extract(
        &self,
        format: DocumentFormat,
        content: &[u8],
        wants_fields: bool,
    ) -> Result<Extracted, DocumentError> {
        let (limits, page_part) = (self.limits, self.page_part);
        let request = Request { format, bytes: content.len() as u64, limits, page_part, wants_fields };
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut worker = idle.map_or_else(|| self.start(Task::Extract, MEMORY_SHARE, Stdio::piped()), Ok)?;
        match worker.ask(&request, content) {
            // The worker may lack memory, or may have died before this request. For example, the operating system kills
            // processes when memory is short. Some parsers take a lack of memory for damage.
            Err(DocumentError::Crashed { .. }) | Ok(Err(ContentError::Damaged { .. })) => drop(worker),
            Err(error) => return Err(error),
            Ok(answer) => {
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
                return Ok(answer?);
            }
        }
        let _alone = self.large.lock().unwrap_or_else(PoisonError::into_inner);
        let start = || self.start(Task::Extract, MEMORY_MAX, Stdio::piped());
        let (_, answer) = started(start, |worker| worker.ask::<Extracted>(&request, content))?;
        Ok(answer?)
    }

    /// Starts a worker that reads an open file with several documents. Returns the worker and its first group of documents.
    ///
    /// # Errors
    /// The file has another format or lacks columns, or no worker can be started.
    pub fn collection(
        &self,
        file: &File,
        format: CollectionFormat,
        fields: &Fields,
        is_root: bool,
    ) -> Result<(Worker, Sent), DocumentError> {
        let start = || {
            let request = CollectionRequest { format, fields: fields.clone(), limits: self.limits, is_root };
            let file = file.try_clone().map_err(DocumentError::NoWorker)?;
            self.start(Task::Collection(request), MEMORY_MAX, file.into())
        };
        let (worker, sent) = started(start, Worker::receive::<Sent>)?;
        Ok((worker, sent?))
    }

    fn start(&self, task: Task, memory: u64, stdin: Stdio) -> Result<Worker, DocumentError> {
        Worker::start(&self.program, &Assignment { task, memory }, stdin, self.limits)
    }
}

/// Starts a worker and returns how the kernel confines it. `program` is the absolute path of this program.
///
/// # Errors
/// No worker can be started.
pub fn confinement(program: &Path) -> Result<Confinement, DocumentError> {
    let assignment = Assignment { task: Task::Confinement, memory: MEMORY_SHARE };
    let limits = Limits { document_bytes: 0, seconds: CONFINEMENT_SECONDS, expansion: 1 };
    let start = || Worker::start(program, &assignment, Stdio::null(), limits);
    let (_, confinement) = started(start, Worker::receive::<Confinement>)?;
    Ok(confinement?)
}

/// Starts a worker and asks it for its first answer.
///
/// # Errors
/// No worker can be started, or the worker crashes or is too slow.
fn started<T>(
    start: impl Fn() -> Result<Worker, DocumentError>,
    ask: impl Fn(&mut Worker) -> Result<T, DocumentError>,
) -> Result<(Worker, T), DocumentError> {
    let mut worker = start()?;
    let mut asked = ask(&mut worker);
    // Ctrl-C sends a signal to all processes of the run. A worker that has just started does not ignore the signal yet, so the
    // signal ends the worker.
    if matches!(asked, Err(DocumentError::Crashed { .. })) && worker.was_told_to_end() {
        worker = start()?;
        asked = ask(&mut worker);
    }
    Ok((worker, asked?))
}

/// A worker process. The process is killed when this value is dropped.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    /// `None` if standard input of the worker is not a pipe.
    requests: Option<ChildStdin>,
    answers: Receiver<Vec<u8>>,
    /// Maximum processor time for one answer, in seconds.
    seconds: u64,
}

impl Worker {
    fn start(
        program: &Path,
        assignment: &Assignment,
        stdin: Stdio,
        limits: Limits,
    ) -> Result<Self, DocumentError> {
        Self::spawn(program, assignment, stdin, limits).map_err(DocumentError::NoWorker)
    }

    fn spawn(program: &Path, assignment: &Assignment, stdin: Stdio, limits: Limits) -> io::Result<Self> {
        let mut child = Command::new(program)
            .arg(SUBCOMMAND)
            .arg(serde_json::to_string(assignment)?)
            // The environment may contain passwords and tokens.
            .env_clear()
            .current_dir("/")
            .stdin(stdin)
            .stdout(Stdio::piped())
            // Crash messages are for developers only. A developer can run the worker by hand to see the messages.
            .stderr(Stdio::null())
            .spawn()?;
        let requests = child.stdin.take();
        if let Some(pipe) = &requests {
            // A worker that does not read must not block the run.
            fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
        }
        let output = child.stdout.take().ok_or_else(no_pipe)?;
        let (sender, answers) = sync_channel(QUEUE_ANSWERS);
        // A pipe cannot be read with a time limit, so a thread reads the pipe and forwards the answers to a channel.
        let answer_max = limits.document_bytes.saturating_mul(ANSWER_RATIO).saturating_add(ANSWER_FRAME);
        thread::Builder::new().spawn(move || forward(output, answer_max, &sender))?;
        Ok(Worker { child, requests, answers, seconds: limits.seconds })
    }

    fn ask<T: DeserializeOwned>(
        &mut self,
        request: &Request,
        content: &[u8],
    ) -> Result<Response<T>, DocumentError> {
        self.send(request, content).map_err(|e| match e.kind() {
            ErrorKind::TimedOut => self.too_slow(),
            _ => self.ended(),
        })?;
        self.receive()
    }

    fn send(&mut self, request: &Request, content: &[u8]) -> io::Result<()> {
        let end = Instant::now().checked_add(self.real_time());
        let pipe = self.requests.as_ref().ok_or_else(no_pipe)?;
        let mut requests = BufWriter::new(TimedPipe { pipe, end });
        serde_json::to_writer(&mut requests, request)?;
        requests.write_all(b"\n")?;
        requests.write_all(content)?;
        requests.flush()
    }

    /// Returns the next answer.
    ///
    /// # Errors
    /// The worker crashed or is too slow.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<Response<T>, DocumentError> {
        match self.answers.recv_timeout(self.real_time()) {
            Ok(answer) => serde_json::from_slice(&answer).map_err(|_| self.ended()),
            Err(RecvTimeoutError::Timeout) => Err(self.too_slow()),
            Err(RecvTimeoutError::Disconnected) => Err(self.ended()),
        }
    }

    /// Returns how long the worker may take to read a request, and as long again to answer it.
    fn real_time(&self) -> Duration {
        Duration::from_secs(self.seconds.saturating_mul(REAL_TIME_RATIO))
    }

    /// Ends the worker. Returns the signal that ended it, if the worker had ended before.
    fn signal(&mut self) -> Option<i32> {
        // If the worker has already ended, `kill` has no effect on the exit status.
        let _ = self.child.kill();
        self.child.wait().ok().and_then(|status| status.signal())
    }

    /// Returns whether SIGINT or SIGTERM ended the worker. These signals ask the whole run to end.
    fn was_told_to_end(&mut self) -> bool {
        self.signal().is_some_and(|signal| [Signal::INT, Signal::TERM].map(Signal::as_raw).contains(&signal))
    }

    /// Returns the error for a worker that gave no answer and has ended.
    fn ended(&mut self) -> DocumentError {
        match self.signal() {
            Some(signal) if signal == Signal::XCPU.as_raw() => self.too_slow(),
            _ => DocumentError::Crashed { memory_max: MEMORY_MAX },
        }
    }

    fn too_slow(&self) -> DocumentError {
        DocumentError::TooSlow { seconds: self.seconds }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Both calls fail only if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pipe that does not block, with a time at which writing to it fails.
struct TimedPipe<'a> {
    pipe: &'a ChildStdin,
    /// `None` if the time is too far away to be a time.
    end: Option<Instant>,
}

impl Write for TimedPipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.pipe.write(bytes) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                written => return written,
            }
            if self.end.is_some_and(|end| Instant::now() >= end) {
                return Err(ErrorKind::TimedOut.into());
            }
            thread::sleep(PIPE_WAIT);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pipe.flush()
    }
}

fn no_pipe() -> io::Error {
    io::Error::other("no pipe")
}

/// Sends each line of a worker's output to the channel, until a line has more than `line_max` bytes.
fn forward(output: ChildStdout, line_max: u64, sender: &SyncSender<Vec<u8>>) {
    let mut output = BufReader::new(output);
    loop {
        let mut line = Vec::new();
        let read = output.by_ref().take(line_max).read_until(b'\n', &mut line);
        // A failed read and a line without an end mean that the process has ended, or that it does not do its task. This
        // function then drops the sender, so that the receiver returns an error.
        if read.is_err() || line.pop() != Some(b'\n') || sender.send(line).is_err() {
            return;
        }
    }
}
