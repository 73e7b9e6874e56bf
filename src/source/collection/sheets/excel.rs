//! Reads the spreadsheets of Excel. No other module uses calamine.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{self, BufReader, Read, Seek};
use std::mem;

use calamine::{
    DataType, Reader, SheetType, SheetVisible, WorkbookProperties, Xls, XlsError, Xlsb, XlsbError, Xlsx,
    XlsxError,
};
use serde_json::Value;
use zip::ZipArchive;

use super::biff::BiffWorkbook;
use super::number::{NumberFormat, any_time, general};
use super::sheet::{self, Cell, Sheet, Workbook};
use crate::error::ContentError;
use crate::source::collection::outbox::Outbox;
use crate::source::collection::reader::{CollectionReader, CollectionRequest};
use crate::source::collection::stdin::{StdinAt, StdinFile};
use crate::source::decode::known_format;
use crate::source::fields::Record;
use crate::source::format::{CollectionFormat, EXPANSION_FREE_BYTES};

/// The start of an OLE file.
const OLE: &[u8] = b"\xd0\xcf\x11\xe0";

type Input = BufReader<StdinAt>;

/// A workbook of Excel.
pub struct ExcelWorkbook<'a> {
    content: ExcelFile,
    request: &'a CollectionRequest,
    /// Size of the file in bytes.
    size: u64,
}

enum ExcelFile {
    Xlsx(Box<Xlsx<Input>>),
    Xlsb(Box<Xlsb<Input>>),
    Xls(Box<Xls<Input>>, Option<BiffWorkbook>),
}

impl<'a> ExcelWorkbook<'a> {
    pub fn open(file: StdinFile, request: &'a CollectionRequest) -> Result<Self, ContentError> {
        let size = file.size();
        let mut input = file.reader();
        let format = request.format;
        let other = check(&mut input, request)?;
        let content = match format {
            CollectionFormat::Xlsb => {
                Xlsb::new(input).map(|file| ExcelFile::Xlsb(Box::new(file))).map_err(|e| match e {
                    XlsbError::Password => ContentError::Password,
                    e => damaged(format, &e),
                })
            }
            CollectionFormat::Xls => {
                let records = BiffWorkbook::open(&mut input);
                input.rewind().map_err(|e| damaged(format, &e))?;
                Xls::new(input).map(|file| ExcelFile::Xls(Box::new(file), records)).map_err(|e| match e {
                    XlsError::Password => ContentError::Password,
                    e => damaged(format, &e),
                })
            }
            _ => Xlsx::new(input).map(|file| ExcelFile::Xlsx(Box::new(file))).map_err(|e| match e {
                XlsxError::Password => ContentError::Password,
                e => damaged(format, &e),
            }),
        };
        let content = content.map_err(|e| match (e, other) {
            (ContentError::Damaged { kind, .. }, Some(found)) => {
                ContentError::OtherKind { kind, found: found.to_owned() }
            }
            (e, _) => e,
        })?;
        Ok(ExcelWorkbook { content, request, size })
    }

    /// Returns the names of the sheets that are shown.
    fn names(&self) -> Vec<String> {
        let sheets = match &self.content {
            ExcelFile::Xlsx(workbook) => workbook.sheets_metadata(),
            ExcelFile::Xlsb(workbook) => workbook.sheets_metadata(),
            ExcelFile::Xls(workbook, _) => workbook.sheets_metadata(),
        };
        let is_shown = |sheet: &&calamine::Sheet| {
            sheet.visible == SheetVisible::Visible && sheet.typ == SheetType::WorkSheet
        };
        sheets.iter().filter(is_shown).map(|sheet| sheet.name.clone()).collect()
    }
}

