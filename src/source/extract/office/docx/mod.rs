//! Extracts the text of DOCX files.
//!
//! The names of parts and elements are defined in ECMA-376 (Office Open XML), part 1, chapters 11 and 17.

mod embedded;
mod numbering;
mod styles;

use std::collections::HashMap;
use std::mem;

use roxmltree::Node;
use serde_json::Map;

use self::embedded::embedded_text;
use self::numbering::{ListLabel, Numbering};
use self::styles::WordStyles;
use super::drawing::{alternative, graphics, is_hidden};
use super::ooxml::{Relations, fields, is_set, relation_id};
use super::package::Package;
use super::xml::{attribute, child, descend, elements, is_on, parse, value};
use crate::error::ContentError;
use crate::source::document::Limits;
use crate::source::extract::{Extracted, symbols};
use crate::source::format::DocumentFormat;
use crate::text::blocks::{BlockKind, BlockWriter, Structured};

/// The namespace of VML, in which older versions of Word draw.
const VML: &str = "urn:schemas-microsoft-com:vml";

/// Returns the text of paragraphs, tables, text boxes and diagrams in the order of the document, then the text of footnotes
/// and endnotes. Returns the properties of the document if `wants_fields` is set.
///
/// Headings, list items and table cells are marked as in Markdown, and numbered paragraphs begin with their number. A picture
/// is replaced by its alternative text. Tracked deletions, hidden text, field codes, comments, headers and footers are skipped.
///
/// # Errors
/// The content is damaged, has another format or exceeds a limit.
pub fn docx(bytes: &[u8], limits: Limits, wants_fields: bool) -> Result<Extracted, ContentError> {
    read(bytes, limits, wants_fields, 0)
}

/// Reads a document that is inside of `depth` other documents.
fn read(bytes: &[u8], limits: Limits, wants_fields: bool, depth: usize) -> Result<Extracted, ContentError> {
    let mut package = Package::open(bytes, DocumentFormat::Docx, limits)?;
    let of_package = Relations::of(&mut package, "")?;
    let Some(main) = of_package.first("officeDocument") else {
        return Err(package.unreadable("it contains no document"));
    };
    let of_main = Relations::of(&mut package, main)?;
    let mut part = |kind| of_main.first(kind).map_or(Ok(None), |name| package.text(name));
    let (styles, numbering) = (part("styles")?, part("numbering")?);
    let numbering = match numbering {
        Some(xml) => Numbering::of(parse(package.format(), "numbering", &xml)?.root_element()),
        None => Numbering::default(),
    };
    let styles = styles.map(|xml| WordStyles::of(&xml, &numbering)).transpose()?.unwrap_or_default();
    let mut graphics = graphics(&mut package, &of_main)?;
    for relation in of_main.iter().filter(|relation| relation.kind == "aFChunk") {
        let bytes = package.bytes(&relation.target)?.unwrap_or_default();
        let embedded = embedded_text(&relation.target, bytes, limits, depth)?;
        let embedded = embedded.ok_or_else(|| {
            package.unreadable("it embeds a document in a format that only Word can read (altChunk)")
        })?;
        graphics.insert(relation.id.clone(), embedded);
    }
    let mut writer = DocxWriter { styles, numbering, graphics, text: BlockWriter::default() };
    for name in [Some(main), of_main.first("footnotes"), of_main.first("endnotes")].into_iter().flatten() {
        let xml = package.required(name)?;
        let xml = parse(package.format(), name, &xml)?;
        let root = xml.root_element();
        if !matches!(root.tag_name().name(), "document" | "footnotes" | "endnotes") {
            return Err(package.unreadable("it contains no text document"));
        }
        writer.write(root);
    }
    let fields = if wants_fields { fields(&mut package, &of_package)? } else { Map::new() };
    Ok(Extracted {
        content: writer.text.finish(),
        fields,
        repaired: package.repaired,
        ..Extracted::default()
    })
}

/// Writes the text of the parts of a document.
struct DocxWriter {
    styles: WordStyles,
    numbering: Numbering,
    /// The texts of diagrams, charts and embedded documents, keyed by the id of the reference to them. Each is written once.
    graphics: HashMap<String, Structured>,
    text: BlockWriter,
}

