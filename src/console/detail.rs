//! Says what a run decides and why, if the user asks for it. Every layer may call [`debug`] and [`trace`], so the level is set once
//! for the whole process. While the level is [`Detail::Results`], a call costs one comparison.

use std::sync::OnceLock;

use serde_json::Value;

use super::line::{Level, LogFormat, eprint_line};

/// How much a run says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Progress, results and what is wrong.
    Results,
    /// Also what the run decides, and why.
    Decisions,
    /// Also what happens to each document.
    Documents,
}

static SAID: OnceLock<(Detail, LogFormat)> = OnceLock::new();

impl Detail {
    /// Sets how much this process says, and in which format. Only the first call has an effect.
    pub fn apply(self, format: LogFormat) {
        // The error of a second call is ignored, as documented.
        let _ = SAID.set((self, format));
    }

    /// Returns whether this process says at least this much.
    pub fn is_said(self) -> bool {
        self.format().is_some()
    }

    fn format(self) -> Option<LogFormat> {
        SAID.get().filter(|(said, _)| *said >= self).map(|(_, format)| *format)
    }
}

/// Writes a decision of the run and its reason. Calls `message` only if the user asks for decisions.
pub fn debug(message: impl FnOnce() -> String) {
    if let Some(format) = Detail::Decisions.format() {
        eprint_line(format, Level::Debug, &message(), Value::Null);
    }
}

/// Writes what happens to a document. Calls `line` only if the user asks for that. A line of JSON also has the members of the second
/// value.
pub fn trace(line: impl FnOnce() -> (String, Value)) {
    if let Some(format) = Detail::Documents.format() {
        let (message, details) = line();
        eprint_line(format, Level::Trace, &message, details);
    }
}
