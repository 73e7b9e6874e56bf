//! Splits a mailbox file (RFC 4155) into messages. The messages are parsed later, in workers. Only one message is in memory at
//! a time, so a mailbox may be larger than the memory.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::digest::{Digest, hex};
use crate::error::{ContentError, DocumentError, Failure, Lost};
use crate::source::decode::known_format;
use crate::source::format::{Decompressed, DocumentFormat, FileFormat, FormatKind};
use crate::source::found::Found;
use crate::source::location::{Inside, Location};
use crate::source::raw::{Raw, Reading};
use crate::source::raw_file::RawFile;

/// The name of the format in messages.
const NAME: &str = "mailbox (MBOX)";

/// The start of a line that separates messages.
const SEPARATOR: &[u8] = b"From ";

/// Maximum length of a `Message-ID`, in bytes. A message with a longer one is named by its content.
const MESSAGE_ID_BYTES: usize = 250;

/// Maximum number of bytes that are read at once, as a line may be as long as the file.
const LINE_BYTES: u64 = 64 << 10;

/// The messages of one file.
pub struct Mailbox {
    /// `None` after the final message.
    reader: Option<BufReader<Decompressed>>,
    /// The mailbox itself.
    file: RawFile,
    /// How many messages have the same name so far, by the digest of the name. A message may be in a mailbox twice.
    names: HashMap<Digest, u64>,
    bytes_max: u64,
    /// How many bytes of the file have been read so far, counted before decompression.
    consumed: Arc<AtomicU64>,
    /// The sum of the progress of all earlier messages, in bytes.
    reported: u64,
}

/// The content of one message.
struct SplitMessage {
    /// The message, or its start if it is larger than the limit.
    bytes: Vec<u8>,
    is_whole: bool,
}

impl Mailbox {
    /// Reads the first line of a mailbox.
    ///
    /// # Errors
    /// The file cannot be read or has another format.
    pub fn open(file: RawFile, content: Decompressed, reading: &Reading) -> Result<Self, DocumentError> {
        let consumed = content.consumed();
        let mut reader = BufReader::with_capacity(1 << 16, content);
        let has_messages = starts_with_separator(&mut reader)?;
        Ok(Mailbox {
            reader: has_messages.then_some(reader),
            file,
            names: HashMap::new(),
            bytes_max: reading.limits.document_bytes,
            consumed,
            reported: 0,
        })
    }

    /// Reads a message and the separator after it. Returns `None` at the end of the file.
    fn content(&mut self) -> io::Result<Option<SplitMessage>> {
        let Some(reader) = &mut self.reader else { return Ok(None) };
        let mut content = SplitMessage { bytes: Vec::new(), is_whole: true };
        let (mut line, mut at_line_start, mut after_blank) = (Vec::new(), true, true);
        loop {
            line.clear();
            if io::Read::take(&mut *reader, LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
                self.reader = None;
                break;
            }
            if at_line_start && after_blank && is_separator(&line) {
                break;
            }
            let part = if at_line_start { unquoted(&line) } else { &line };
            after_blank = at_line_start && line.trim_ascii().is_empty();
            at_line_start = line.ends_with(b"\n");
            if (content.bytes.len() + part.len()) as u64 > self.bytes_max {
                content.is_whole = false;
            }
            if content.is_whole {
                content.bytes.extend_from_slice(part);
            }
        }
        Ok(Some(content))
    }

    fn found(&mut self, SplitMessage { bytes, is_whole }: SplitMessage) -> Found {
        let name = name(&bytes);
        let count = self.names.entry(Digest::of(&name)).or_default();
        *count += 1;
        let suffix = if *count == 1 { format!("#{name}") } else { format!("#{name} ({count})") };
        let id = format!("{}{suffix}", self.file.id);
        let mut path = self.file.location.name().into_os_string();
        path.push(&suffix);
        if !is_whole {
            let place = path.to_string_lossy().into_owned();
            let cause = ContentError::TooLarge { max: self.bytes_max }.into();
            return Found::Failed(Failure { place, cause, lost: Lost::Below(id.into()) });
        }
        let consumed = self.consumed.load(Relaxed);
        let progress = consumed - std::mem::replace(&mut self.reported, consumed);
        let depth = self.file.location.depth();
        let size = bytes.len() as u64;
        let inside = Inside { name: path.into(), content: bytes, progress, depth };
        Found::Raw(Raw::File(RawFile {
            id,
            base: self.file.base.clone(),
            location: Location::Inside(Arc::new(inside)),
            download: None,
            format: FileFormat { kind: FormatKind::Document(DocumentFormat::Eml), compression: None },
            size,
        }))
    }
}

impl Iterator for Mailbox {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            match self.content() {
                Ok(None) => return None,
                Ok(Some(content)) if content.bytes.trim_ascii().is_empty() && content.is_whole => {}
                Ok(Some(content)) => return Some(self.found(content)),
                Err(e) => {
                    self.reader = None;
                    let place = self.file.location.to_string();
                    let cause = DocumentError::RestNotRead(Box::new(e.into()));
                    let lost = Lost::Below(self.file.id.as_str().into());
                    return Some(Found::Failed(Failure { place, cause, lost }));
                }
            }
        }
    }
}

