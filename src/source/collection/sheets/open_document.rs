//! Reads the spreadsheets of OpenDocument (ISO/IEC 26300). A file has the text that each cell shows, so no format is applied.

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read};
use std::mem;

use memchr::memmem;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use serde_json::Value;
use zip::ZipArchive;

use super::number::general;
use super::sheet::{self, Cell, Sheet, Workbook};
use crate::error::ContentError;
use crate::source::collection::outbox::Outbox;
use crate::source::collection::reader::{CollectionReader, CollectionRequest};
use crate::source::collection::stdin::{StdinAt, StdinFile};
use crate::source::decode::known_format;
use crate::source::fields::Record;
use crate::source::format::{CollectionFormat, EXPANSION_FREE_BYTES};

/// The start of the media type of the format. Templates have a longer one.
const MEDIA_TYPE: &[u8] = b"application/vnd.oasis.opendocument.spreadsheet";

/// Maximum number of columns that LibreOffice reads.
const COLUMNS_MAX: u32 = 16_384;

/// Maximum number of rows that LibreOffice reads.
const ROWS_MAX: u64 = 1 << 20;

/// Maximum size of the parts that describe the file, in bytes.
const DESCRIPTION_BYTES: u64 = 16 << 20;

/// A workbook of OpenDocument.
pub struct OpenWorkbook<'a> {
    archive: ZipArchive<BufReader<StdinAt>>,
    request: &'a CollectionRequest,
    /// Size of the file in bytes.
    size: u64,
}

impl<'a> OpenWorkbook<'a> {
    pub fn open(file: StdinFile, request: &'a CollectionRequest) -> Result<Self, ContentError> {
        let size = file.size();
        let mut input = file.reader();
        let start = input.fill_buf().map_err(|e| damaged(format!("it cannot be read ({e})")))?;
        let kind = CollectionFormat::Ods.name().to_owned();
        if let Some(found) = known_format(start).filter(|_| !start.starts_with(b"PK")) {
            return Err(ContentError::OtherKind { kind, found: found.to_owned() });
        }
        let archive = ZipArchive::new(input)
            .map_err(|e| damaged(format!("it is not a complete ZIP archive (zip: {e})")))?;
        let mut workbook = OpenWorkbook { archive, request, size };
        if workbook.description("mimetype").is_some_and(|found| !found.starts_with(MEDIA_TYPE)) {
            return Err(ContentError::OtherKind { kind, found: "another OpenDocument file".to_owned() });
        }
        let manifest = workbook.description("META-INF/manifest.xml").unwrap_or_default();
        if memmem::find(&manifest, b"encryption-data").is_some() {
            return Err(ContentError::Password);
        }
        Ok(workbook)
    }

    /// Returns the start of a part that describes the file. Returns `None` if there is no such part.
    fn description(&mut self, name: &str) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        self.archive.by_name(name).ok()?.take(DESCRIPTION_BYTES).read_to_end(&mut content).ok()?;
        Some(content)
    }

    /// Returns what the workbook says about itself. A workbook whose cells can be read may have damaged properties.
    fn properties(&mut self) -> Record {
        let mut properties = Record::new();
        let meta = self.description("meta.xml").unwrap_or_default();
        let mut xml = Reader::from_reader(&meta[..]);
        let mut name = None;
        while let Ok(event) = xml.read_event() {
            match event {
                Event::Start(start) => {
                    name = match start.name().as_ref() {
                        b"dc:title" => Some("title"),
                        b"dc:subject" => Some("subject"),
                        b"dc:date" => Some("date"),
                        b"meta:initial-creator" => Some("author"),
                        b"meta:keyword" => Some("keywords"),
                        _ => None,
                    }
                }
                Event::End(_) => name = None,
                Event::Eof => break,
                event => {
                    let Some(name) = name else { continue };
                    let text = text(&event).unwrap_or_default();
                    let value = properties.entry(name).or_insert_with(|| Value::from(""));
                    *value = format!("{}{text}", value.as_str().unwrap_or_default()).into();
                }
            }
        }
        properties
    }
}