impl CollectionReader for ExcelWorkbook<'_> {
    fn read(mut self: Box<Self>, outbox: &mut Outbox) -> io::Result<()> {
        let names = self.names();
        let mut workbook = Workbook::new(outbox, self.request, self.size, self.content.properties());
        for (at, name) in (1..).zip(&names) {
            workbook.consumed(self.size / names.len() as u64 * at);
            workbook.sheet(name, |sheet| self.content.read(name, sheet, self.request.format))?;
        }
        Ok(())
    }
}

impl ExcelFile {
    /// Returns what the workbook says about itself. A workbook whose cells can be read may have damaged properties.
    fn properties(&mut self) -> Record {
        let properties = match self {
            ExcelFile::Xlsx(workbook) => workbook.workbook_properties().unwrap_or_default(),
            ExcelFile::Xlsb(workbook) => workbook.workbook_properties().unwrap_or_default(),
            ExcelFile::Xls(workbook, _) => workbook.workbook_properties().unwrap_or_default(),
        };
        let WorkbookProperties { title, creator, subject, keywords, created, modified, .. } = properties;
        let date = modified.or(created);
        let values = [
            ("title", title),
            ("author", creator),
            ("subject", subject),
            ("keywords", keywords),
            ("date", date),
        ];
        let known = values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
        known.collect()
    }

    fn read(&mut self, name: &str, sheet: &mut Sheet, format: CollectionFormat) -> io::Result<()> {
        let mut rows = SheetRows { sheet, number: 0, cells: Vec::new() };
        match self {
            ExcelFile::Xlsx(workbook) => {
                let is_1904 = workbook.has_1904_epoch();
                let mut cells = workbook.worksheet_cells_reader(name).map_err(|e| damaged(format, &e))?;
                // Most cells have one of a few formats.
                let mut formats: HashMap<usize, Option<NumberFormat>> = HashMap::new();
                while let Some((cell, style)) =
                    cells.next_cell_with_style_id().map_err(|e| damaged(format, &e))?
                {
                    let number_format = formats.entry(style).or_insert_with(|| {
                        let code = &cells.styles().get(style)?.number_format.as_ref()?.format_code;
                        Some(NumberFormat::parse(code))
                    });
                    rows.add(cell.get_position(), shown(cell.get_value(), number_format.as_ref(), is_1904))?;
                }
            }
            ExcelFile::Xlsb(workbook) => {
                let is_1904 = workbook.has_1904_epoch();
                let mut cells = workbook.worksheet_cells_reader(name).map_err(|e| damaged(format, &e))?;
                while let Some(cell) = cells.next_cell().map_err(|e| damaged(format, &e))? {
                    rows.add(cell.get_position(), shown(cell.get_value(), None, is_1904))?;
                }
            }
            ExcelFile::Xls(workbook, records) => {
                let records = records.as_ref().and_then(|records| {
                    let place = workbook.sheets_metadata().iter().position(|sheet| sheet.name == name)?;
                    Some((records, records.sheet(place)))
                });
                let is_1904 = workbook.has_1904_epoch();
                let range = workbook.worksheet_range(name).map_err(|e| damaged(format, &e))?;
                let (first_row, first_column) = range.start().unwrap_or_default();
                for (row, column, value) in range.used_cells() {
                    // A sheet of XLS has at most 65,536 rows and 256 columns.
                    #[allow(clippy::cast_possible_truncation)]
                    let position = (first_row + row as u32, first_column + column as u32);
                    let number_format =
                        records.as_ref().and_then(|(workbook, sheet)| workbook.format(sheet, position));
                    let long = records.as_ref().and_then(|(_, sheet)| sheet.long_text(position));
                    let content = match long {
                        Some(text) => Some((text.to_owned(), text.into())),
                        None => shown(value, number_format, is_1904),
                    };
                    rows.add(position, content)?;
                }
            }
        }
        rows.flush()
    }
}

/// Collects the cells of each row.
struct SheetRows<'a, 'b, 'c> {
    sheet: &'a mut Sheet<'b, 'c>,
    /// The number of the row, counted from 0.
    number: u32,
    cells: Vec<Cell>,
}

