//! Runs the command that reads one picture, within limits on time and output.

use std::fs;
use std::io::{self, Read, Write};
use std::mem;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::digest::Digest;
use crate::environment::folders;
use crate::error::{DocumentError, OcrError};
use crate::interrupt::{self, Interrupted};
use crate::source::document::Limits;

/// Maximum size of the text of one picture, in bytes.
pub const TEXT_BYTES_MAX: u64 = 4 << 20;

/// Maximum number of bytes of standard error that are kept for the message of a failure.
const ERRORS_BYTES_MAX: u64 = 4 << 10;

/// Maximum length of the text of standard error in a message, in characters.
const ERRORS_SHOWN: usize = 300;

/// How many seconds of real time a picture may take per second of the limit on a document. The processor may be busy with the model.
const REAL_TIME_RATIO: u64 = 5;

/// The time between two looks for a signal and for the end of the command.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Keeps tesseract from using several threads, as one command per CPU runs.
const ONE_THREAD: (&str, &str) = ("OMP_THREAD_LIMIT", "1");

/// A command that reads a picture from standard input and writes its text to standard output.
#[derive(Debug)]
pub struct PictureCommand {
    program: PathBuf,
    arguments: Vec<String>,
    /// The name of the program in messages.
    name: String,
    /// The digest of the words of the command and of the content of the program.
    digest: Digest,
    /// How long a picture may take, in seconds.
    seconds: u64,
}

/// The reason why a command cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The text has no words, or a quote is not closed.
    #[error("it has no words, or a quote without an end")]
    Words,
    /// No program of this name can be run.
    #[error("there is no program `{0}` that this user may run")]
    NoProgram(String),
}

impl PictureCommand {
    /// Splits a command into words, as a shell does, and looks for its program in `PATH`.
    ///
    /// # Errors
    /// The words cannot be separated, or there is no such program.
    pub fn new(command: &str, limits: Limits) -> Result<Self, CommandError> {
        let words = shlex::split(command).filter(|words| !words.is_empty()).ok_or(CommandError::Words)?;
        let no_program = || CommandError::NoProgram(words[0].clone());
        let program = find(&words[0]).ok_or_else(no_program)?;
        // A new version of the program may read a picture differently.
        let content = fs::read(&program).map(Digest::of).unwrap_or_else(|_| Digest::of(""));
        let mut described = content.as_bytes().to_vec();
        described.extend(words.join("\0").bytes());
        Ok(PictureCommand {
            program,
            arguments: words[1..].to_vec(),
            name: words[0].clone(),
            digest: Digest::of(described),
            seconds: limits.seconds.saturating_mul(REAL_TIME_RATIO),
        })
    }

    /// Returns the key of the text that the command reads in a picture.
    pub fn key(&self, picture: Digest) -> Digest {
        Digest::of([*self.digest.as_bytes(), *picture.as_bytes()].concat())
    }

    /// Returns the text that the command reads in a picture. `page` is the number of the page for messages.
    ///
    /// # Errors
    /// The command cannot be started, fails or exceeds a limit, or the run is interrupted.
    pub fn run(&self, picture: Vec<u8>, page: Option<u32>) -> Result<String, DocumentError> {
        let failed = |cause| DocumentError::Ocr { page, program: self.name.as_str().into(), cause };
        let running = Running::start(self, picture).map_err(|e| failed(OcrError::NotStarted(e)))?;
        let (status, text, errors) = running.finish(self.seconds).map_err(|unfinished| match unfinished {
            Unfinished::Failed(cause) => failed(cause),
            Unfinished::Interrupted(interrupted) => interrupted.into(),
        })?;
        if !status.success() {
            return Err(failed(OcrError::Failed(told(status, &errors))));
        }
        String::from_utf8(text).map_err(|_| failed(OcrError::NotUtf8))
    }
}

/// A command that runs. Dropping this value kills the command and the programs that it has started.
struct Running {
    child: Child,
    /// Receives the text when standard output ends.
    text: Receiver<Vec<u8>>,
    /// Receives the start of standard error.
    errors: Receiver<Vec<u8>>,
    is_over: bool,
}

