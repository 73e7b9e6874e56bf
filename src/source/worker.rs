//! Runs parsers in separate processes (workers). If a file makes a parser crash, hang or use too much memory, only that
//! document fails and the run continues.
//!
//! A worker is this program, started with a hidden subcommand. The worker reads requests from standard input. A request is
//! one line of JSON. In a request to extract the text of a document, the bytes of the document follow the line. The worker
//! writes answers to standard output. An answer is one line of JSON.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::document::Limits;
use super::extract::Extracted;
use super::fields::{Fields, Record};
use super::format::DocumentFormat;
use crate::error::{ContentError, DocumentError};

/// The hidden subcommand that makes this program a worker.
const SUBCOMMAND: &str = "worker";

/// Maximum address space of a worker, in bytes. The parsed tree of an ordinary HTML page needs ten times as many bytes as
/// the page.
pub const MEMORY_MAX: u64 = 2 << 30;

/// Maximum number of answers per worker that wait in the channel. The maximum is small, because an answer may be as large
/// as a document.
const QUEUE_ANSWERS: usize = 1;

/// A request to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// A request to extract the text of a document. The bytes of the document follow the request. The answer is one
    /// [`Extracted`].
    Extract {
        format: DocumentFormat,
        bytes: u64,
        limits: Limits,
        /// Whether the worker parses the front matter too.
        front_matter: bool,
    },
    /// A request to read the rows of a Parquet file. The first answer is the number of rows and means that the file is
    /// open. Each following answer is a [`Sent`]. The final [`Sent`] is empty or ends with a damaged row.
    Rows { path: OsString, fields: Fields, limits: Limits, is_root: bool },
}

/// An answer of a worker.
pub type Response<T> = Result<T, ContentError>;

/// A group of rows from a worker. An empty group means the end of the file. After a damaged row, no more rows are sent.
pub type Sent = Vec<Response<Record>>;

/// The workers of a run. If no worker is idle, a new worker is started. A worker that has extracted a document is reused for
/// later documents.
#[derive(Debug)]
pub struct Workers {
    program: PathBuf,
    limits: Limits,
    idle: Mutex<Vec<Worker>>,
}

impl Workers {
    /// Returns an empty pool of workers. `program` is the path of this program.
    pub fn new(program: PathBuf, limits: Limits) -> Self {
        Workers { program, limits, idle: Mutex::default() }
    }

    /// Extracts the text of a document in a worker.
    ///
    /// # Errors
    /// The document is damaged or exceeds a limit, or no worker can be started.
    pub fn extract(
        &self,
        format: DocumentFormat,
        content: &[u8],
        front_matter: bool,
    ) -> Result<Extracted, DocumentError> {
        let request =
            Request::Extract { format, bytes: content.len() as u64, limits: self.limits, front_matter };
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let asked = idle.map(|mut worker| worker.ask(&request, content).map(|answer| (worker, answer)));
        let (worker, answer) = match asked {
            // The idle worker may have died before this request. For example, the operating system kills processes when
            // memory is short.
            None | Some(Err(DocumentError::Crashed { .. })) => self.ask_new(&request, content)?,
            Some(asked) => asked?,
        };
        // A worker that gave no answer is dropped by `?` above, so it is never used again.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
        Ok(answer?)
    }

    /// Starts a worker and sends the request to it. Returns the worker and its answer.
    ///
    /// # Errors
    /// No worker can be started, or the worker crashes or is too slow.
    pub fn ask_new<T: DeserializeOwned>(
        &self,
        request: &Request,
        content: &[u8],
    ) -> Result<(Worker, Response<T>), DocumentError> {
        let mut worker = self.start()?;
        let mut asked = worker.ask(request, content);
        // Ctrl-C sends a signal to all processes of the run. A worker that has just started does not ignore the signal yet,
        // so the signal ends the worker.
        if matches!(asked, Err(DocumentError::Crashed { .. })) && worker.was_told_to_end() {
            worker = self.start()?;
            asked = worker.ask(request, content);
        }
        Ok((worker, asked?))
    }

    fn start(&self) -> Result<Worker, DocumentError> {
        Worker::start(&self.program, self.limits).map_err(DocumentError::NoWorker)
    }
}

/// A worker process. The process is killed when this value is dropped.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    requests: BufWriter<ChildStdin>,
    answers: Receiver<Vec<u8>>,
    limits: Limits,
}

impl Worker {
    fn start(program: &Path, limits: Limits) -> io::Result<Self> {
        let mut child = Command::new(program)
            .arg(SUBCOMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Crash messages are for developers only. A developer can run the worker by hand to see the messages.
            .stderr(Stdio::null())
            .spawn()?;
        let no_pipe = || io::Error::other("no pipe");
        let requests = BufWriter::new(child.stdin.take().ok_or_else(no_pipe)?);
        let output = child.stdout.take().ok_or_else(no_pipe)?;
        let (sender, answers) = sync_channel(QUEUE_ANSWERS);
        // A pipe cannot be read with a time limit, so a thread reads the pipe and forwards the answers to a channel.
        thread::Builder::new().spawn(move || forward(output, &sender))?;
        Ok(Worker { child, requests, answers, limits })
    }

    fn ask<T: DeserializeOwned>(
        &mut self,
        request: &Request,
        content: &[u8],
    ) -> Result<Response<T>, DocumentError> {
        self.send(request, content)?;
        self.receive()
    }

    fn send(&mut self, request: &Request, content: &[u8]) -> Result<(), DocumentError> {
        let mut write = || {
            serde_json::to_writer(&mut self.requests, request)?;
            self.requests.write_all(b"\n")?;
            self.requests.write_all(content)?;
            self.requests.flush()
        };
        write().map_err(|_| self.crashed())
    }

    /// Returns the next answer. Waits at most [`Limits::seconds`] for the answer.
    ///
    /// # Errors
    /// The worker crashed or is too slow.
    pub fn receive<T: DeserializeOwned>(&self) -> Result<Response<T>, DocumentError> {
        let seconds = self.limits.seconds;
        match self.answers.recv_timeout(Duration::from_secs(seconds)) {
            Ok(answer) => serde_json::from_slice(&answer).map_err(|_| self.crashed()),
            Err(RecvTimeoutError::Timeout) => Err(DocumentError::TooSlow { seconds }),
            Err(RecvTimeoutError::Disconnected) => Err(self.crashed()),
        }
    }

    /// Returns whether SIGINT or SIGTERM ended the worker. These signals ask the whole run to end.
    fn was_told_to_end(&mut self) -> bool {
        // If the worker has already ended, `kill` has no effect on the exit status.
        let _ = self.child.kill();
        let signal = self.child.wait().ok().and_then(|status| status.signal());
        signal.is_some_and(|signal| [Signal::INT, Signal::TERM].map(Signal::as_raw).contains(&signal))
    }

    fn crashed(&self) -> DocumentError {
        DocumentError::Crashed { memory_max: MEMORY_MAX }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Both calls fail only if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends each line of a worker's output to the channel.
fn forward(output: ChildStdout, sender: &SyncSender<Vec<u8>>) {
    let mut lines = BufReader::new(output).split(b'\n');
    // A failed read means that the process has ended. This function then drops the sender, so that the receiver returns an
    // error.
    while let Some(Ok(line)) = lines.next() {
        if sender.send(line).is_err() {
            return;
        }
    }
}