impl SheetRows<'_, '_, '_> {
    /// Adds the text and the value of a cell, if it has any.
    fn add(&mut self, (row, column): (u32, u32), content: Option<(String, Value)>) -> io::Result<()> {
        let Some((shown, value)) = content.filter(|(shown, _)| !shown.trim().is_empty()) else {
            return Ok(());
        };
        if row != self.number {
            self.flush()?;
            self.number = row;
        }
        self.cells.push(Cell { column, shown, value });
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sheet.row(u64::from(self.number) + 1, mem::take(&mut self.cells))
    }
}

/// Returns the text that a cell shows, and its value. Returns `None` for an empty cell and for an error such as `#DIV/0!`.
fn shown(value: &impl DataType, format: Option<&NumberFormat>, is_1904: bool) -> Option<(String, Value)> {
    if let Some(text) = value.get_string() {
        return Some((text.to_owned(), text.into()));
    }
    if let Some(time) = value.get_datetime() {
        let days = time.as_f64();
        let any = || any_time(days, time.is_duration(), is_1904);
        let shown = format.map_or_else(any, |format| format.shown(days, is_1904));
        return Some((shown.clone(), shown.into()));
    }
    if let Some(time) = value.get_datetime_iso().or(value.get_duration_iso()) {
        let shown = time.replace('T', " ");
        return Some((shown.clone(), shown.into()));
    }
    if let Some(truth) = value.get_bool() {
        return Some((if truth { "TRUE" } else { "FALSE" }.to_owned(), truth.into()));
    }
    #[allow(clippy::cast_precision_loss)] // Cells hold doubles.
    let number = value.get_float().or(value.get_int().map(|whole| whole as f64))?;
    let shown = format.map_or_else(|| general(number), |format| format.shown(number, is_1904));
    Some((shown, sheet::number(number)))
}

/// Checks the start of a file, and that no part of an archive expands to more than allowed: the library reads parts without a
/// limit. Returns the other format that the file has unless it is a workbook with a password.
fn check(input: &mut Input, request: &CollectionRequest) -> Result<Option<&'static str>, ContentError> {
    let format = request.format;
    let mut start = Vec::new();
    input.by_ref().take(8).read_to_end(&mut start).map_err(|e| damaged(format, &e))?;
    input.rewind().map_err(|e| damaged(format, &e))?;
    let is_zip = start.starts_with(b"PK");
    let expected: &[u8] = if format == CollectionFormat::Xls { OLE } else { b"PK" };
    let is_old = format == CollectionFormat::Xls && matches!(start[..], [9, 0 | 2 | 4, 4 | 6 | 8, 0, ..]);
    let old = is_old.then_some("a workbook of Excel 4 or older");
    let other = old.or(known_format(&start).filter(|_| !start.starts_with(expected)));
    // A ZIP archive with a password is in an OLE file.
    if let Some(found) = other.filter(|_| !start.starts_with(OLE)) {
        return Err(ContentError::OtherKind { kind: format.name().to_owned(), found: found.to_owned() });
    }
    if is_zip {
        let mut archive = ZipArchive::new(input.by_ref()).map_err(|e| damaged(format, &e))?;
        for at in 0..archive.len() {
            let part = archive.by_index_raw(at).map_err(|e| damaged(format, &e))?;
            let allowed = part.compressed_size().saturating_mul(request.limits.expansion);
            if part.size() > allowed.max(EXPANSION_FREE_BYTES) {
                return Err(ContentError::Expands { max: request.limits.expansion });
            }
        }
        input.rewind().map_err(|e| damaged(format, &e))?;
    }
    Ok(other)
}

fn damaged(format: CollectionFormat, error: &dyn Display) -> ContentError {
    let reason = format!("its cells cannot be read (calamine: {error})");
    ContentError::Damaged { kind: format.name().to_owned(), reason }
}