impl CollectionReader for OpenWorkbook<'_> {
    fn read(mut self: Box<Self>, outbox: &mut Outbox) -> io::Result<()> {
        let properties = self.properties();
        let part = self
            .archive
            .by_name("content.xml")
            .map_err(|e| damaged(format!("it has no content (zip: {e})")))?;
        let expansion = self.request.limits.expansion;
        let left = part.compressed_size().saturating_mul(expansion).max(EXPANSION_FREE_BYTES);
        let part = Limited { inner: part, left, expansion };
        let mut xml = Reader::from_reader(BufReader::with_capacity(1 << 16, part));
        xml.config_mut().expand_empty_elements = true;
        let mut content = Xml { xml, buffer: Vec::new() };
        let mut workbook = Workbook::new(outbox, self.request, self.size, properties);
        let mut hidden = HashSet::new();
        let mut style = String::new();
        loop {
            match content.next()? {
                Event::Start(start) => match start.name().as_ref() {
                    b"style:style" => style = attribute(&start, "style:name").unwrap_or_default(),
                    b"style:table-properties"
                        if attribute(&start, "table:display").as_deref() == Some("false") =>
                    {
                        hidden.insert(mem::take(&mut style));
                    }
                    b"table:table" => {
                        let is_hidden = attribute(&start, "table:style-name")
                            .is_some_and(|style| hidden.contains(&style));
                        let name = attribute(&start, "table:name").unwrap_or_default();
                        if !is_hidden {
                            workbook.sheet(&name, |sheet| content.table(sheet))?;
                        }
                    }
                    _ => {}
                },
                Event::Eof => return Ok(()),
                _ => {}
            }
        }
    }
}

/// A reader that fails if a part expands to more than allowed.
struct Limited<R> {
    inner: R,
    left: u64,
    expansion: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let left = self.left.checked_sub(read as u64);
        self.left = left.ok_or(ContentError::Expands { max: self.expansion })?;
        Ok(read)
    }
}

/// The elements of the content.
struct Xml<R> {
    xml: Reader<R>,
    buffer: Vec<u8>,
}

impl<R: BufRead> Xml<R> {
    fn next(&mut self) -> Result<Event<'_>, ContentError> {
        self.buffer.clear();
        self.xml.read_event_into(&mut self.buffer).map_err(unreadable)
    }

    /// Reads the rows of a table, whose start has been read.
    fn table(&mut self, sheet: &mut Sheet) -> io::Result<()> {
        let mut number = 0;
        loop {
            let repeated = match self.next()? {
                Event::Start(start) if start.name().as_ref() == b"table:table-row" => {
                    repetition(&start, "table:number-rows-repeated")
                }
                Event::End(end) if end.name().as_ref() == b"table:table" => return Ok(()),
                Event::Eof => return Err(damaged("it ends inside of a table").into()),
                _ => continue,
            };
            let cells = self.row()?;
            if cells.is_empty() {
                number += repeated;
                continue;
            }
            for _ in 0..repeated.min(ROWS_MAX) {
                number += 1;
                sheet.row(number, cells.clone())?;
            }
        }
    }

    /// Reads the cells of a row, whose start has been read.
    fn row(&mut self) -> Result<Vec<Cell>, ContentError> {
        let mut cells = Vec::new();
        let mut column = 0;
        loop {
            let (start, is_cell) = match self.next()? {
                Event::Start(start) => {
                    let is_cell =
                        matches!(start.name().as_ref(), b"table:table-cell" | b"table:covered-table-cell");
                    (start.into_owned(), is_cell)
                }
                Event::End(end) if end.name().as_ref() == b"table:table-row" => return Ok(cells),
                Event::Eof => return Err(damaged("it ends inside of a row")),
                _ => continue,
            };
            if !is_cell {
                continue;
            }
            let repeated = repetition(&start, "table:number-columns-repeated");
            let text = self.cell()?;
            let next = u32::try_from(repeated).unwrap_or(u32::MAX).saturating_add(column).min(COLUMNS_MAX);
            if let Some((shown, value)) = content(&start, text) {
                let cell = |column| Cell { column, shown: shown.clone(), value: value.clone() };
                cells.extend((column..next).map(cell));
            }
            column = next;
        }
    }

    /// Reads the paragraphs of a cell, whose start has been read. Comments and drawings are left out.
    fn cell(&mut self) -> Result<String, ContentError> {
        let mut shown = String::new();
        let mut paragraphs = 0;
        loop {
            let skipped = match self.next()? {
                Event::Start(start) => match start.name().as_ref() {
                    b"text:p" | b"text:h" => {
                        if !shown.is_empty() {
                            shown.push('\n');
                        }
                        paragraphs += 1;
                        continue;
                    }
                    b"text:s" | b"text:tab" | b"text:line-break" => {
                        shown.push(' ');
                        continue;
                    }
                    b"text:a" | b"text:span" | b"text:ruby" | b"text:ruby-base" => continue,
                    _ => start.to_end().into_owned(),
                },
                Event::End(end) => match end.name().as_ref() {
                    b"table:table-cell" | b"table:covered-table-cell" => return Ok(shown),
                    b"text:p" | b"text:h" => {
                        paragraphs -= 1;
                        continue;
                    }
                    _ => continue,
                },
                Event::Eof => return Err(damaged("it ends inside of a cell")),
                event => {
                    if paragraphs > 0 {
                        shown.push_str(&text(&event)?);
                    }
                    continue;
                }
            };
            let mut buffer = Vec::new();
            self.xml.read_to_end_into(skipped.name(), &mut buffer).map_err(unreadable)?;
        }
    }
}

