//! Processes beside this one that read what can break its reader: a file that makes one crash, hang or take too
//! much memory costs its document, not the run.
//!
//! A worker is this program again, with a hidden subcommand. It takes requests on its standard input, each a line
//! of JSON and then the bytes of the document, and gives answers on its standard output, each a line of JSON.

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
use super::form::Markup;
use crate::error::{ContentError, DocumentError};

/// The hidden subcommand.
const SUBCOMMAND: &str = "worker";

/// Memory that a worker may ask for, in bytes. The tree of an ordinary page is ten times its size.
pub const MEMORY_MAX: u64 = 2 << 30;

/// Answers that wait to be taken. Each may be as large as a document, and the pipe holds what is smaller.
const QUEUE_ANSWERS: usize = 1;

/// What a worker is asked for.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// The text of a document, whose bytes follow: one [`Extracted`] is the answer.
    Extract {
        markup: Markup,
        bytes: u64,
        limits: Limits,
        /// Whether the settings at the top of it are asked for.
        front_matter: bool,
    },
    /// The rows of a Parquet file: the answers are `()` once it is open, then rows as [`Sent`].
    Rows { path: OsString, fields: Fields, limits: Limits, is_root: bool },
}

/// What it answers.
pub type Response<T> = Result<T, ContentError>;

/// Rows as a worker sends them; none at the end. After one that is damaged there are no more.
pub type Sent = Vec<Response<Record>>;

/// The workers of a run: as many as have been needed at the same time.
#[derive(Debug)]
pub struct Workers {
    program: PathBuf,
    limits: Limits,
    idle: Mutex<Vec<Worker>>,
}

impl Workers {
    /// Starts none yet. `program` is this program.
    pub fn new(program: PathBuf, limits: Limits) -> Self {
        Workers { program, limits, idle: Mutex::default() }
    }

    /// The text of a document.
    pub fn extract(
        &self,
        markup: Markup,
        content: &[u8],
        front_matter: bool,
    ) -> Result<Extracted, DocumentError> {
        let request =
            Request::Extract { markup, bytes: content.len() as u64, limits: self.limits, front_matter };
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let asked = idle.map(|mut worker| worker.ask(&request, content).map(|answer| (worker, answer)));
        let (worker, answer) = match asked {
            // It may have been gone before: a system that is short of memory ends processes.
            None | Some(Err(DocumentError::Crashed { .. })) => self.ask_new(&request, content)?,
            Some(asked) => asked?,
        };
        // One that gave no answer is not used again.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
        Ok(answer?)
    }

    /// The first answer of a worker of one's own.
    pub fn ask_new<T: DeserializeOwned>(
        &self,
        request: &Request,
        content: &[u8],
    ) -> Result<(Worker, Response<T>), DocumentError> {
        let mut worker = self.start()?;
        let mut asked = worker.ask(request, content);
        // A signal to all processes of the run ends one that has not come to the point where it takes no notice.
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

/// One process; killed when dropped.
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
            // What a crash has to say is for those who mend it; they run the worker by hand.
            .stderr(Stdio::null())
            .spawn()?;
        let no_pipe = || io::Error::other("no pipe");
        let requests = BufWriter::new(child.stdin.take().ok_or_else(no_pipe)?);
        let output = child.stdout.take().ok_or_else(no_pipe)?;
        let (sender, answers) = sync_channel(QUEUE_ANSWERS);
        // A thread, since a pipe cannot be read with a time limit.
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

    /// Waits for an answer, for as long as one document may take.
    pub fn receive<T: DeserializeOwned>(&self) -> Result<Response<T>, DocumentError> {
        let seconds = self.limits.seconds;
        match self.answers.recv_timeout(Duration::from_secs(seconds)) {
            Ok(answer) => serde_json::from_slice(&answer).map_err(|_| self.crashed()),
            Err(RecvTimeoutError::Timeout) => Err(DocumentError::TooSlow { seconds }),
            Err(RecvTimeoutError::Disconnected) => Err(self.crashed()),
        }
    }

    /// Whether it was ended by a signal that is meant for the run.
    fn was_told_to_end(&mut self) -> bool {
        // Of one that is gone, this changes nothing.
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
        // Whether it is gone already or is made to, there is nothing to be said.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(output: ChildStdout, sender: &SyncSender<Vec<u8>>) {
    let mut lines = BufReader::new(output).split(b'\n');
    // A read that fails and a receiver that is gone end the same way as a process that does.
    while let Some(Ok(line)) = lines.next() {
        if sender.send(line).is_err() {
            return;
        }
    }
}
