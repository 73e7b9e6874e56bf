//! Extracts the text of DOCX files. No other module uses zip, and only `pdf/metadata.rs` also uses roxmltree.
//!
//! The names of parts and elements are defined in ECMA-376 (Office Open XML), part 1, chapters 11 and 17.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{Cursor, Read};
use std::mem;

use roxmltree::{Document, Node};
use zip::ZipArchive;
use zip::result::ZipError;

use crate::error::ContentError;
use crate::source::decode::{declared, decode, known_format};
use crate::source::document::Limits;
use crate::source::format::{DocumentFormat, EXPANSION_FREE_BYTES, damaged, other_format};
use crate::text::blocks::{BlockKind, BlockWriter, Structured};

/// Returns the text of paragraphs, tables and text boxes in the order of the document, then the text of footnotes and
/// endnotes.
///
/// Headings, list items and table cells are marked as in Markdown. Tracked deletions, hidden text, field codes, comments,
/// headers and footers are skipped.
///
/// # Errors
/// The content is damaged, has another format or exceeds a limit.
pub fn docx(bytes: &[u8], limits: Limits) -> Result<Structured, ContentError> {
    if let Some(found) = known_format(bytes).filter(|_| !bytes.starts_with(b"PK")) {
        return Err(other_format(DocumentFormat::Docx, found));
    }
    let mut package =
        Package { archive: ZipArchive::new(Cursor::new(bytes)).map_err(not_a_package)?, limits };
    let of_package = package.related("")?;
    let main = of_package.get("officeDocument").ok_or_else(|| unreadable("it contains no document"))?;
    let of_main = package.related(main)?;
    let mut part = |name: Option<&String>| name.map_or(Ok(None), |name| package.part(name));
    if of_main.contains_key("aFChunk") {
        return Err(unreadable(
            "it embeds a document of another format (altChunk), which only Word can read",
        ));
    }
    let styles = part(of_main.get("styles"))?;
    let styles = styles.as_deref().map(|xml| parse("styles", xml)).transpose()?;
    let styles = styles.as_ref().map(|xml| styles_of(xml.root_element())).unwrap_or_default();
    let mut text = BlockWriter::default();
    for name in [Some(main), of_main.get("footnotes"), of_main.get("endnotes")] {
        let Some(name) = name else { continue };
        let xml = part(Some(name))?.ok_or_else(|| unreadable(format!("its part {name} is missing")))?;
        let xml = parse(name, &xml)?;
        let root = xml.root_element();
        if !matches!(root.tag_name().name(), "document" | "footnotes" | "endnotes") {
            return Err(unreadable("it contains no text document"));
        }
        write_text(root, &styles, &mut text);
    }
    Ok(text.finish())
}

/// The ZIP archive of a DOCX file.
struct Package<'a> {
    archive: ZipArchive<Cursor<&'a [u8]>>,
    limits: Limits,
}

impl Package<'_> {
    /// Returns the XML of a part. Returns `None` if the archive does not contain the part.
    fn part(&mut self, name: &str) -> Result<Option<String>, ContentError> {
        // Names of parts are not case-sensitive (ECMA-376, part 2), and some programs write `\` instead of `/`.
        let is_it = |other: &str| other.replace('\\', "/").eq_ignore_ascii_case(name);
        let Some(at) = (0..self.archive.len())
            .find(|&at| matches!(self.archive.name_for_index(at), Some(Ok(other)) if is_it(&other)))
        else {
            return Ok(None);
        };
        let part = self.archive.by_index(at).map_err(|e| damaged_part(name, &e))?;
        let (compressed, max) = (part.compressed_size(), self.limits.document_bytes);
        let expanded_max = compressed.saturating_mul(self.limits.expansion).max(EXPANSION_FREE_BYTES);
        let mut xml = Vec::new();
        part.take(max.min(expanded_max) + 1).read_to_end(&mut xml).map_err(|e| damaged_part(name, &e))?;
        match xml.len() as u64 {
            bytes if bytes > max => Err(ContentError::TooLarge { max }),
            bytes if bytes > expanded_max => Err(ContentError::Expands { max: self.limits.expansion }),
            _ => {
                let declared = declared(&xml);
                let decoded = decode(xml, None, declared).map(|(xml, _)| Some(xml));
                decoded.map_err(|_| unreadable(format!("its part {name} is not text")))
            }
        }
    }

    /// Returns the names of all parts that one part refers to. The key of each name is the final component of the
    /// relationship type, such as `styles`.
    fn related(&mut self, name: &str) -> Result<HashMap<String, String>, ContentError> {
        let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
        let rels = in_folder(folder, &format!("_rels/{file}.rels"));
        let Some(xml) = self.part(&rels)? else { return Ok(HashMap::new()) };
        let xml = parse(&rels, &xml)?;
        let relations = xml.root_element().children().filter_map(|relation| {
            let kind = relation.attribute("Type")?.rsplit('/').next()?;
            let target = relation.attribute("Target")?;
            let target = target.strip_prefix('/').map_or_else(|| in_folder(folder, target), str::to_owned);
            Some((kind.to_owned(), target))
        });
        Ok(relations.collect())
    }
}