impl Running {
    /// Starts the command. Threads write the picture and read both outputs, so that no full pipe blocks the command.
    fn start(command: &PictureCommand, picture: Vec<u8>) -> io::Result<Self> {
        let mut child = Command::new(&command.program)
            .args(&command.arguments)
            .env(ONE_THREAD.0, ONE_THREAD.1)
            // A group of its own, so that a script is killed with the programs that it has started.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (text_sender, text) = channel();
        let (errors_sender, errors) = channel();
        let running = Running { child, text, errors, is_over: false };
        let (Some(mut input), Some(output), Some(mut complaints)) = pipes else {
            return Err(io::Error::other("no pipe"));
        };
        // A command need not read the whole picture, so an error of the first thread is none. The other threads end if nobody
        // receives any more.
        thread::Builder::new().spawn(move || drop(input.write_all(&picture)))?;
        thread::Builder::new().spawn(move || text_sender.send(read(output, TEXT_BYTES_MAX + 1)))?;
        thread::Builder::new().spawn(move || {
            let _ = errors_sender.send(read(&mut complaints, ERRORS_BYTES_MAX));
            io::copy(&mut complaints, &mut io::sink())
        })?;
        Ok(running)
    }

    /// Waits until the command ends. Returns its exit status, its text and the start of its standard error.
    fn finish(mut self, seconds: u64) -> Result<(ExitStatus, Vec<u8>, Vec<u8>), Unfinished> {
        let end = Instant::now().checked_add(Duration::from_secs(seconds));
        let (mut text, mut status) = (None, None);
        while text.is_none() || status.is_none() {
            interrupt::check()?;
            if end.is_some_and(|end| Instant::now() >= end) {
                return Err(OcrError::TooSlow { seconds }.into());
            }
            match self.text.recv_timeout(LOOK_EVERY) {
                Ok(read) if read.len() as u64 > TEXT_BYTES_MAX => {
                    return Err(OcrError::TooMuch { max: TEXT_BYTES_MAX }.into());
                }
                Ok(read) => text = Some(read),
                Err(RecvTimeoutError::Timeout) => {}
                // The text has arrived already.
                Err(RecvTimeoutError::Disconnected) => thread::sleep(LOOK_EVERY),
            }
            // Programs that the command has left behind would hold its output open.
            if status.is_none() && self.has_exited()? {
                status = Some(self.end().map_err(OcrError::NotStarted)?);
            }
        }
        let errors = self.errors.recv_timeout(LOOK_EVERY).unwrap_or_default();
        Ok((status.unwrap_or_default(), text.unwrap_or_default(), errors))
    }

    /// Returns whether the command has ended. Its status stays with the system, so that no other process can have its number.
    fn has_exited(&self) -> Result<bool, OcrError> {
        let child = WaitId::Pid(Pid::from_child(&self.child));
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(child, look).map_err(|e| OcrError::NotStarted(e.into()))?.is_some())
    }

    /// Kills the command and the programs that it has started.
    fn end(&mut self) -> io::Result<ExitStatus> {
        if !mem::replace(&mut self.is_over, true) {
            // This fails only if all processes of the group have already ended.
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        }
        self.child.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nobody waits for the status any more.
        let _ = self.end();
    }
}

/// The reason why a command was not waited for.
enum Unfinished {
    Failed(OcrError),
    Interrupted(Interrupted),
}

impl From<OcrError> for Unfinished {
    fn from(error: OcrError) -> Self {
        Unfinished::Failed(error)
    }
}

impl From<Interrupted> for Unfinished {
    fn from(interrupted: Interrupted) -> Self {
        Unfinished::Interrupted(interrupted)
    }
}

/// Reads the first `max` bytes of an output. An output that cannot be read ends.
fn read(output: impl Read, max: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = output.take(max).read_to_end(&mut bytes);
    bytes
}

/// Returns the path of a program: `name` itself if it has a `/`, or else a file in a folder of `PATH`.
fn find(name: &str) -> Option<PathBuf> {
    let is_program = |path: &Path| {
        path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    let places = if name.contains('/') {
        vec![PathBuf::from(name)]
    } else {
        folders("PATH").into_iter().map(|folder| folder.join(name)).collect()
    };
    places.into_iter().find(|path| is_program(path))
}

/// Names the exit status of a command that failed.
fn named(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or_default()),
    }
}

/// Returns how a command has failed, in one line.
fn told(status: ExitStatus, errors: &[u8]) -> Box<str> {
    let (status, errors) = (named(status), shown(errors));
    if errors.is_empty() { status.into() } else { format!("{status}: {errors}").into() }
}

/// Returns the start of standard error in one line.
fn shown(errors: &[u8]) -> String {
    let errors = String::from_utf8_lossy(errors);
    let words = errors.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    let line = line.trim_end_matches('.');
    match line.char_indices().nth(ERRORS_SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}