/// Returns the text and the value of a cell. Returns `None` for an empty cell and for an error such as `#DIV/0!`.
fn content(start: &BytesStart, text: String) -> Option<(String, Value)> {
    if attribute(start, "calcext:value-type").as_deref() == Some("error") {
        return None;
    }
    let written = |name| attribute(start, name).unwrap_or_default();
    let (unformatted, value) = match written("office:value-type").as_str() {
        "float" | "percentage" | "currency" => {
            let number: f64 = written("office:value").parse().ok()?;
            (general(number), sheet::number(number))
        }
        "boolean" => {
            let truth = written("office:boolean-value");
            (truth.to_uppercase(), (truth == "true").into())
        }
        "date" => {
            let date = written("office:date-value").replace('T', " ");
            (date.clone(), date.into())
        }
        "time" => {
            let time = written("office:time-value");
            (time.clone(), time.into())
        }
        _ => (written("office:string-value"), Value::Null),
    };
    // Some programs write only the value.
    let shown = if text.trim().is_empty() { unformatted } else { text };
    let value = if value.is_null() { shown.clone().into() } else { value };
    (!shown.trim().is_empty()).then_some((shown, value))
}

/// Returns the text of an event.
fn text(event: &Event) -> Result<String, ContentError> {
    let undecodable = |e| damaged(format!("it is not UTF-8 ({e})"));
    Ok(match event {
        Event::Text(text) => text.decode().map_err(undecodable)?.into_owned(),
        Event::CData(text) => text.decode().map_err(undecodable)?.into_owned(),
        Event::GeneralRef(name) => match name.resolve_char_ref() {
            Ok(Some(character)) => character.to_string(),
            _ => match &**name {
                b"amp" => "&".to_owned(),
                b"lt" => "<".to_owned(),
                b"gt" => ">".to_owned(),
                b"quot" => "\"".to_owned(),
                b"apos" => "'".to_owned(),
                _ => String::new(),
            },
        },
        _ => String::new(),
    })
}

fn attribute(start: &BytesStart, name: &str) -> Option<String> {
    let attribute = start.try_get_attribute(name).ok()??;
    Some(attribute.normalized_value(XmlVersion::Implicit1_0).ok()?.into_owned())
}

/// Returns how often a row or a cell is repeated, at least once.
fn repetition(start: &BytesStart, name: &str) -> u64 {
    attribute(start, name).and_then(|times| times.parse().ok()).unwrap_or(1).max(1)
}

fn unreadable(error: quick_xml::Error) -> ContentError {
    if let quick_xml::Error::Io(e) = &error
        && let Some(ContentError::Expands { max }) = e.get_ref().and_then(|e| e.downcast_ref())
    {
        return ContentError::Expands { max: *max };
    }
    damaged(format!("its content is not valid XML (quick-xml: {error})"))
}

fn damaged(reason: impl Into<String>) -> ContentError {
    ContentError::Damaged { kind: CollectionFormat::Ods.name().to_owned(), reason: reason.into() }
}
