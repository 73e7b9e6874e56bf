//! The columns of a file of chunks that say where in its document a chunk stands.

use serde_json::Value;

use super::kept::{KeptColumn, KeptType};
use super::metadata::RowKind;

/// The column with the title of the document. It may be null.
pub const TITLE: &str = "title";

/// The column with the headings above the chunk, from the highest level to the lowest.
pub const HEADINGS: &str = "headings";

/// The names and types of the columns, in their order:
///
/// - `document` and `chunk`: the id of the document, and the number of the chunk, counted from 0
/// - `title` and `headings`
/// - `page` and `page_end`: the first and the last page, counted from 1; null if the document has no pages
/// - `start` and `end`: the place of the chunk in the text of the document, in characters
/// - `tokens`: the number of tokens that the model received
const COLUMNS: [(&str, KeptType); 9] = [
    ("document", KeptType::Text),
    ("chunk", KeptType::LargeWhole),
    (TITLE, KeptType::Text),
    (HEADINGS, KeptType::Texts),
    ("page", KeptType::LargeWhole),
    ("page_end", KeptType::LargeWhole),
    ("start", KeptType::LargeWhole),
    ("end", KeptType::LargeWhole),
    ("tokens", KeptType::LargeWhole),
];

/// Returns the place of a chunk for people, such as `guide.pdf p. 12 › Returns › Refunds`. `value` returns the value of a column.
/// Returns `None` if the row is no chunk with these columns.
pub fn shown<'a>(value: impl Fn(&str) -> Option<&'a Value>) -> Option<String> {
    let mut place = value("document")?.as_str()?.to_owned();
    let page = |name| value(name).and_then(Value::as_u64);
    match (page("page"), page("page_end")) {
        (Some(first), Some(last)) if first < last => place += &format!(" p. {first}-{last}"),
        (Some(page), _) => place += &format!(" p. {page}"),
        _ => {}
    }
    let headings = value(HEADINGS).and_then(Value::as_array).into_iter().flatten();
    headings.filter_map(Value::as_str).for_each(|heading| place += &format!(" › {heading}"));
    Some(place)
}

/// Returns the names of the columns after `vector`: of a chunk, and of the kept fields.
pub fn column_names(rows: RowKind, keep: &[String]) -> Vec<&str> {
    let own = COLUMNS.iter().map(|&(name, _)| name).filter(|_| rows == RowKind::Chunks);
    own.chain(keep.iter().map(String::as_str)).collect()
}

/// Returns the columns after `vector`: of a chunk, and of the kept fields.
pub(super) fn columns(rows: RowKind, keep: &[String]) -> Vec<KeptColumn> {
    let own =
        COLUMNS.iter().map(|&(name, kind)| KeptColumn::fixed(name, kind)).filter(|_| rows == RowKind::Chunks);
    own.chain(keep.iter().map(|name| KeptColumn::new(name))).collect()
}
