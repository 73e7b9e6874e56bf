//! Extracts the text of Jupyter notebooks, in the versions 3 and 4 of their format.
//!
//! The names of the fields are defined in <https://nbformat.readthedocs.io/en/latest/format_description.html>.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::front_matter;
use super::html;
use super::markdown;
use crate::error::ContentError;
use crate::source::fields::Record;
use crate::source::format::{DocumentFormat, damaged};
use crate::text::blocks::{BlockKind, BlockWriter, Structured};

#[derive(Deserialize)]
struct Notebook {
    cells: Option<Vec<NotebookCell>>,
    /// Version 3 has its cells here.
    #[serde(default)]
    worksheets: Vec<Worksheet>,
    #[serde(default)]
    metadata: Map<String, Value>,
}

#[derive(Deserialize)]
struct Worksheet {
    #[serde(default)]
    cells: Vec<NotebookCell>,
}

#[derive(Deserialize)]
struct NotebookCell {
    cell_type: String,
    /// In version 3, a code cell has an `input` instead.
    #[serde(alias = "input", default)]
    source: SourceLines,
    /// The level of a heading cell of version 3.
    level: Option<usize>,
    #[serde(default)]
    outputs: Vec<CellOutput>,
}

/// What a code cell printed, showed or failed with.
#[derive(Default, Deserialize)]
#[serde(default)]
struct CellOutput {
    text: SourceLines,
    html: SourceLines,
    data: OutputData,
    ename: String,
    evalue: String,
}

/// A result in several formats. Version 3 has them in the output itself.
#[derive(Default, Deserialize)]
#[serde(default)]
struct OutputData {
    #[serde(rename = "text/plain")]
    plain: SourceLines,
    #[serde(rename = "text/markdown")]
    markdown: SourceLines,
    #[serde(rename = "text/html")]
    html: SourceLines,
}

/// A text in one string, or in one per line.
#[derive(Deserialize)]
#[serde(untagged)]
enum SourceLines {
    One(String),
    Many(Vec<String>),
}

impl Default for SourceLines {
    fn default() -> Self {
        SourceLines::Many(Vec::new())
    }
}

impl SourceLines {
    fn joined(self) -> String {
        match self {
            SourceLines::One(text) => text,
            SourceLines::Many(lines) => lines.concat(),
        }
    }
}

/// Returns the Markdown, the code and the text outputs of all cells, and what the notebook says about itself.
///
/// # Errors
/// The content is no notebook.
pub fn notebook(source: &str, wants_fields: bool) -> Result<(Structured, Record), ContentError> {
    let unreadable = |reason: String| damaged(DocumentFormat::Notebook, reason);
    let Notebook { cells, worksheets, metadata } =
        serde_json::from_str(source.trim_start_matches('\u{FEFF}'))
            .map_err(|e| unreadable(format!("it is not a JSON object with cells ({e})")))?;
    if cells.is_none() && worksheets.is_empty() {
        return Err(unreadable("it has no cells".to_owned()));
    }
    let mut text = BlockWriter::default();
    let mut fields = if wants_fields { fields_of(metadata) } else { Record::new() };
    let cells = cells.into_iter().flatten().chain(worksheets.into_iter().flat_map(|sheet| sheet.cells));
    for (number, cell) in cells.enumerate() {
        let source = cell.source.joined();
        match (cell.cell_type.as_str(), cell.level) {
            ("markdown", _) => text.append(&markdown::markdown(&source)),
            ("heading", level) => {
                text.heading(level.unwrap_or(1));
                text.push_str(&source);
                text.end();
            }
            ("code", _) => text.block(BlockKind::Code, &source),
            // Quarto has its front matter in the first cell.
            (_, _) => {
                let (front_matter, body) =
                    if number == 0 { front_matter::split(&source) } else { (None, source.as_str()) };
                if wants_fields && let Some(front_matter) = front_matter {
                    fields.extend(front_matter.parse()?);
                }
                text.append(&Structured::plain(body.to_owned()));
            }
        }
        cell.outputs.into_iter().for_each(|output| write_output(output, &mut text));
    }
    Ok((text.finish(), fields))
}

