//! Writes a message to stderr as one line: text for people, or JSON for programs.

use std::io::{self, Write as _};

use console::Style;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::number::now;
use super::secret::without_secrets;

/// The most characters in a message. Longer messages are truncated, because an error may quote a whole document.
const LINE_MAX: usize = 1000;

/// The format of lines on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line, with the time.
    Json,
}

/// The kind of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// What happens to a document.
    Trace,
    /// What the run decides, and why.
    Debug,
    /// Progress and results.
    Info,
    /// Something is wrong, but the run goes on.
    Warning,
    /// A document could not be read or embedded.
    Failed,
    /// A document could not be read, so the index keeps the document's row from the previous run.
    Stale,
    /// The run has ended early.
    Error,
}

impl Level {
    /// Returns the word that is printed before a message, and the style of the word. Errors and warnings have the colours of
    /// clap's messages.
    fn prefix(self) -> Option<(&'static str, Style)> {
        let style = Style::new().for_stderr();
        match self {
            Level::Trace => Some(("trace:", style.dim())),
            Level::Debug => Some(("debug:", style.dim())),
            Level::Info => None,
            Level::Warning => Some(("warning:", style.yellow())),
            Level::Failed => Some(("failed:", style.red())),
            Level::Stale => Some(("stale:", style.yellow())),
            Level::Error => Some(("error:", style.red().bold())),
        }
    }
}

/// Returns the text with control characters escaped, so that a file name cannot control the terminal. Line separators and the
/// characters that change the direction of writing are escaped too, so that a name cannot look like another name.
pub fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_layout(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// Returns whether a character separates lines or paragraphs (U+2028, U+2029) or has the property Bidi_Control of Unicode.
fn is_layout(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Writes one line to stderr. In the text format, the line has the name of the tool and the message. In the JSON format, the
/// line is an object with the time, the level, the message and the members of `details`.
pub fn eprint_line(format: LogFormat, level: Level, message: &str, details: Value) {
    let line = match format {
        LogFormat::Text => text_line(level, message),
        LogFormat::Json => json_line(level, message, details),
    };
    // An error is ignored, because a run goes on even if stderr has been closed.
    let _ = io::stderr().write_all((line + "\n").as_bytes());
}

fn text_line(level: Level, message: &str) -> String {
    let message = shortened(message);
    match level.prefix() {
        None => format!("qwen3-index: {message}"),
        // `console` applies the style only if stderr is a terminal with colours.
        Some((prefix, style)) => format!("qwen3-index: {} {message}", style.apply_to(prefix)),
    }
}

fn json_line(level: Level, message: &str, details: Value) -> String {
    let mut line = Map::new();
    line.insert("time".into(), now().into());
    line.insert("level".into(), json!(level));
    line.insert("message".into(), shortened(message).into());
    if let Value::Object(details) = details {
        line.extend(details);
    }
    Value::Object(line).to_string()
}

/// Returns a message without secrets and control characters, and with at most [`LINE_MAX`] characters.
fn shortened(message: &str) -> String {
    let message = &*without_secrets(message);
    let start: String = message.chars().take(LINE_MAX).collect();
    let is_longer = start.len() < message.len();
    let mut shown = shown(&start);
    if is_longer {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_have_the_colours_of_clap() {
        let styled = |level: Level| {
            let (prefix, style) = level.prefix().unwrap();
            style.force_styling(true).apply_to(prefix).to_string()
        };
        assert_eq!(styled(Level::Error), "\u{1b}[31m\u{1b}[1merror:\u{1b}[0m");
        assert_eq!(styled(Level::Warning), "\u{1b}[33mwarning:\u{1b}[0m");
    }

    #[test]
    fn a_long_message_is_shortened_and_control_characters_are_escaped() {
        assert_eq!(shortened("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\\n");
        assert_eq!(shortened(&"é".repeat(LINE_MAX)), "é".repeat(LINE_MAX));
        assert_eq!(shortened(&"é".repeat(LINE_MAX + 1)), "é".repeat(LINE_MAX) + "…");
    }
}
