//! Reads what calamine leaves out of an XLS file: the number formats of cells, and the texts of formulas that go on in another
//! record ([MS-XLS]). No other module uses cfb.

use std::collections::HashMap;
use std::io::{Read, Seek};

use cfb::CompoundFile;

use super::number::NumberFormat;
use crate::source::decode::Charset;

/// Kinds of records ([MS-XLS] 2.3).
mod kind {
    pub const FORMULA: u16 = 0x0006;
    pub const END: u16 = 0x000A;
    pub const CONTINUE: u16 = 0x003C;
    pub const CODE_PAGE: u16 = 0x0042;
    pub const SHEET: u16 = 0x0085;
    pub const SEVERAL_NUMBERS: u16 = 0x00BD;
    pub const CELL_FORMAT: u16 = 0x00E0;
    pub const NUMBER: u16 = 0x0203;
    pub const TEXT_OF_FORMULA: u16 = 0x0207;
    pub const SHORT_NUMBER: u16 = 0x027E;
    pub const NUMBER_FORMAT: u16 = 0x041E;
    pub const BEGIN: u16 = 0x0809;
}

/// The version of [`kind::BEGIN`] since Excel 97. Before it, texts were not in Unicode.
const BIFF8: u16 = 0x0600;

/// The records of a workbook.
pub struct BiffWorkbook {
    stream: Vec<u8>,
    /// Where the records of each sheet start, in the order of the workbook.
    sheets: Vec<usize>,
    /// The number format of each cell format. `None` stands for a format that shows a number as it is, or a date.
    formats: Vec<Option<NumberFormat>>,
}

/// The cells of a sheet, by row and column.
#[derive(Default)]
pub struct BiffSheet {
    /// The numbers that have a format, with the number of their cell format.
    formats: HashMap<(u32, u32), usize>,
    /// The texts of formulas that take more than one record.
    texts: HashMap<(u32, u32), String>,
}

impl BiffWorkbook {
    /// Reads the records that describe all sheets. Returns `None` if the file has no records of a workbook.
    pub fn open<F: Read + Seek>(file: F) -> Option<BiffWorkbook> {
        let mut file = CompoundFile::open(file).ok()?;
        let name = ["/Workbook", "/Book"].into_iter().find(|name| file.is_stream(name))?;
        let mut stream = Vec::new();
        file.open_stream(name).ok()?.read_to_end(&mut stream).ok()?;
        let (mut sheets, mut cell_formats, mut codes) = (Vec::new(), Vec::new(), HashMap::new());
        let (mut version, mut charset) = (BIFF8, None);
        for (kind, data) in records(&stream) {
            match kind {
                kind::BEGIN => version = number(data, 0)?,
                kind::CODE_PAGE => charset = Charset::for_code_page(number(data, 0)?.into()),
                kind::SHEET => {
                    sheets.push(usize::from(number(data, 0)?) | usize::from(number(data, 2)?) << 16);
                }
                kind::CELL_FORMAT => cell_formats.push(number(data, 2)?),
                kind::NUMBER_FORMAT => {
                    let code = data.get(2..)?;
                    let code = if version == BIFF8 { text(code, &[])? } else { old_text(code, charset)? };
                    codes.insert(number(data, 0)?, code);
                }
                kind::END => break,
                _ => {}
            }
        }
        let code = |format| codes.get(format).map(String::as_str).or(known_code(*format));
        let formats = cell_formats.iter().map(|format| code(format).map(NumberFormat::parse)).collect();
        Some(BiffWorkbook { stream, sheets, formats })
    }