fn write_output(output: CellOutput, text: &mut BlockWriter) {
    let CellOutput { text: printed, html: old_html, data, ename, evalue } = output;
    let (markdown, page) = (data.markdown.joined(), data.html.joined() + &old_html.joined());
    let plain = printed.joined() + &data.plain.joined();
    let plain = terminal(&plain);
    // The name of an object, such as `<Figure size 640x480 with 1 Axes>`, stands for a picture.
    let is_object = plain.trim_start().starts_with('<') && plain.trim_end().ends_with('>');
    if !markdown.trim().is_empty() {
        text.append(&markdown::markdown(&markdown));
    } else if !plain.trim().is_empty() && !is_object {
        text.block(BlockKind::Code, &plain);
    } else if !page.trim().is_empty() {
        text.append(&html::fragment(&page));
    }
    if !ename.is_empty() {
        text.block(BlockKind::Code, &format!("{ename}: {}", terminal(&evalue)));
    }
}

/// Returns what a terminal shows in the end: without colours, and of a line that was written again, the last version.
fn terminal(printed: &str) -> String {
    let mut shown = String::with_capacity(printed.len());
    let mut parts = printed.split("\u{1B}[");
    shown.push_str(parts.next().unwrap_or_default());
    for part in parts {
        // The parameters of an escape sequence end with one letter (ECMA-48, section 5.4).
        let parameters = part.bytes().take_while(|byte| matches!(byte, b'0'..=b'?')).count();
        shown.push_str(part.get(parameters + 1..).unwrap_or(&part[parameters..]));
    }
    let last = |line: &str| line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default().to_owned();
    shown.split('\n').map(last).collect::<Vec<_>>().join("\n")
}

/// Returns the title and the authors of the metadata.
fn fields_of(metadata: Map<String, Value>) -> Record {
    let mut fields = Record::new();
    for (name, value) in metadata {
        match (name.as_str(), value) {
            ("title", title @ Value::String(_)) => drop(fields.insert(name, title)),
            ("authors", Value::Array(authors)) => {
                let names: Vec<&str> =
                    authors.iter().filter_map(|author| author.get("name")?.as_str()).collect();
                if !names.is_empty() {
                    fields.insert("author".to_owned(), names.join(", ").into());
                }
            }
            _ => {}
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> String {
        notebook(source, false).unwrap().0.clean().text().to_owned()
    }

    #[test]
    fn cells_and_text_outputs_of_both_versions_are_read() {
        let four = r##"{"nbformat":4,"metadata":{"title":"Counts","authors":[{"name":"Ann"},{"name":"Bo"}]},"cells":[
            {"cell_type":"raw","metadata":{},"source":"---\nlang: es\n---\n"},
            {"cell_type":"markdown","source":["# Birds\n","See [us](https://a.example)."],"attachments":{"a.png":{"image/png":"iVBO"}}},
            {"cell_type":"code","execution_count":1,"source":"count(2)","outputs":[
                {"output_type":"stream","name":"stdout","text":["1%\r2%\r","3%\n","\u001b[31mred\u001b[0m\n"]},
                {"output_type":"execute_result","data":{"text/plain":["a  b"],"text/html":"<p>a</p>"}},
                {"output_type":"display_data","data":{"text/plain":"<Figure size 640x480>","image/png":"iVBO"}},
                {"output_type":"display_data","data":{"text/html":["<b>only</b> HTML"]}},
                {"output_type":"error","ename":"ValueError","evalue":"no birds","traceback":["x"]}]}]}"##;
        assert_eq!(read(four), "# Birds See us. count(2) 3% red a b only HTML ValueError: no birds");
        let fields = Value::Object(notebook(four, true).unwrap().1);
        assert_eq!(fields, serde_json::json!({"title": "Counts", "author": "Ann, Bo", "lang": "es"}));
        let three = r##"{"nbformat":3,"worksheets":[{"cells":[
            {"cell_type":"heading","level":2,"source":["Old"]},
            {"cell_type":"code","input":["x = 1"],"language":"python","outputs":[{"output_type":"pyout","text":["1"],"html":["<p>1</p>"],"png":"iVBO"}]}]}]}"##;
        assert_eq!(read(three), "## Old x = 1 1");
    }

    #[test]
    fn other_json_is_no_notebook() {
        for source in ["", "[]", "{}", "{\"cells\":5}", "{\"cells\":[{}]}", "text"] {
            assert!(notebook(source, false).is_err(), "{source}");
        }
        assert_eq!(read("{\"cells\":[]}"), "");
    }
}