/// A step of the traversal. An explicit stack is needed because documents can be deeper than the call stack allows.
enum DocxStep<'a, 'input> {
    Visit(Node<'a, 'input>),
    Graphic(Structured),
    EndCell,
    EndControl,
    EndParagraph,
    EndRow,
}

/// What surrounds the current element.
#[derive(Default)]
struct Surroundings<'a, 'input> {
    /// What is anchored in the current paragraph, such as text boxes. Their text is written after the paragraph.
    anchored: Vec<DocxStep<'a, 'input>>,
    /// Number of enclosing form fields that say that they show a placeholder.
    placeholders: usize,
    /// Whether the style of the current paragraph hides its text.
    is_hidden: bool,
    /// The alternative text of the current drawing. Its picture usually repeats that text.
    alternative: &'a str,
}

impl DocxWriter {
    fn write(&mut self, root: Node) {
        let mut around = Surroundings::default();
        let mut steps = vec![DocxStep::Visit(root)];
        while let Some(step) = steps.pop() {
            let node = match step {
                DocxStep::Visit(node) => node,
                DocxStep::Graphic(graphic) => {
                    self.text.append(&graphic);
                    continue;
                }
                DocxStep::EndCell => {
                    self.text.push_str(" ");
                    continue;
                }
                DocxStep::EndControl => {
                    around.placeholders -= 1;
                    continue;
                }
                DocxStep::EndRow => {
                    self.text.end();
                    continue;
                }
                DocxStep::EndParagraph => {
                    self.text.boundary();
                    steps.extend(mem::take(&mut around.anchored).into_iter().rev());
                    continue;
                }
            };
            if self.is_left_out(node, &around) {
                continue;
            }
            let children = || node.children().rev().map(DocxStep::Visit);
            match node.tag_name().name() {
                "t" => self.write_text(node),
                "tab" | "br" | "cr" | "ptab" => self.text.push_str(" "),
                "noBreakHyphen" => self.text.push_str("-"),
                "sym" => self.write_symbol(node),
                "p" => {
                    around.is_hidden = self.begin_paragraph(node);
                    steps.push(DocxStep::EndParagraph);
                    steps.extend(children());
                }
                "tr" => {
                    self.text.begin(
                        if is_header(node) { BlockKind::TableHeader } else { BlockKind::TableRow },
                        "",
                    );
                    steps.push(DocxStep::EndRow);
                    steps.extend(children());
                }
                "tc" => {
                    self.text.push_str("| ");
                    steps.push(DocxStep::EndCell);
                    steps.extend(children());
                }
                "sdt" => {
                    if descend(node, &["sdtPr", "showingPlcHdr"]).is_some_and(is_on) {
                        around.placeholders += 1;
                        steps.push(DocxStep::EndControl);
                    }
                    steps.extend(children());
                }
                "ddList" => self.text.push_str(chosen(node).unwrap_or_default()),
                "docPr" => {
                    around.alternative = alternative(node).unwrap_or_default();
                    self.write_alternative(around.alternative);
                }
                "cNvPr" => {
                    let own = alternative(node).filter(|own| *own != around.alternative);
                    self.write_alternative(own.unwrap_or_default());
                }
                "textpath" => self.write_alternative(attribute(node, "string").unwrap_or_default()),
                "relIds" | "chart" => {
                    let graphic = relation_id(node).and_then(|id| self.graphics.remove(id));
                    around.anchored.extend(graphic.map(DocxStep::Graphic));
                }
                "altChunk" => {
                    let embedded = relation_id(node).and_then(|id| self.graphics.remove(id));
                    steps.extend(embedded.map(DocxStep::Graphic));
                }
                "txbxContent" => around.anchored.extend(node.children().map(DocxStep::Visit)),
                _ => {
                    if node.tag_name().namespace() == Some(VML) {
                        self.write_alternative(attribute(node, "alt").unwrap_or_default());
                    }
                    steps.extend(children());
                }
            }
        }
    }