/// Returns the path of a file in the archive. `file` is the path of the file, relative to `folder`.
fn in_folder(folder: &str, file: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in file.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn parse<'a>(part: &str, xml: &'a str) -> Result<Document<'a>, ContentError> {
    Document::parse(xml).map_err(|e| unreadable(format!("its part {part} is not valid XML (roxmltree: {e})")))
}

fn unreadable(reason: impl Into<String>) -> ContentError {
    damaged(DocumentFormat::Docx, reason)
}

fn not_a_package(error: ZipError) -> ContentError {
    unreadable(format!("it is not a complete ZIP archive (zip: {error})"))
}

fn damaged_part(part: &str, error: &dyn Display) -> ContentError {
    unreadable(format!("its part {part} cannot be decompressed (zip: {error})"))
}

/// The style of a paragraph: a heading, a list item or neither.
#[derive(Clone, Copy, Default)]
struct Style {
    /// Level of the heading, counted from 1; `None` if the style is no heading.
    heading: Option<usize>,
    is_list: bool,
}

impl Style {
    /// Returns the style that the properties describe. If the properties do not set a value, the value in `base` is used.
    fn of(properties: Option<Node>, base: Style) -> Style {
        let property = |name| properties.and_then(|properties| child(properties, name));
        let level = property("outlineLvl").and_then(|level| value(level)?.parse::<usize>().ok());
        let list = property("numPr").and_then(|list| value(child(list, "numId")?)).map(|id| id != "0");
        Style {
            // The value 0 of `outlineLvl` means the first heading level, and 9 means body text.
            heading: level.map_or(base.heading, |level| (level < 9).then_some(level + 1)),
            is_list: list.unwrap_or(base.is_list),
        }
    }

    /// Starts a paragraph with this style.
    fn begin(self, text: &mut BlockWriter) {
        match self.heading {
            Some(level) => text.heading(level),
            None if self.is_list => text.begin(BlockKind::Item, "- "),
            None => text.boundary(),
        }
    }
}

type Styles<'a> = HashMap<&'a str, Style>;

/// Returns the styles of the document, keyed by style id.
fn styles_of<'a>(root: Node<'a, '_>) -> Styles<'a> {
    let nodes: HashMap<&str, Node> =
        elements(root, "style").filter_map(|style| Some((attribute(style, "styleId")?, style))).collect();
    let resolve = |id: &str| {
        // Styles may be based on each other in a circle. A chain without a circle has at most as many styles as the
        // document.
        let mut chain = Vec::new();
        let mut next = nodes.get(id).copied();
        while let Some(style) = next.filter(|_| chain.len() < nodes.len()) {
            chain.push(style);
            next = child(style, "basedOn").and_then(value).and_then(|base| nodes.get(base).copied());
        }
        chain.iter().rev().fold(Style::default(), |base, style| {
            let by_name = Style { heading: heading_by_name(*style).or(base.heading), ..base };
            Style::of(child(*style, "pPr"), by_name)
        })
    };
    nodes.keys().map(|&id| (id, resolve(id))).collect()
}

/// Returns the heading level in the name of a built-in style, such as 2 for `heading 2`. These names are English in every
/// language version of Word.
fn heading_by_name(style: Node) -> Option<usize> {
    let name = child(style, "name").and_then(value)?.to_ascii_lowercase();
    name.strip_prefix("heading ")?.parse().ok().filter(|level| (1..=9).contains(level))
}

/// A step of the traversal. An explicit stack is needed because documents can be deeper than the call stack allows.
enum DocxStep<'a, 'input> {
    Visit(Node<'a, 'input>),
    EndCell,
    EndParagraph,
    EndRow,
}