/// Reads the first line that is not blank. Returns whether there is one.
///
/// # Errors
/// The file cannot be read, or the line is not a separator.
fn starts_with_separator(reader: &mut BufReader<Decompressed>) -> Result<bool, DocumentError> {
    loop {
        let mut line = Vec::new();
        if io::Read::take(&mut *reader, LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
            return Ok(false);
        }
        if line.starts_with(SEPARATOR) {
            return Ok(true);
        }
        if !line.trim_ascii().is_empty() {
            let kind = NAME.to_owned();
            return Err(match known_format(&line) {
                Some(found) => ContentError::OtherKind { kind, found: found.to_owned() },
                None => ContentError::Damaged {
                    kind,
                    reason: "it does not begin with a line `From …`".to_owned(),
                },
            }
            .into());
        }
    }
}

/// Returns whether a line after a blank line separates messages. A paragraph may begin with `From` too, so the line must have a
/// time and a year. Thunderbird writes neither, and nothing else.
fn is_separator(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(SEPARATOR) else { return false };
    let mut words = rest.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let is_year = |word: &[u8]| word.len() == 4 && word.iter().all(u8::is_ascii_digit);
    let is_time =
        |word: &[u8]| word.len() >= 4 && word.iter().all(|byte| byte.is_ascii_digit() || *byte == b':');
    matches!(rest.trim_ascii(), b"" | b"-")
        || words.clone().any(is_year) && words.any(|word| word.contains(&b':') && is_time(word))
}

/// Removes the mark of a line that begins like a separator: programs write `>From` there, and `>>From` for `>From`.
fn unquoted(line: &[u8]) -> &[u8] {
    let marks = line.iter().take_while(|&&byte| byte == b'>').count();
    if marks > 0 && line[marks..].starts_with(SEPARATOR) { &line[1..] } else { line }
}

/// Returns the name of a message inside of its mailbox: its `Message-ID`, which stays the same wherever the message is moved. A
/// message without one is named by the digest of what its reader sees.
fn name(message: &[u8]) -> String {
    let is_fit = |id: &String| {
        (1..=MESSAGE_ID_BYTES).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let (header, body) = split_header(message);
    field(header, b"message-id")
        .map(|id| id.trim().trim_start_matches('<').trim_end_matches('>').to_owned())
        .filter(is_fit)
        .unwrap_or_else(|| {
            // Other fields change when the message is read or answered.
            let fields =
                [&b"date"[..], b"from", b"subject"].map(|name| field(header, name).unwrap_or_default());
            hex(Digest::of([fields.join("\n").as_bytes(), body].concat()).as_bytes())
        })
}

/// Splits a message at the first blank line.
fn split_header(message: &[u8]) -> (&[u8], &[u8]) {
    let mut end = 0;
    for line in message.split_inclusive(|&byte| byte == b'\n') {
        if line.trim_ascii().is_empty() {
            break;
        }
        end += line.len();
    }
    message.split_at(end)
}

/// Returns the value of the first header field with this name, which is in lower case.
fn field(header: &[u8], name: &[u8]) -> Option<String> {
    let mut lines = header.split(|&byte| byte == b'\n');
    let is_field = |line: &&[u8]| {
        line.len() > name.len() && line[name.len()] == b':' && line[..name.len()].eq_ignore_ascii_case(name)
    };
    let first = lines.find(is_field)?;
    let mut value = first[name.len() + 1..].to_vec();
    for line in lines.take_while(|line| line.starts_with(b" ") || line.starts_with(b"\t")) {
        value.extend_from_slice(line);
    }
    Some(String::from_utf8_lossy(value.trim_ascii()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_with_a_time_and_a_year_separate_messages() {
        for line in [
            "From ana@petrel.example Mon Mar  2 08:15:00 2026\n",
            "From - Mon Mar 02 08:15:00 2026\r\n",
            "From 1234@xxx Mon Mar 02 08:15:00 +0000 2026\n",
            "From MAILER-DAEMON Fri Jul  8 12:08:34 2011",
            "From \r\n",
            "From -\n",
        ] {
            assert!(is_separator(line.as_bytes()), "{line}");
        }
        for line in
            ["From 9:00 on, the shop is open.\n", "From 2026 on we ship to all.\n", "Fromage\n", ">From -\n"]
        {
            assert!(!is_separator(line.as_bytes()), "{line}");
        }
        assert_eq!(unquoted(b">>From me"), b">From me");
        assert_eq!(unquoted(b"> From me"), b"> From me");
    }

    #[test]
    fn the_name_of_a_message_does_not_depend_on_its_state() {
        assert_eq!(name(b"Subject: a\nMESSAGE-ID:\n <one@petrel.example>\n\nbody"), "one@petrel.example");
        let first = name(b"Date: today\nStatus: O\nSubject: a\n b\n\nbody");
        assert_eq!(first.len(), 32);
        assert_eq!(first, name(b"Subject: a\n b\nDate: today\nStatus: RO\nX-Mozilla-Status: 0001\n\nbody"));
        assert_ne!(first, name(b"Date: today\nSubject: a\n b\n\nother"));
        assert_eq!(name(b"Message-ID: <two words>\n\n").len(), 32);
        assert_eq!(name(b"").len(), 32);
    }
}