    /// Starts a paragraph with its mark and number. Returns whether its style hides its text.
    fn begin_paragraph(&mut self, node: Node) -> bool {
        let properties = child(node, "pPr");
        let style = self.styles.paragraph(properties);
        // A paragraph whose end is deleted continues in the next one, which has the number.
        let end = properties.and_then(|properties| child(properties, "rPr"));
        let is_joined = end.is_some_and(|end| child(end, "del").or(child(end, "moveFrom")).is_some());
        let list = style.list.filter(|_| !is_joined);
        let label = list.map(|list| self.numbering.next(list, style.level));
        match (style.heading, label) {
            (Some(level), label) => {
                self.text.heading(level);
                if let Some(ListLabel::Number(number)) = label {
                    self.text.push_str(&number);
                }
            }
            (None, Some(ListLabel::Bullet)) => self.text.begin(BlockKind::Item, "- "),
            (None, Some(ListLabel::Number(number))) => self.text.begin(BlockKind::Item, &number),
            (None, Some(ListLabel::Blank) | None) => self.text.boundary(),
        }
        style.is_hidden
    }

    /// Writes the text of a run. Characters in the private use area belong to a font of symbols.
    fn write_text(&mut self, node: Node) {
        const PRIVATE: std::ops::RangeInclusive<char> = '\u{F000}'..='\u{F0FF}';
        for part in node.children().filter(|part| part.is_text()).filter_map(|part| part.text()) {
            if !part.contains(|c| PRIVATE.contains(&c)) {
                self.text.push_str(part);
                continue;
            }
            // The properties of a run come first.
            let properties = node.parent().and_then(|run| run.first_element_child());
            let fonts = properties.and_then(|properties| child(properties, "rFonts"));
            let font = fonts.and_then(|fonts| attribute(fonts, "ascii")).unwrap_or_default();
            let shown = |c: char| match c {
                c if PRIVATE.contains(&c) => symbols::character(font, c.into()),
                c => Some(c),
            };
            self.text.push_str(&part.chars().filter_map(shown).collect::<String>());
        }
    }

    fn write_symbol(&mut self, node: Node) {
        let code = attribute(node, "char").and_then(|code| u32::from_str_radix(code, 16).ok());
        let font = attribute(node, "font").unwrap_or_default();
        if let Some(shown) = code.and_then(|code| symbols::character(font, code)) {
            self.text.push_str(shown.encode_utf8(&mut [0; 4]));
        }
    }

    /// Writes the alternative text of a drawing, which stands beside the words of the paragraph.
    fn write_alternative(&mut self, text: &str) {
        if !text.is_empty() {
            self.text.push_str(&format!(" {text} "));
        }
    }

    fn is_left_out(&self, node: Node, around: &Surroundings) -> bool {
        match node.tag_name().name() {
            // `pPr` contains tab stops, which are also elements with the name `tab`. `moveFrom` is text that was moved to
            // another around. `rt` is a pronunciation. Deleted text needs no rule, because the elements of deleted text are
            // not called `t`.
            "pPr" | "rPr" | "sectPr" | "tblPr" | "moveFrom" | "rt" => true,
            "tr" => descend(node, &["trPr", "del"]).is_some(),
            "r" => {
                let properties = child(node, "rPr");
                let property = |name| properties.and_then(|properties| child(properties, name));
                let style = property("rStyle").and_then(value).and_then(|id| self.styles.get(id));
                let is_hidden = match property("vanish") {
                    Some(vanish) => is_on(vanish),
                    None => around.is_hidden || style.is_some_and(|style| style.is_hidden),
                };
                is_hidden || around.placeholders > 0 && style.is_some_and(|style| style.is_placeholder)
            }
            "footnote" | "endnote" => attribute(node, "type").is_some_and(|kind| kind != "normal"),
            "inline" | "anchor" => child(node, "docPr").is_some_and(is_hidden),
            // `Fallback` repeats the preceding element for programs that do not support the preceding element.
            "Fallback" => node.prev_sibling_element().is_some(),
            _ => false,
        }
    }
}

/// Returns whether a row is a table header. Few people ask Word to repeat a header on each page, but Word also says for the first row
/// whether it is formatted as one.
fn is_header(row: Node) -> bool {
    const FIRST_ROW: u16 = 0x20;
    if descend(row, &["trPr", "tblHeader"]).is_some_and(is_on) {
        return true;
    }
    let table = row.parent().filter(|table| child(*table, "tr") == Some(row));
    let Some(look) = table.and_then(|table| descend(table, &["tblPr", "tblLook"])) else { return false };
    let flags = value(look).and_then(|flags| u16::from_str_radix(flags, 16).ok()).unwrap_or_default();
    is_set(look, "firstRow") || attribute(look, "firstRow").is_none() && flags & FIRST_ROW != 0
}

