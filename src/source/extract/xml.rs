//! Extracts the text of XML documents. No other module uses quick-xml.
//!
//! The text is that of the elements. Elements whose content is words are paragraphs; elements among words, such as `emphasis`,
//! are part of their paragraph. The names that have a meaning here are those of DocBook, JATS, TEI, DITA, RSS and XHTML.

use std::collections::HashMap;
use std::mem;

use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};

use super::html;
use crate::error::ContentError;
use crate::source::document::{Limits, PagePart};
use crate::source::format::{DocumentFormat, damaged};
use crate::text::blocks::{BlockKind, BlockWriter, Structured};

/// Elements that are never part of a line.
#[rustfmt::skip]
const BLOCKS: [&str; 28] = [
    "p", "para", "simpara", "li", "ul", "ol", "dl", "dd", "dt", "item", "list", "listitem", "itemizedlist", "orderedlist",
    "variablelist", "table", "informaltable", "thead", "tbody", "tr", "row", "div", "section", "note", "figure", "bibl", "lb", "br",
];

/// Elements that are always part of a line.
#[rustfmt::skip]
const INLINES: [&str; 24] = [
    "a", "abbrev", "b", "bold", "citetitle", "code", "command", "em", "emphasis", "filename", "hi", "i", "italic", "link",
    "literal", "phrase", "ref", "span", "strong", "sub", "sup", "ulink", "uri", "xref",
];

/// Elements of a line that stand beside each other without a space, such as the keys of a key combination.
const SPACED: [&str; 6] = ["keycap", "keysym", "guimenu", "guisubmenu", "guimenuitem", "mousebutton"];

/// Elements whose line breaks have a meaning.
#[rustfmt::skip]
const CODE: [&str; 9] = [
    "programlisting", "screen", "literallayout", "synopsis", "verbatim", "pre", "codeblock", "preformat", "eg",
];

/// Elements of feeds whose text is often HTML.
const PAGES: [&str; 4] = ["description", "encoded", "content", "summary"];

/// Elements without words.
const SKIPPED: [&str; 2] = ["script", "style"];

/// Maximum length of the value of an entity, in bytes. A longer value is left out.
const ENTITY_MAX: usize = 1024;

