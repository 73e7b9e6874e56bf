//! The columns that say where in its document a chunk stands, and how long a document is.

use serde_json::Value;

use super::kept::{KeptColumn, KeptType};
use super::metadata::RowKind;

/// The column with the title of the document. It may be null.
pub const TITLE: &str = "title";

/// The column with the headings above the chunk, from the highest level to the lowest.
pub const HEADINGS: &str = "headings";

/// The column with the number of tokens that the model received.
pub const TOKENS: &str = "tokens";

/// The column with the number of chunks of a document.
pub const CHUNKS: &str = "chunks";

/// The names and types of the columns of a file of chunks, in their order:
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
    (TOKENS, KeptType::LargeWhole),
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

/// A column of a file of documents that is written on demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentColumn {
    /// The title of the document. It may be null.
    Title,
    /// The number of tokens that the model received for the document.
    Tokens,
    /// The number of chunks that the document was embedded in.
    Chunks,
}

impl DocumentColumn {
    /// Returns the name of the column.
    pub fn name(self) -> &'static str {
        match self {
            DocumentColumn::Title => TITLE,
            DocumentColumn::Tokens => TOKENS,
            DocumentColumn::Chunks => CHUNKS,
        }
    }

    fn kind(self) -> KeptType {
        if self == DocumentColumn::Title { KeptType::Text } else { KeptType::LargeWhole }
    }
}

/// The columns of a file after `vector`.
#[derive(Debug, Clone)]
pub struct MoreColumns {
    /// Whether the file has the columns of chunks.
    pub rows: RowKind,
    /// The columns of documents.
    pub of_documents: Vec<DocumentColumn>,
    /// The names of the kept fields.
    pub keep: Vec<String>,
}

impl MoreColumns {
    /// Returns the names of the columns, in their order.
    pub fn names(&self) -> Vec<&str> {
        let of_chunks = COLUMNS.iter().map(|&(name, _)| name).filter(|_| self.rows == RowKind::Chunks);
        let of_documents = self.of_documents.iter().map(|column| column.name());
        of_chunks.chain(of_documents).chain(self.keep.iter().map(String::as_str)).collect()
    }

    pub(super) fn columns(&self) -> Vec<KeptColumn> {
        let fixed = |(name, kind)| KeptColumn::fixed(name, kind);
        let of_chunks = COLUMNS.into_iter().map(fixed).filter(|_| self.rows == RowKind::Chunks);
        let of_documents = self.of_documents.iter().map(|column| fixed((column.name(), column.kind())));
        of_chunks.chain(of_documents).chain(self.keep.iter().map(|name| KeptColumn::new(name))).collect()
    }
}