/// Returns the entry that is chosen in a drop-down list of an old form.
fn chosen<'a>(list: Node<'a, '_>) -> Option<&'a str> {
    let index = |name| child(list, name).and_then(value)?.parse::<usize>().ok();
    let chosen = index("result").or_else(|| index("default")).unwrap_or(0);
    elements(list, "listEntry").nth(chosen).and_then(value)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn package(parts: &[(&str, &str)]) -> Vec<u8> {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, xml) in parts {
            archive.start_file(*name, SimpleFileOptions::default()).unwrap();
            archive.write_all(xml.as_bytes()).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    fn relations(relations: &[(&str, &str)]) -> String {
        let relation =
            |(kind, target): &(&str, &str)| format!("<Relationship Type=\"x/{kind}\" Target=\"{target}\"/>");
        format!("<Relationships>{}</Relationships>", relations.iter().map(relation).collect::<String>())
    }

    fn read(main: &str, document: &str, styles: &str) -> Result<String, ContentError> {
        let package = package(&[
            ("_rels/.rels", &relations(&[("officeDocument", "word/document.xml")])),
            ("word/_rels/document.xml.rels", &relations(&[("styles", "../word/./styles.xml")])),
            (main, &format!("<w:document xmlns:w=\"w\"><w:body>{document}</w:body></w:document>")),
            ("word/styles.xml", &format!("<w:styles xmlns:w=\"w\">{styles}</w:styles>")),
        ]);
        let limits = Limits { document_bytes: 1 << 20, seconds: 1, expansion: 100 };
        docx(&package, limits, false).map(|read| read.content.clean().text().to_owned())
    }

    #[test]
    fn what_a_person_reads_is_taken() {
        let styles = "<w:style w:styleId=\"1\"><w:name w:val=\"heading 2\"/></w:style>\
                      <w:style w:styleId=\"a\"><w:basedOn w:val=\"1\"/></w:style>\
                      <w:style w:styleId=\"b\"><w:basedOn w:val=\"c\"/></w:style><w:style w:styleId=\"c\"><w:basedOn w:val=\"b\"/></w:style>\
                      <w:style w:styleId=\"p\"><w:name w:val=\"Placeholder Text\"/></w:style>";
        let paragraph = |style: &str, runs: &str| {
            format!("<w:p><w:pPr><w:pStyle w:val=\"{style}\"/></w:pPr>{runs}</w:p>")
        };
        let document = [
            paragraph("a", "<w:r><w:t>Ti</w:t></w:r><w:r><w:t>tle</w:t></w:r>"),
            paragraph("b", "<w:r><w:t>one<!-- --> two</w:t><w:tab/><w:t>three</w:t></w:r>"),
            paragraph("", "<w:ruby><w:rt><w:r><w:t>とう</w:t></w:r></w:rt><w:rubyBase><w:r><w:t>東</w:t></w:r></w:rubyBase></w:ruby><w:r><w:t>京</w:t></w:r>"),
            "<w:sdt><w:sdtPr><w:showingPlcHdr/></w:sdtPr><w:sdtContent><w:p><w:r><w:rPr><w:rStyle w:val=\"p\"/></w:rPr><w:t>Click here</w:t></w:r></w:p></w:sdtContent></w:sdt>".to_owned(),
        ]
        .concat();
        for main in ["word/document.xml", "Word\\Document.xml"] {
            assert_eq!(read(main, &document, styles).unwrap(), "## Title one two three 東京");
        }
    }

    #[test]
    fn a_document_without_its_text_is_damaged() {
        assert!(matches!(read("word/other.xml", "", ""), Err(ContentError::Damaged { .. })));
        assert!(matches!(
            docx(b"\xd0\xcf\x11\xe0", Limits { document_bytes: 1, seconds: 1, expansion: 1 }, false),
            Err(ContentError::OtherKind { .. })
        ));
    }
}