/// Returns the text of the elements. `page_part` is the part of an HTML page in XML syntax.
///
/// # Errors
/// The content is not well-formed, or its text exceeds the limit on documents.
pub fn xml(source: &str, limits: Limits, page_part: PagePart) -> Result<Structured, ContentError> {
    let shapes = shapes(source)?;
    let mut writer = XmlWriter { entities: entities(source), ..XmlWriter::default() };
    let mut reader = Reader::from_str(source);
    let mut next = 0;
    loop {
        let event = reader.read_event().map_err(|error| malformed(&error, &reader))?;
        let is_empty = matches!(event, Event::Empty(_));
        match event {
            Event::Start(start) | Event::Empty(start) => {
                if next == 0 && start.local_name().as_ref() == b"html" {
                    return Ok(html::xhtml(source, page_part, false)?.content);
                }
                writer.start(&start, shapes[next]);
                next += 1;
                if is_empty {
                    writer.end();
                }
            }
            Event::End(_) => writer.end(),
            Event::Text(text) => writer.text(&String::from_utf8_lossy(&text)),
            Event::CData(text) => writer.text(&String::from_utf8_lossy(&text)),
            Event::GeneralRef(name) => writer.reference(&name),
            Event::Eof => return Ok(writer.finish()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
        if writer.bytes > limits.document_bytes {
            return Err(ContentError::TooLarge { max: limits.document_bytes });
        }
    }
}

fn malformed(error: &quick_xml::Error, reader: &Reader<&[u8]>) -> ContentError {
    let reason = format!("it is not well-formed at byte {} (quick-xml: {error})", reader.error_position());
    damaged(DocumentFormat::Xml, reason)
}

/// What the content of an element consists of.
#[derive(Clone, Copy, Default)]
struct ElementShape {
    /// Whether words stand in the element itself, and not in an element inside of it.
    has_words: bool,
    has_elements: bool,
    /// Whether there is white space or a second element between its elements.
    is_structure: bool,
    /// Whether a `title` names it.
    has_title: bool,
}

/// Returns the shape of each element, in the order of their start. Checks that the document is well-formed.
fn shapes(source: &str) -> Result<Vec<ElementShape>, ContentError> {
    let mut shapes: Vec<ElementShape> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    // Whether the name of each open element ends in `info`: its title is that of its parent.
    let mut is_info: Vec<bool> = Vec::new();
    let mut reader = Reader::from_str(source);
    loop {
        let event = reader.read_event().map_err(|error| malformed(&error, &reader))?;
        let is_empty = matches!(event, Event::Empty(_));
        let parent = open.last().copied();
        match event {
            Event::Start(start) | Event::Empty(start) => {
                if let Some(parent) = parent {
                    shapes[parent].is_structure |= mem::replace(&mut shapes[parent].has_elements, true);
                }
                if is_title(start.local_name().as_ref()) {
                    let of =
                        if is_info.last() == Some(&true) { open.iter().rev().nth(1) } else { open.last() };
                    of.into_iter().for_each(|&of| shapes[of].has_title = true);
                }
                if !is_empty {
                    open.push(shapes.len());
                    is_info.push(start.local_name().as_ref().ends_with(b"info"));
                }
                shapes.push(ElementShape::default());
            }
            Event::End(_) => {
                open.pop();
                is_info.pop();
            }
            Event::Text(text) => {
                if let Some(parent) = parent {
                    let is_blank = text.iter().all(u8::is_ascii_whitespace);
                    shapes[parent].has_words |= !is_blank;
                    shapes[parent].is_structure |= is_blank && !text.is_empty();
                }
            }
            Event::CData(_) | Event::GeneralRef(_) => {
                parent.into_iter().for_each(|parent| shapes[parent].has_words = true);
            }
            Event::Eof if shapes.is_empty() => return Err(damaged(DocumentFormat::Xml, "it has no element")),
            Event::Eof if !open.is_empty() => {
                return Err(damaged(DocumentFormat::Xml, "it ends inside an element"));
            }
            Event::Eof => return Ok(shapes),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
}

fn is_title(name: &[u8]) -> bool {
    matches!(name, b"title" | b"head")
}

/// Returns the entities that the document declares with a value of plain text.
fn entities(source: &str) -> HashMap<String, String> {
    let mut entities = HashMap::new();
    let mut reader = Reader::from_str(source);
    while let Ok(event) = reader.read_event() {
        let Event::DocType(declarations) = event else {
            if matches!(event, Event::Start(_) | Event::Empty(_) | Event::Eof) {
                break;
            }
            continue;
        };
        for declaration in String::from_utf8_lossy(&declarations).split("<!ENTITY").skip(1) {
            let Some((name, rest)) = declaration.trim_start().split_once(char::is_whitespace) else {
                continue;
            };
            let rest = rest.trim_start();
            let Some(quote @ ('"' | '\'')) = rest.chars().next() else { continue };
            let Some((value, _)) = rest[1..].split_once(quote) else { continue };
            if value.len() <= ENTITY_MAX && !value.contains(['<', '&', '%']) {
                entities.entry(name.to_owned()).or_insert_with(|| value.to_owned());
            }
        }
    }
    entities
}

/// An open element.
struct OpenElement {
    shape: ElementShape,
    /// What ends the element.
    end: XmlEnd,
    /// Whether the element is among words.
    is_inline: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum XmlEnd {
    Nothing,
    Boundary,
    Row,
    Cell,
    Page,
    Skipped,
}

#[derive(Default)]
struct XmlWriter {
    text: BlockWriter,
    open: Vec<OpenElement>,
    /// How many open elements have a title.
    level: usize,
    /// How many open elements are a `thead`.
    heads: Vec<bool>,
    /// The text of the open element whose text is HTML.
    page: Option<String>,
    skipped: usize,
    entities: HashMap<String, String>,
    /// How many bytes of text were written.
    bytes: u64,
}

impl XmlWriter {
    fn start(&mut self, start: &BytesStart, shape: ElementShape) {
        let name = start.local_name();
        let name = std::str::from_utf8(name.as_ref()).unwrap_or_default();
        let parent = self.open.last();
        let is_among_words = parent.is_some_and(|parent| parent.shape.has_words || parent.is_inline);
        let is_structure = shape.is_structure && !shape.has_words;
        let is_inline =
            is_among_words && !BLOCKS.contains(&name) && (INLINES.contains(&name) || !is_structure);
        self.level += usize::from(shape.has_title);
        self.heads.push(name == "thead" || self.heads.last() == Some(&true));
        let end = if SKIPPED.contains(&name) { XmlEnd::Skipped } else { self.begin(name, shape, is_inline) };
        self.skipped += usize::from(end == XmlEnd::Skipped);
        self.open.push(OpenElement { shape, end, is_inline });
    }

    /// Starts what the element stands for. Returns what ends it.
    fn begin(&mut self, name: &str, shape: ElementShape, is_inline: bool) -> XmlEnd {
        match name {
            _ if CODE.contains(&name) => self.text.begin(BlockKind::Code, ""),
            "li" | "listitem" => self.text.begin(BlockKind::Item, "- "),
            "title" | "head" if !is_inline && (shape.has_words || !shape.is_structure) => {
                self.text.heading(self.level)
            }
            "tr" | "row" => {
                let is_header = self.heads.last() == Some(&true);
                self.text.begin(if is_header { BlockKind::TableHeader } else { BlockKind::TableRow }, "");
                return XmlEnd::Row;
            }
            "td" | "th" | "entry" => {
                self.text.push_str("| ");
                return XmlEnd::Cell;
            }
            _ if PAGES.contains(&name) && !shape.has_elements && !is_inline => {
                self.text.boundary();
                self.page = Some(String::new());
                return XmlEnd::Page;
            }
            _ if is_inline => {
                self.text.push_str(if SPACED.contains(&name) { " " } else { "" });
                return XmlEnd::Nothing;
            }
            _ => self.text.boundary(),
        }
        XmlEnd::Boundary
    }

    fn end(&mut self) {
        let Some(OpenElement { shape, end, .. }) = self.open.pop() else { return };
        self.level -= usize::from(shape.has_title);
        self.heads.pop();
        match end {
            XmlEnd::Nothing => {}
            XmlEnd::Boundary => self.text.boundary(),
            XmlEnd::Row => self.text.end(),
            XmlEnd::Cell => self.text.push_str(" "),
            XmlEnd::Page => {
                let page = self.page.take().unwrap_or_default();
                if ["</", "<br", "<p>", "/>"].iter().any(|mark| page.contains(mark)) {
                    self.text.append(&html::fragment(&page));
                } else {
                    self.text.push_str(&page);
                    self.text.boundary();
                }
            }
            XmlEnd::Skipped => self.skipped -= 1,
        }
    }

    fn text(&mut self, text: &str) {
        if self.skipped > 0 {
            return;
        }
        self.bytes += text.len() as u64;
        match &mut self.page {
            Some(page) => page.push_str(text),
            None => self.text.push_str(text),
        }
    }

    /// Writes what a reference stands for. For an entity that is declared elsewhere, that is its name.
    fn reference(&mut self, reference: &BytesRef) {
        if let Ok(Some(character)) = reference.resolve_char_ref() {
            return self.text(character.encode_utf8(&mut [0; 4]));
        }
        let name = String::from_utf8_lossy(reference).into_owned();
        let value = self.entities.entry(name).or_insert_with_key(|name| {
            // The names of HTML contain those of XML and most of DocBook.
            let found = html::fragment(&format!("&{name};"));
            let found = found.text().trim_matches('\n').to_owned();
            if found.starts_with('&') && found.len() > 1 { name.clone() } else { found }
        });
        let value = value.clone();
        self.text(&value);
    }

    fn finish(self) -> Structured {
        self.text.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> Result<String, ContentError> {
        let limits = Limits { document_bytes: 1 << 20, seconds: 1, expansion: 100 };
        xml(source, limits, PagePart::Whole).map(|content| content.clean().text().to_owned())
    }

    #[test]
    fn elements_among_words_are_part_of_them_and_others_are_blocks() {
        let docbook = "<?xml version='1.0'?><!DOCTYPE book [<!ENTITY us \"Petrel &#38; Co\"><!ENTITY it 'the mini'>]>\
            <book xmlns='x'><info><title>Birds</title></info><!-- private --><chapter><title>Of <emphasis>sea</emphasis></title>\
            <para>They f<emphasis role='b'>ly</emphasis>: <itemizedlist><listitem><para>far</para></listitem><listitem><para>hi&#x67;h</para></listitem></itemizedlist></para>\
            <programlisting><![CDATA[if a < b && c {}]]></programlisting>\
            <informaltable><tgroup><thead><row><entry>a</entry><entry>b</entry></row></thead><tbody><row><entry>1</entry><entry><para>2</para></entry></row></tbody></tgroup></informaltable>\
            <section><title>Of &it;&hellip; &nowhere; &lt;</title><para/></section></chapter></book>";
        assert_eq!(
            read(docbook).unwrap(),
            "# Birds ## Of sea They fly: - far - high if a < b && c {} | a | b | 1 | 2 ### Of the mini… nowhere <"
        );
        assert_eq!(read("<a><b>one</b><c>two</c><d><e>three</e></d></a>").unwrap(), "one two three");
        assert_eq!(read("<li>a<ul><li>b</li></ul></li>").unwrap(), "- a - b");
        let feed = "<rss><channel><title>News</title><item><title>One</title><description>&lt;p&gt;Some &lt;b&gt;words&lt;/b&gt;&lt;/p&gt;</description></item>\
            <item><description><![CDATA[<p>More<br>words</p>]]></description><content:encoded>5 &lt; 6</content:encoded></item></channel></rss>";
        assert_eq!(read(feed).unwrap(), "# News ## One Some words More words 5 < 6");
        assert_eq!(
            read("<html xmlns='http://www.w3.org/1999/xhtml'><body><nav>x</nav><p>one</p></body></html>")
                .unwrap(),
            "one"
        );
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for source in
            ["", "text", "<a>", "<a><b></a></b>", "<a></a", "<a>&</a>", "<a>]]", "<!DOCTYPE a [<!ENTITY b"]
        {
            assert!(read(source).is_err(), "{source}");
        }
        // The values of entities have no references, so that they do not expand.
        let bomb = "<!DOCTYPE a [<!ENTITY b 'bbbb'><!ENTITY c '&b;&b;&b;'>]><a>&c;</a>";
        assert_eq!(read(bomb).unwrap(), "c");
        let many = format!("<!DOCTYPE a [<!ENTITY b '{}'>]><a>{}</a>", "b".repeat(1000), "&b;".repeat(2000));
        assert!(matches!(read(&many), Err(ContentError::TooLarge { .. })));
    }
}