fn write_text(root: Node, styles: &Styles, text: &mut BlockWriter) {
    let mut steps = vec![DocxStep::Visit(root)];
    // The element of a text box is inside the paragraph that the box is anchored to. The text of the box is written after
    // the paragraph.
    let mut boxes = Vec::new();
    while let Some(step) = steps.pop() {
        let node = match step {
            DocxStep::Visit(node) => node,
            DocxStep::EndCell => {
                text.push_str(" ");
                continue;
            }
            DocxStep::EndRow => {
                text.end();
                continue;
            }
            DocxStep::EndParagraph => {
                text.boundary();
                steps.extend(mem::take(&mut boxes).into_iter().rev());
                continue;
            }
        };
        let children = || node.children().rev().map(DocxStep::Visit);
        match node.tag_name().name() {
            _ if is_left_out(node) => {}
            "t" => node
                .children()
                .filter_map(|part| part.text().filter(|_| part.is_text()))
                .for_each(|part| text.push_str(part)),
            "tab" | "br" | "cr" | "ptab" => text.push_str(" "),
            "noBreakHyphen" => text.push_str("-"),
            "p" => {
                let properties = child(node, "pPr");
                let style = properties.and_then(|p| value(child(p, "pStyle")?)).and_then(|id| styles.get(id));
                Style::of(properties, style.copied().unwrap_or_default()).begin(text);
                steps.push(DocxStep::EndParagraph);
                steps.extend(children());
            }
            "tr" => {
                let is_header = child(node, "trPr").and_then(|p| child(p, "tblHeader")).is_some_and(is_on);
                text.begin(if is_header { BlockKind::TableHeader } else { BlockKind::TableRow }, "");
                steps.push(DocxStep::EndRow);
                steps.extend(children());
            }
            "tc" => {
                text.push_str("| ");
                steps.push(DocxStep::EndCell);
                steps.extend(children());
            }
            "txbxContent" => boxes.extend(node.children().map(DocxStep::Visit)),
            _ => steps.extend(children()),
        }
    }
}

fn is_left_out(node: Node) -> bool {
    match node.tag_name().name() {
        // `pPr` contains tab stops, which are also elements with the name `tab`. `moveFrom` is text that was moved to
        // another place. `rt` is a pronunciation. Deleted text needs no rule, because the elements of deleted text are not
        // called `t`.
        "pPr" | "rPr" | "sectPr" | "tblPr" | "moveFrom" | "rt" => true,
        // A form field (`sdt`) shows a placeholder until a person fills in the field.
        "sdt" => child(node, "sdtPr").and_then(|p| child(p, "showingPlcHdr")).is_some_and(is_on),
        "r" => child(node, "rPr").and_then(|p| child(p, "vanish")).is_some_and(is_on),
        "footnote" | "endnote" => attribute(node, "type").is_some_and(|kind| kind != "normal"),
        // `Fallback` repeats the preceding element for programs that do not support the preceding element.
        "Fallback" => node.prev_sibling_element().is_some(),
        _ => false,
    }
}

/// Returns whether a property is on. A property without a value is on.
fn is_on(property: Node) -> bool {
    !matches!(value(property), Some("0" | "false" | "off"))
}

/// Returns the children with this local name.
fn elements<'a, 'input>(
    node: Node<'a, 'input>,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(move |child| child.tag_name().name() == name)
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &'static str) -> Option<Node<'a, 'input>> {
    elements(node, name).next()
}

fn value<'a>(node: Node<'a, '_>) -> Option<&'a str> {
    attribute(node, "val")
}

/// Returns the attribute with this local name. The namespace is ignored, because strict and transitional documents use
/// different namespaces.
fn attribute<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.attributes().find(|attribute| attribute.name() == name).map(|attribute| attribute.value())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

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
        docx(&package, limits).map(|content| content.clean().text().to_owned())
    }

    #[test]
    fn what_a_person_reads_is_taken() {
        let styles = "<w:style w:styleId=\"1\"><w:name w:val=\"heading 2\"/></w:style>\
                      <w:style w:styleId=\"a\"><w:basedOn w:val=\"1\"/></w:style>\
                      <w:style w:styleId=\"b\"><w:basedOn w:val=\"c\"/></w:style><w:style w:styleId=\"c\"><w:basedOn w:val=\"b\"/></w:style>";
        let paragraph = |style: &str, runs: &str| {
            format!("<w:p><w:pPr><w:pStyle w:val=\"{style}\"/></w:pPr>{runs}</w:p>")
        };
        let document = [
            paragraph("a", "<w:r><w:t>Ti</w:t></w:r><w:r><w:t>tle</w:t></w:r>"),
            paragraph("b", "<w:r><w:t>one<!-- --> two</w:t><w:tab/><w:t>three</w:t></w:r>"),
            paragraph("", "<w:ruby><w:rt><w:r><w:t>とう</w:t></w:r></w:rt><w:rubyBase><w:r><w:t>東</w:t></w:r></w:rubyBase></w:ruby><w:r><w:t>京</w:t></w:r>"),
            "<w:sdt><w:sdtPr><w:showingPlcHdr/></w:sdtPr><w:sdtContent><w:p><w:r><w:t>Click here</w:t></w:r></w:p></w:sdtContent></w:sdt>".to_owned(),
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
            docx(b"\xd0\xcf\x11\xe0", Limits { document_bytes: 1, seconds: 1, expansion: 1 }),
            Err(ContentError::OtherKind { .. })
        ));
    }
}
