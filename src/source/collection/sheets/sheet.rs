//! Turns the cells of a sheet into a document, or into rows if a column of the sheet has the name of a text field.

use std::collections::BTreeSet;
use std::io;

use serde_json::{Number, Value};

use crate::error::ContentError;
use crate::source::collection::expansion::Expansion;
use crate::source::collection::outbox::{Member, Outbox};
use crate::source::collection::reader::CollectionRequest;
use crate::source::extract::Extracted;
use crate::source::fields::{Fields, Record};
use crate::source::format::CollectionFormat;
use crate::source::names::Names;
use crate::text::blocks::{BlockKind, BlockWriter, Structured};

/// The mark of a cell, in the text of a row.
const CELL: &str = "| ";

/// Where the sheets of a workbook go, and what they share.
pub struct Workbook<'a, 'b> {
    outbox: &'a mut Outbox<'b>,
    fields: &'a Fields,
    bytes_max: u64,
    expansion: Expansion,
    names: Names,
    /// What the workbook says about itself.
    properties: Record,
    /// Whether each sheet is in a part of its own.
    has_parts: bool,
}

/// A cell that is not empty.
#[derive(Debug, Clone)]
pub struct Cell {
    pub column: u32,
    /// The text that the sheet shows.
    pub shown: String,
    /// The value for kept columns: a number, a boolean or a text. A date or a time is a text in the order of ISO 8601.
    pub value: Value,
}

