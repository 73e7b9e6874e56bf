//! Reads JSON Lines, one row per line.

use std::io::{self, BufRead, BufReader, Read};

use super::source::Source;
use crate::error::{ContentError, DocumentError};
use crate::source::decode;
use crate::source::found::Found;
use crate::source::raw::{Reading, RowContent};

/// The lines of one file or stream. Blank lines are skipped.
pub struct JsonLines {
    reader: Option<BufReader<Box<dyn Read + Send>>>,
    source: Source,
    number: u64,
    bytes_max: u64,
}

impl JsonLines {
    pub fn open(
        bytes: impl Read + Send + 'static,
        mut source: Source,
        reading: &Reading,
    ) -> Result<Self, DocumentError> {
        // JSON is UTF-8 by definition, so `--encoding` does not apply.
        let (reader, encoding) = decode::json_stream(Box::new(bytes))?;
        source.encoding = encoding;
        Ok(JsonLines::new(reader, source, reading))
    }

    pub fn new(reader: Box<dyn Read + Send>, source: Source, reading: &Reading) -> Self {
        let reader = Some(BufReader::with_capacity(1 << 16, reader));
        JsonLines { reader, source, number: 0, bytes_max: reading.limits.document_bytes }
    }
}

impl Iterator for JsonLines {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            let read = read_line(self.reader.as_mut()?, self.bytes_max);
            self.number += 1;
            return match read {
                Ok(Some(Ok(bytes))) if bytes.iter().all(u8::is_ascii_whitespace) => continue,
                Ok(Some(Ok(bytes))) => Some(self.source.row(self.number, RowContent::Json(bytes))),
                Ok(Some(Err(cause))) => Some(self.source.failed(self.number, cause)),
                Ok(None) => {
                    self.reader = None;
                    None
                }
                // After a failed read, the position in the file is unknown, so reading stops.
                Err(e) => {
                    self.reader = None;
                    Some(self.source.failed_from(Some(self.number), e.into()))
                }
            };
        }
    }
}

/// Reads one line. Removes the line feed, and a byte order mark at the start of the line. Returns `None` at the end of the
/// file. A line of more than `max` bytes is an error. The rest of such a line is skipped and not stored in memory.
fn read_line(reader: &mut impl BufRead, max: u64) -> io::Result<Option<Result<Vec<u8>, DocumentError>>> {
    let mut line = Vec::new();
    if reader.take(max + 1).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.ends_with(b"\n") {
        line.pop();
    } else if line.len() as u64 > max {
        reader.skip_until(b'\n')?;
        return Ok(Some(Err(ContentError::TooLarge { max }.into())));
    }
    if line.starts_with(b"\xEF\xBB\xBF") {
        line.drain(..3);
    }
    Ok(Some(Ok(line)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::source::format::{FormatKind, RowFormat};

    #[test]
    fn every_line_is_a_document_or_a_failure_with_its_number() {
        let input = b"\xEF\xBB\xBF{\"id\":\"a\",\"text\":\"1\"}\r\n\n  \n{\"id\":7,\"text\":\"2\"}\n{\"text\":\"3\"}\n{\"text\":\"a line that is too long\"}\nnope".to_vec();
        let mut reading = Reading::for_test();
        reading.limits.document_bytes = 25;
        let format = FormatKind::Rows(RowFormat::Jsonl);
        let source = Source::new("f.jsonl".into(), Path::new("").into(), "f.jsonl".into(), format);
        let lines = JsonLines::new(Box::new(io::Cursor::new(input)), source, &reading);
        let found: Vec<String> = lines
            .map(|found| match found {
                Found::Raw(raw) => raw.read(&reading).map_or_else(
                    |f| format!("{}: {}", f.place, f.cause),
                    |d| format!("{}={}", d.id, d.content.text()),
                ),
                Found::Failed(failure) => format!("{}: {}", failure.place, failure.cause),
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(found[..3], ["a=1", "7=2", "f.jsonl:5=3"]);
        assert!(found[3].starts_with("f.jsonl:6: larger than 25 bytes"), "{}", found[3]);
        assert!(
            found[4].starts_with("f.jsonl:7: not a JSON object: expected ident at column 2"),
            "{}",
            found[4]
        );
        assert_eq!(found.len(), 5);
    }
}