    /// Reads the cells of a sheet, by its place in the workbook.
    pub fn sheet(&self, place: usize) -> BiffSheet {
        let start = self.sheets.get(place).and_then(|&start| self.stream.get(start..));
        let mut sheet = BiffSheet::default();
        let mut depth = 0_usize;
        let mut formula = None;
        let mut records = records(start.unwrap_or_default()).peekable();
        while let Some((kind, data)) = records.next() {
            // A chart inside of a sheet has cells of its own.
            match kind {
                kind::BEGIN => depth += 1,
                kind::END if depth == 1 => break,
                kind::END => depth = depth.saturating_sub(1),
                _ if depth != 1 => {}
                kind::NUMBER | kind::SHORT_NUMBER => {
                    self.add_format(&mut sheet, position(data), number(data, 4))
                }
                kind::FORMULA => {
                    formula = position(data);
                    self.add_format(&mut sheet, formula, number(data, 4));
                }
                kind::SEVERAL_NUMBERS => {
                    let cells = data.get(4..).unwrap_or_default().chunks_exact(6);
                    for (more, cell) in (0..).zip(cells) {
                        let place = position(data).map(|(row, column)| (row, column + more));
                        self.add_format(&mut sheet, place, number(cell, 0));
                    }
                }
                kind::TEXT_OF_FORMULA => {
                    let mut more = Vec::new();
                    while let Some((_, data)) = records.next_if(|(kind, _)| *kind == kind::CONTINUE) {
                        more.push(data);
                    }
                    if let (Some(place), Some(text), false) = (formula, text(data, &more), more.is_empty()) {
                        sheet.texts.insert(place, text);
                    }
                }
                _ => {}
            }
        }
        sheet
    }

    fn add_format(&self, sheet: &mut BiffSheet, place: Option<(u32, u32)>, format: Option<u16>) {
        let (Some(place), Some(format)) = (place, format.map(usize::from)) else { return };
        if self.formats.get(format).is_some_and(Option::is_some) {
            sheet.formats.insert(place, format);
        }
    }

    /// Returns the number format of a cell, if it has one.
    pub fn format(&self, sheet: &BiffSheet, place: (u32, u32)) -> Option<&NumberFormat> {
        self.formats.get(*sheet.formats.get(&place)?)?.as_ref()
    }
}

impl BiffSheet {
    /// Returns the text of a cell whose text takes more than one record.
    pub fn long_text(&self, place: (u32, u32)) -> Option<&str> {
        self.texts.get(&place).map(String::as_str)
    }
}

/// Returns the kind and the content of each record. Ends where the stream is cut off.
fn records(mut stream: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (kind, length) = (number(stream, 0)?, number(stream, 2)?);
        let (record, rest) = stream.split_at_checked(4 + usize::from(length))?;
        stream = rest;
        Some((kind, &record[4..]))
    })
}

fn number(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*data.get(at..)?.first_chunk()?))
}

/// Returns the row and the column of a cell.
fn position(data: &[u8]) -> Option<(u32, u32)> {
    Some((number(data, 0)?.into(), number(data, 2)?.into()))
}

/// Returns a text that may go on in more records. Each of them says for itself how wide its characters are.
fn text(data: &[u8], more: &[&[u8]]) -> Option<String> {
    let mut left = usize::from(number(data, 0)?);
    let mut units: Vec<u16> = Vec::new();
    for data in [data.get(2..)?].iter().chain(more) {
        let (flags, characters) = data.split_first()?;
        let before = units.len();
        if flags & 1 == 0 {
            units.extend(characters.iter().take(left).map(|&byte| u16::from(byte)));
        } else {
            units.extend(characters.as_chunks().0.iter().take(left).map(|&unit| u16::from_le_bytes(unit)));
        }
        left -= units.len() - before;
    }
    Some(String::from_utf16_lossy(&units))
}

/// Returns a text of at most 255 bytes in a code page.
fn old_text(data: &[u8], charset: Option<Charset>) -> Option<String> {
    let (&length, characters) = data.split_first()?;
    let characters = characters.get(..usize::from(length))?;
    charset
        .and_then(|charset| charset.decode(characters))
        .or(Some(String::from_utf8_lossy(characters).into_owned()))
}

/// Returns the code of a number format that Excel does not store ([ECMA-376] part 1, 18.8.30). Dates are shown without one.
fn known_code(format: u16) -> Option<&'static str> {
    Some(match format {
        1 => "0",
        2 => "0.00",
        3 => "#,##0",
        4 => "#,##0.00",
        9 => "0%",
        10 => "0.00%",
        11 => "0.00E+00",
        37 | 38 => "#,##0;(#,##0)",
        39 | 40 => "#,##0.00;(#,##0.00)",
        48 => "##0.0E+0",
        _ => return None,
    })
}