/// Returns a number as a value. A whole number is an integer, so that it can be an id.
pub fn number(number: f64) -> Value {
    /// Up to this size, doubles have all whole numbers.
    const WHOLE_MAX: f64 = 9e15;
    if number.fract() == 0.0 && number.abs() < WHOLE_MAX {
        #[allow(clippy::cast_possible_truncation)]
        return (number as i64).into();
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

impl<'a, 'b> Workbook<'a, 'b> {
    /// `size` is the size of the file in bytes.
    pub fn new(
        outbox: &'a mut Outbox<'b>,
        request: &'a CollectionRequest,
        size: u64,
        properties: Record,
    ) -> Self {
        Workbook {
            outbox,
            fields: &request.fields,
            bytes_max: request.limits.document_bytes,
            expansion: Expansion::new(size, request.limits.expansion),
            names: Names::default(),
            properties,
            has_parts: request.format != CollectionFormat::Ods,
        }
    }

    /// Records how many bytes of the file have been read so far.
    pub fn consumed(&mut self, bytes: u64) {
        self.outbox.consumed(bytes);
    }

    /// Reads a sheet. `read` passes each row with its number, counted from 1, and its cells to the sheet.
    ///
    /// # Errors
    /// The error of the outbox, or the rest of the workbook cannot be read. A sheet that is too large, or that is damaged in a part
    /// of its own, is a failure of the sheet.
    pub fn sheet(&mut self, name: &str, read: impl FnOnce(&mut Sheet) -> io::Result<()>) -> io::Result<()> {
        let section = self.names.unique(&format!("#{name}"), "");
        self.outbox.section(section)?;
        let mut sheet = Sheet {
            outbox: self.outbox,
            fields: self.fields,
            expansion: &mut self.expansion,
            bytes_left: self.bytes_max,
            bytes_max: self.bytes_max,
            state: SheetState::Start(Grid::default()),
        };
        let grid = match read(&mut sheet) {
            Ok(()) => sheet.state.grid(),
            Err(e) => match e.downcast::<ContentError>()? {
                failed @ ContentError::TooLarge { .. } => {
                    return self.outbox.push(Member::Document(Err(failed)));
                }
                failed @ ContentError::Damaged { .. } if self.has_parts => {
                    return self.outbox.push(Member::Document(Err(failed)));
                }
                failed => return Err(failed.into()),
            },
        };
        let Some(grid) = grid.filter(|grid| !grid.rows.is_empty()) else { return Ok(()) };
        let document = grid.document(name, self.bytes_max);
        let extracted = document.map(|content| Extracted {
            content,
            fields: self.properties.clone(),
            ..Extracted::default()
        });
        self.outbox.push(Member::Document(extracted))
    }
}

/// A sheet that is being read.
pub struct Sheet<'a, 'b> {
    outbox: &'a mut Outbox<'b>,
    fields: &'a Fields,
    expansion: &'a mut Expansion,
    /// How many bytes the cells that follow may have.
    bytes_left: u64,
    bytes_max: u64,
    state: SheetState,
}

/// What is known about a sheet.
enum SheetState {
    /// So far, no row has more than one cell. Such rows are titles.
    Start(Grid),
    /// The sheet is one document.
    Document(Grid),
    /// Each row is a document. These columns are read.
    Rows(Vec<SheetColumn>),
}

impl SheetState {
    fn grid(self) -> Option<Grid> {
        match self {
            SheetState::Start(grid) | SheetState::Document(grid) => Some(grid),
            SheetState::Rows(_) => None,
        }
    }
}

/// A column that is read.
struct SheetColumn {
    index: u32,
    name: String,
    /// Whether the column is a text field. In a text field, an empty cell is an empty text. In any other column, an empty cell is
    /// a missing value.
    is_text: bool,
}

impl Sheet<'_, '_> {
    /// Adds a row.
    ///
    /// # Errors
    /// The sheet is too large, the workbook expands to more than allowed, or the outbox has an error.
    pub fn row(&mut self, number: u64, mut cells: Vec<Cell>) -> io::Result<()> {
        if cells.is_empty() {
            return Ok(());
        }
        cells.sort_by_key(|cell| cell.column);
        cells.dedup_by_key(|cell| cell.column);
        let bytes = cells.iter().map(|cell| (CELL.len() + cell.shown.len() + 1) as u64).sum();
        self.expansion.add(bytes)?;
        if let SheetState::Rows(columns) = &self.state {
            let record = record(columns, &cells);
            let too_large = ContentError::TooLarge { max: self.bytes_max };
            let record = if bytes > self.bytes_max { Err(too_large) } else { Ok(record) };
            return self.outbox.push(Member::Row(number, record));
        }
        let too_large = ContentError::TooLarge { max: self.bytes_max };
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or(too_large)?;
        match &mut self.state {
            SheetState::Document(grid) => grid.push(cells, BlockKind::TableRow),
            SheetState::Start(grid) => {
                if let Some(columns) = columns(self.fields, &cells) {
                    self.outbox.columns(header(&cells));
                    self.state = SheetState::Rows(columns);
                } else if cells.len() == 1 {
                    grid.push(cells, BlockKind::Paragraph);
                } else {
                    let is_header = cells.iter().all(|cell| cell.value == cell.shown.as_str());
                    grid.push(cells, if is_header { BlockKind::TableHeader } else { BlockKind::TableRow });
                    self.state = SheetState::Document(std::mem::take(grid));
                }
            }
            SheetState::Rows(_) => {}
        }
        Ok(())
    }
}

/// Returns the columns that are read if this row is a header with a text field.
fn columns(fields: &Fields, cells: &[Cell]) -> Option<Vec<SheetColumn>> {
    let header = header(cells);
    let wanted = fields.columns(&header).ok()?.into_iter().filter(|&at| !header[..at].contains(&header[at]));
    let column = |at: usize| {
        let name = header[at].clone();
        SheetColumn { index: cells[at].column, is_text: fields.text.contains(&name), name }
    };
    Some(wanted.map(column).collect())
}

fn header(cells: &[Cell]) -> Vec<String> {
    cells.iter().map(|cell| cell.shown.trim().to_owned()).collect()
}

fn record(columns: &[SheetColumn], cells: &[Cell]) -> Record {
    let mut record = Record::new();
    for SheetColumn { index, name, is_text } in columns {
        let cell = cells.iter().find(|cell| cell.column == *index);
        let value = match (cell, is_text) {
            (Some(cell), true) => cell.shown.clone().into(),
            (Some(cell), false) => cell.value.clone(),
            (None, true) => Value::from(""),
            (None, false) => continue,
        };
        record.insert(name.clone(), value);
    }
    record
}

/// The cells of a sheet. A sheet may have millions of cells, so a cell takes few bytes.
#[derive(Default)]
struct Grid {
    text: String,
    /// The column of each cell, and where its text ends.
    cells: Vec<(u32, usize)>,
    /// The end of each row in `cells`, and what the row is.
    rows: Vec<(usize, BlockKind)>,
}

impl Grid {
    fn push(&mut self, cells: Vec<Cell>, kind: BlockKind) {
        for cell in cells {
            self.text.push_str(&cell.shown);
            self.cells.push((cell.column, self.text.len()));
        }
        self.rows.push((self.cells.len(), kind));
    }

    /// Returns the name of the sheet as a heading and the rows. Columns without any cell are left out. In each row, an empty cell
    /// before another one is marked, so that cells of one column can be told from those of others.
    fn document(&self, name: &str, bytes_max: u64) -> Result<Structured, ContentError> {
        let used: BTreeSet<u32> = self.cells.iter().map(|(column, _)| *column).collect();
        let mut text = BlockWriter::default();
        text.heading(1);
        text.push_str(name);
        text.end();
        let (mut first, mut start, mut empty_bytes) = (0, 0, 0);
        for &(last, kind) in &self.rows {
            text.begin(kind, "");
            let mut next = 0;
            for &(column, end) in &self.cells[first..last] {
                if kind == BlockKind::Paragraph {
                    text.push_str(&self.text[start..end]);
                    start = end;
                    break;
                }
                for _ in used.range(next..column) {
                    text.push_str(CELL);
                    empty_bytes += CELL.len() as u64;
                    if empty_bytes > bytes_max {
                        return Err(ContentError::TooLarge { max: bytes_max });
                    }
                }
                text.push_str(CELL);
                text.push_str(&self.text[start..end]);
                text.push_str(" ");
                (start, next) = (end, column + 1);
            }
            text.end();
            first = last;
        }
        Ok(text.finish())
    }
}
