//! Reads the spreadsheets of Excel. No other module uses calamine.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{self, BufReader, Read, Seek};
use std::mem;

use calamine::{
    DataType, Reader, SheetType, SheetVisible, WorkbookProperties, Xls, XlsError, Xlsb, XlsbError, Xlsx,
    XlsxError,
};
use zip::ZipArchive;

use super::number::{NumberFormat, any_time, general};
use super::sheet::{Cell, CellValue, Sheet, Workbook};
use crate::error::ContentError;
use crate::source::collection::outbox::Outbox;
use crate::source::collection::reader::{CollectionReader, CollectionRequest};
use crate::source::collection::stdin::{StdinAt, StdinFile};
use crate::source::decode::known_format;
use crate::source::fields::Record;
use crate::source::format::{CollectionFormat, EXPANSION_FREE_BYTES};

type Input = BufReader<StdinAt>;

/// A workbook of Excel.
pub struct ExcelWorkbook<'a> {
    content: Content,
    request: &'a CollectionRequest,
    /// Size of the file in bytes.
    size: u64,
}

enum Content {
    Xlsx(Box<Xlsx<Input>>),
    Xlsb(Box<Xlsb<Input>>),
    Xls(Box<Xls<Input>>),
}

impl<'a> ExcelWorkbook<'a> {
    pub fn open(file: StdinFile, request: &'a CollectionRequest) -> Result<Self, ContentError> {
        let size = file.size();
        let mut input = file.reader();
        let format = request.format;
        check(&mut input, request)?;
        let content = match format {
            CollectionFormat::Xlsb => Content::Xlsb(Box::new(Xlsb::new(input).map_err(|e| match e {
                XlsbError::Password => ContentError::Password,
                e => damaged(format, &e),
            })?)),
            CollectionFormat::Xls => Content::Xls(Box::new(Xls::new(input).map_err(|e| match e {
                XlsError::Password => ContentError::Password,
                e => damaged(format, &e),
            })?)),
            _ => Content::Xlsx(Box::new(Xlsx::new(input).map_err(|e| match e {
                XlsxError::Password => ContentError::Password,
                e => damaged(format, &e),
            })?)),
        };
        Ok(ExcelWorkbook { content, request, size })
    }

    /// Returns the names of the sheets that are shown.
    fn names(&self) -> Vec<String> {
        let sheets = match &self.content {
            Content::Xlsx(workbook) => workbook.sheets_metadata(),
            Content::Xlsb(workbook) => workbook.sheets_metadata(),
            Content::Xls(workbook) => workbook.sheets_metadata(),
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

impl Content {
    /// Returns what the workbook says about itself. A workbook whose cells can be read may have damaged properties.
    fn properties(&mut self) -> Record {
        let properties = match self {
            Content::Xlsx(workbook) => workbook.workbook_properties().unwrap_or_default(),
            Content::Xlsb(workbook) => workbook.workbook_properties().unwrap_or_default(),
            Content::Xls(workbook) => workbook.workbook_properties().unwrap_or_default(),
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
        let mut rows = Rows { sheet, number: 0, cells: Vec::new() };
        match self {
            Content::Xlsx(workbook) => {
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
            Content::Xlsb(workbook) => {
                let is_1904 = workbook.has_1904_epoch();
                let mut cells = workbook.worksheet_cells_reader(name).map_err(|e| damaged(format, &e))?;
                while let Some(cell) = cells.next_cell().map_err(|e| damaged(format, &e))? {
                    rows.add(cell.get_position(), shown(cell.get_value(), None, is_1904))?;
                }
            }
            Content::Xls(workbook) => {
                let is_1904 = workbook.has_1904_epoch();
                let range = workbook.worksheet_range(name).map_err(|e| damaged(format, &e))?;
                let (first_row, first_column) = range.start().unwrap_or_default();
                for (row, column, value) in range.used_cells() {
                    let position = (first_row + row as u32, first_column + column as u32);
                    rows.add(position, shown(value, None, is_1904))?;
                }
            }
        }
        rows.flush()
    }
}

/// Collects the cells of each row.
struct Rows<'a, 'b, 'c> {
    sheet: &'a mut Sheet<'b, 'c>,
    /// The number of the row, counted from 0.
    number: u32,
    cells: Vec<Cell>,
}

impl Rows<'_, '_, '_> {
    /// Adds the text and the value of a cell, if it has any.
    fn add(&mut self, (row, column): (u32, u32), content: Option<(String, CellValue)>) -> io::Result<()> {
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
fn shown(value: &impl DataType, format: Option<&NumberFormat>, is_1904: bool) -> Option<(String, CellValue)> {
    if let Some(text) = value.get_string() {
        return Some((text.to_owned(), CellValue::Text));
    }
    if let Some(time) = value.get_datetime() {
        let days = time.as_f64();
        let any = || any_time(days, time.is_duration(), is_1904);
        let shown = format.map_or_else(any, |format| format.shown(days, is_1904));
        return Some((shown, CellValue::Time));
    }
    if let Some(time) = value.get_datetime_iso().or(value.get_duration_iso()) {
        return Some((time.replace('T', " "), CellValue::Time));
    }
    if let Some(truth) = value.get_bool() {
        return Some((if truth { "TRUE" } else { "FALSE" }.to_owned(), CellValue::Bool(truth)));
    }
    #[allow(clippy::cast_precision_loss)] // Cells hold doubles.
    let number = value.get_float().or(value.get_int().map(|whole| whole as f64))?;
    let shown = format.map_or_else(|| general(number), |format| format.shown(number, is_1904));
    Some((shown, CellValue::Number(number)))
}

/// Refuses a file of another format, and an archive whose parts expand to more than allowed. The library reads parts without a
/// limit.
fn check(input: &mut Input, request: &CollectionRequest) -> Result<(), ContentError> {
    let format = request.format;
    let mut start = Vec::new();
    input.by_ref().take(8).read_to_end(&mut start).map_err(|e| damaged(format, &e))?;
    let is_zip = start.starts_with(b"PK");
    let is_ole = start.starts_with(b"\xd0\xcf\x11\xe0");
    // A ZIP archive with a password is in an OLE file.
    let is_expected = if format == CollectionFormat::Xls { is_ole } else { is_zip || is_ole };
    if let Some(found) = known_format(&start).filter(|_| !is_expected) {
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
    }
    input.rewind().map_err(|e| damaged(format, &e))
}

fn damaged(format: CollectionFormat, error: &dyn Display) -> ContentError {
    let reason = format!("its cells cannot be read (calamine: {error})");
    ContentError::Damaged { kind: format.name().to_owned(), reason }
}
