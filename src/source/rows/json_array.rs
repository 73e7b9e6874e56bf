//! Reads a JSON array of objects, one row per element. Only one element is in memory at a time.

use std::io::{self, BufRead, BufReader, Read};

use super::source::Source;
use crate::error::{ContentError, DocumentError};
use crate::source::decode;
use crate::source::found::Found;
use crate::source::json;
use crate::source::raw::{Reading, RowContent};

/// The elements of one file.
pub struct JsonArray {
    reader: Option<BufReader<Box<dyn Read + Send>>>,
    source: Source,
    /// The first element, which is read when the file is opened.
    first: Option<Element>,
    /// Whether the end of the array has been read.
    has_ended: bool,
    number: u64,
    bytes_max: u64,
}

/// The text of one element.
type Element = Result<Vec<u8>, DocumentError>;

impl JsonArray {
    /// Reads the start of a file.
    ///
    /// # Errors
    /// The file cannot be read, or is no array of objects. If the user did not name the file as an input, an array of objects
    /// without the text field is an error too: the file is most likely a configuration and not a list of documents.
    pub fn open(
        bytes: impl Read + Send + 'static,
        mut source: Source,
        is_root: bool,
        reading: &Reading,
    ) -> Result<Self, DocumentError> {
        let (reader, encoding) = decode::json_stream(Box::new(bytes))?;
        source.encoding = encoding;
        let bytes_max = reading.limits.document_bytes;
        let mut reader = BufReader::with_capacity(1 << 16, reader);
        let no_array = DocumentError::Content(ContentError::NoArray);
        if next_visible(&mut reader)? != Some(b'[') {
            return Err(no_array);
        }
        let mut array =
            JsonArray { reader: Some(reader), source, first: None, has_ended: false, number: 0, bytes_max };
        array.first = array.element()?;
        if let Some(Ok(element)) = &array.first {
            let has_text = || {
                let names = json::parse(element).map(|object| object.keys().cloned().collect::<Vec<_>>());
                names.is_ok_and(|names| reading.fields.columns(&names).is_ok())
            };
            if !element.starts_with(b"{") || !is_root && !has_text() {
                return Err(no_array);
            }
        }
        Ok(array)
    }

    /// Reads the next element. Returns `None` after the final element.
    ///
    /// # Errors
    /// The file cannot be read, ends before the array does, or continues after the array.
    fn element(&mut self) -> Result<Option<Element>, DocumentError> {
        let Some(reader) = &mut self.reader else { return Ok(None) };
        self.number += 1;
        if !self.has_ended {
            let (element, is_last) = read_element(reader, self.bytes_max)?;
            self.has_ended = is_last;
            // The array is empty, or a comma follows its final element.
            let is_element = !is_last || !matches!(&element, Ok(bytes) if bytes.is_empty());
            if is_element {
                return Ok(Some(element));
            }
        }
        match next_visible(reader)? {
            None => Ok(None),
            Some(_) => Err(damaged("more text follows the array").into()),
        }
    }
}

impl Iterator for JsonArray {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        let element = match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => self.element(),
        };
        match element {
            Ok(Some(Ok(bytes))) => Some(self.source.row(self.number, RowContent::Json(bytes))),
            Ok(Some(Err(cause))) => Some(self.source.failed(self.number, cause)),
            Ok(None) => {
                self.reader = None;
                None
            }
            Err(cause) => {
                self.reader = None;
                Some(self.source.failed_from(Some(self.number), cause))
            }
        }
    }
}

/// Reads the next byte that is no white space.
fn next_visible(reader: &mut impl BufRead) -> io::Result<Option<u8>> {
    reader.bytes().find(|byte| !matches!(byte, Ok(byte) if byte.is_ascii_whitespace())).transpose()
}

/// Reads an element and the comma or bracket after it. Returns the element without white space around it, and whether the
/// bracket was read. An element of more than `max` bytes is an error, and is not stored in memory.
///
/// # Errors
/// The file cannot be read, or ends before the array does.
fn read_element(reader: &mut impl BufRead, max: u64) -> io::Result<(Element, bool)> {
    let mut element = Vec::new();
    let mut bytes = 0;
    let mut nesting = Nesting::default();
    loop {
        let buffer = match reader.fill_buf() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            buffer => buffer?,
        };
        if buffer.is_empty() {
            return Err(damaged("it ends before the array does").into());
        }
        let end = buffer.iter().position(|&byte| nesting.ends_at(byte));
        let part = &buffer[..end.unwrap_or(buffer.len())];
        bytes += part.len() as u64;
        if bytes <= max {
            element.extend_from_slice(part)
        } else {
            element = Vec::new()
        }
        let is_last = end.map(|end| buffer[end] == b']');
        let read = part.len() + usize::from(end.is_some());
        reader.consume(read);
        if let Some(is_last) = is_last {
            let element = element.trim_ascii().to_vec();
            let element = if bytes > max { Err(ContentError::TooLarge { max }.into()) } else { Ok(element) };
            return Ok((element, is_last));
        }
    }
}

/// Finds the end of an element.
#[derive(Default)]
struct Nesting {
    /// Number of objects and arrays that are open inside the element.
    depth: u64,
    in_string: bool,
    after_backslash: bool,
}

impl Nesting {
    /// Returns whether the element ends before this byte.
    fn ends_at(&mut self, byte: u8) -> bool {
        if self.in_string {
            // A line break cannot be in a string, so a quote is missing. Only this element is wrong.
            self.in_string = self.after_backslash && byte != b'\n' || !matches!(byte, b'"' | b'\n');
            self.after_backslash = !self.after_backslash && byte == b'\\';
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b',' | b']' if self.depth == 0 => return true,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        false
    }
}

fn damaged(reason: &str) -> ContentError {
    ContentError::Damaged { kind: "JSON".to_owned(), reason: reason.to_owned() }
}
