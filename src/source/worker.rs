//! Processes that run the parsers a file can crash. A file that makes its parser crash, hang or take too much memory costs
//! its document, not the run.
//!
//! A worker is this program, started with a hidden subcommand. It reads requests from standard input, each a line of JSON
//! followed by the bytes of the document, and writes answers to standard output, each a line of JSON.

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

/// Address space of a worker, in bytes. The tree of an ordinary HTML page takes ten times the size of the page.
pub const MEMORY_MAX: u64 = 2 << 30;

/// Answers per worker that wait to be received. An answer may be as large as a document; the pipe buffers smaller ones.
const QUEUE_ANSWERS: usize = 1;

/// A request to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Extract the text of a document. Its bytes follow the request. The answer is one [`Extracted`].
    Extract {
        format: DocumentFormat,
        bytes: u64,
        limits: Limits,
        /// Whether to parse the front matter too.
        front_matter: bool,
    },
    /// Read the rows of a Parquet file. The answers are `()` once the file is open, then rows as [`Sent`] until one is empty
    /// or ends with damage.
    Rows { path: OsString, fields: Fields, limits: Limits, is_root: bool },
}

/// The answer of a worker.
pub type Response<T> = Result<T, ContentError>;

/// A group of rows from a worker; empty at the end of the file. No row follows a damaged one.
pub type Sent = Vec<Response<Record>>;

/// The workers of a run. A worker is started when all others are busy, and is then kept.
#[derive(Debug)]
pub struct Workers {
    program: PathBuf,
    limits: Limits,
    idle: Mutex<Vec<Worker>>,
}

impl Workers {
    /// Returns a pool without workers. `program` is the path of this program.
    pub fn new(program: PathBuf, limits: Limits) -> Self {
        Workers { program, limits, idle: Mutex::default() }
    }

    /// Extracts the text of a document in a worker.
    ///
    /// # Errors
    /// The document is damaged or breaks a limit, or no worker can be started.
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
            // The idle worker may have died before this request, for example killed by a system that was short of memory.
            None | Some(Err(DocumentError::Crashed { .. })) => self.ask_new(&request, content)?,
            Some(asked) => asked?,
        };
        // A worker that gave no answer is dropped above by `?`, and so is never used again.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
        Ok(answer?)
    }

    /// Starts a worker and returns it with its answer to the request.
    ///
    /// # Errors
    /// No worker can be started, or it crashes or is too slow.
    pub fn ask_new<T: DeserializeOwned>(
        &self,
        request: &Request,
        content: &[u8],
    ) -> Result<(Worker, Response<T>), DocumentError> {
        let mut worker = self.start()?;
        let mut asked = worker.ask(request, content);
        // Ctrl-C signals all processes of the run. It ends a worker that has just started and does not ignore it yet.
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

/// A worker process. It is killed when dropped.
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
            // The messages of a crash are for developers, who run the worker by hand.
            .stderr(Stdio::null())
            .spawn()?;
        let no_pipe = || io::Error::other("no pipe");
        let requests = BufWriter::new(child.stdin.take().ok_or_else(no_pipe)?);
        let output = child.stdout.take().ok_or_else(no_pipe)?;
        let (sender, answers) = sync_channel(QUEUE_ANSWERS);
        // A pipe cannot be read with a time limit, so a thread reads it and forwards the answers to a channel.
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

    /// Waits for an answer, at most as long as one document may take.
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

    /// Returns whether the worker was ended by a signal that asks the whole run to end.
    fn was_told_to_end(&mut self) -> bool {
        // Has no effect on a process that has ended.
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
        // The only error is that the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends each line of a worker's output to the channel.
fn forward(output: ChildStdout, sender: &SyncSender<Vec<u8>>) {
    let mut lines = BufReader::new(output).split(b'\n');
    // A failed read means that the process has ended: the dropped sender tells the receiver.
    while let Some(Ok(line)) = lines.next() {
        if sender.send(line).is_err() {
            return;
        }
    }
}
