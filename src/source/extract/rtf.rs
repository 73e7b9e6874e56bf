//! Extracts the text of RTF files, by the Rich Text Format Specification 1.9.1 of Microsoft. Every byte is read once.

use std::collections::HashMap;
use std::mem;

use super::symbols;
use crate::error::ContentError;
use crate::source::decode::{Charset, known_format};
use crate::source::fields::Record;
use crate::source::format::{DocumentFormat, damaged, other_format};
use crate::text::blocks::{BlockKind, BlockWriter, Structured};

/// Maximum number of groups inside of each other.
const DEPTH_MAX: usize = 10_000;

/// The Windows code page of a file that names none.
const DEFAULT_CODE_PAGE: i32 = 1252;

/// Groups whose text a person does not read in the document: definitions, pictures, headers, footers, comments, instructions of
/// fields, and entries of an index or a table of contents.
#[rustfmt::skip]
const SKIPPED: [&str; 43] = [
    "colortbl", "filetbl", "listtable", "listoverridetable", "revtbl", "rsidtbl", "pict", "objdata", "objclass", "objname",
    "fldinst", "datafield", "header", "headerl", "headerr", "headerf", "footer", "footerl", "footerr", "footerf", "annotation",
    "atnid", "atnauthor", "atntime", "atndate", "atnref", "atnparent", "atnicn", "xe", "tc", "tcn", "rxe", "txe", "bkmkstart",
    "bkmkend", "ftnsep", "ftnsepc", "aftnsep", "aftnsepc", "nonshppict", "shprslt", "nonesttables", "sp",
];

/// Groups with text that are marked as optional (`\*`). A reader skips other optional groups.
const OPTIONAL: [&str; 3] = ["shpinst", "shptxt", "fldrslt"];

/// Fonts of symbols whose signs are known.
const SYMBOL_FONTS: [&str; 3] = ["Symbol", "Wingdings", "Wingdings 2"];

/// What is in an RTF file.
pub struct Rtf {
    pub content: Structured,
    /// What the document says about itself.
    pub fields: Record,
}

/// Returns the text of paragraphs, tables and text boxes, then that of the footnotes.
///
/// Headings, list items and table cells are marked as in Markdown. Hidden and deleted text, pictures, comments, headers and footers
/// are skipped.
///
/// # Errors
/// The content is damaged or has another format.
pub fn rtf(bytes: &[u8]) -> Result<Rtf, ContentError> {
    if let Some(found) = known_format(bytes) {
        return Err(other_format(DocumentFormat::Rtf, found));
    }
    let bytes = bytes.trim_ascii_start();
    if !bytes.starts_with(b"{\\rtf") {
        return Err(damaged(DocumentFormat::Rtf, "it does not begin with {\\rtf"));
    }
    let mut reader = RtfReader::default();
    reader.read(bytes)?;
    if let Some(page) = reader.wrong_page {
        let reason = format!("some of its bytes are no characters of the code page {page}");
        return Err(damaged(DocumentFormat::Rtf, reason));
    }
    let RtfReader { mut body, notes, fields, .. } = reader;
    body.writer.append(&notes.writer.finish());
    Ok(Rtf { content: body.writer.finish(), fields })
}

/// Where the text of a group belongs.
#[derive(Clone, Copy, Default, PartialEq)]
enum Destination {
    #[default]
    Body,
    /// A footnote or an endnote.
    Note,
    Skipped,
    Fonts,
    Styles,
    /// The number or the bullet of a list item.
    ListMark,
    /// The properties of the document.
    Info,
    /// A property, by the name of its field.
    Property(&'static str),
    /// The time when the document was made, or when it was changed.
    Time {
        is_latest: bool,
    },
}

/// What a group inherits from the group around it.
#[derive(Clone, Copy, Default)]
struct RtfGroup {
    destination: Destination,
    /// How many characters after `\u` stand for the same character, for readers without Unicode.
    substitutes: u32,
    font: i32,
    is_hidden: bool,
    /// The level of the paragraph if it is a heading.
    heading: Option<usize>,
    in_table: bool,
    /// Whether the group is a text box, whose text does not continue the paragraph around it.
    is_box: bool,
}

/// A text that is written, and what is open in it.
#[derive(Default)]
struct Flow {
    writer: BlockWriter,
    /// Whether the current paragraph has visible text.
    has_block: bool,
    /// Whether the current row of a table has begun, and whether the current cell has.
    has_row: bool,
    has_cell: bool,
}

/// How the bytes of a font are decoded.
#[derive(Clone, Copy)]
enum Font {
    /// As the document says.
    Document,
    CodePage(i32),
    /// Signs instead of letters. A font that is not known by its name has an empty one.
    Symbols(&'static str),
}

#[derive(Default)]
struct RtfReader {
    body: Flow,
    notes: Flow,
    fields: Record,
    groups: Vec<RtfGroup>,
    group: RtfGroup,
    /// The number or bullet of the list item that comes next.
    mark: Option<String>,
    /// Whether a row of a table has been described and has not ended.
    in_row: bool,
    is_header_row: bool,
    /// Bytes in the encoding of the current font. A character may have several.
    pending: Vec<u8>,
    /// The first half of a character that `\u` writes in two halves.
    surrogate: Option<u16>,
    /// How many characters are left that stand for the latest `\u`.
    to_skip: u32,
    /// Whether the next word names an optional group.
    is_optional: bool,
    code_page: i32,
    /// A code page that has no character for some bytes of the text.
    wrong_page: Option<i32>,
    default_font: i32,
    fonts: HashMap<i32, Font>,
    /// Levels of the styles that are headings.
    headings: HashMap<i32, usize>,
    /// The number of the style that is described.
    style: i32,
    /// The text of a property, a style or a list mark.
    name: String,
    /// Year, month, day, hour and minute of a property.
    time: [i32; 5],
}

impl RtfReader {
    fn read(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        (self.code_page, self.group.substitutes) = (DEFAULT_CODE_PAGE, 1);
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            match byte {
                b'{' => {
                    self.flush();
                    self.to_skip = 0;
                    if self.groups.len() == DEPTH_MAX {
                        let reason = format!("it has more than {DEPTH_MAX} groups inside of each other");
                        return Err(damaged(DocumentFormat::Rtf, reason));
                    }
                    self.groups.push(self.group);
                    self.group.is_box = false;
                }
                b'}' => {
                    self.flush();
                    self.to_skip = 0;
                    self.end_group();
                    if self.groups.is_empty() {
                        return Ok(());
                    }
                }
                b'\\' => at = self.control(bytes, at),
                b'\r' | b'\n' | 0 => {}
                byte => self.byte(byte),
            }
        }
        Err(damaged(DocumentFormat::Rtf, "it ends inside of a group"))
    }

    /// Reads what follows a backslash. Returns where the text goes on.
    fn control(&mut self, bytes: &[u8], at: usize) -> usize {
        let Some(&first) = bytes.get(at) else { return at };
        if first.is_ascii_alphabetic() {
            return self.control_word(bytes, at);
        }
        match first {
            b'\'' => {
                let digits = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
                let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
                    return at + 1;
                };
                self.byte(byte);
                return at + 3;
            }
            b'*' => self.is_optional = true,
            b'~' => self.sign(" "),
            b'_' => self.sign("-"),
            b'\r' | b'\n' => self.word("par", None),
            b'\\' | b'{' | b'}' => self.byte(first),
            _ => {}
        }
        at + 1
    }

    fn control_word(&mut self, bytes: &[u8], at: usize) -> usize {
        let length = bytes[at..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        let word = std::str::from_utf8(&bytes[at..at + length]).unwrap_or_default();
        let mut end = at + length;
        let sign = usize::from(bytes.get(end) == Some(&b'-'));
        let digits = bytes.iter().skip(end + sign).take_while(|byte| byte.is_ascii_digit()).count();
        let mut number = None;
        if digits > 0 {
            let written = std::str::from_utf8(&bytes[end..end + sign + digits]).unwrap_or_default();
            number = Some(written.parse().unwrap_or(i32::MAX));
            end += sign + digits;
        }
        end += usize::from(bytes.get(end) == Some(&b' '));
        if word == "bin" {
            return end.saturating_add(usize::try_from(number.unwrap_or(0)).unwrap_or(0));
        }
        self.word(word, number);
        end
    }

    fn word(&mut self, word: &str, number: Option<i32>) {
        let is_optional = mem::take(&mut self.is_optional);
        let (value, is_on) = (number.unwrap_or(0), number != Some(0));
        self.flush();
        if word == "u" {
            return self.unicode(value);
        }
        if self.to_skip > 0 {
            self.to_skip -= 1;
            return;
        }
        if self.group.destination == Destination::Skipped {
            return;
        }
        if SKIPPED.contains(&word) || is_optional && !OPTIONAL.contains(&word) {
            self.group.destination = Destination::Skipped;
            return;
        }
        match (self.group.destination, word) {
            (Destination::Info, "title") => self.begin(Destination::Property("title")),
            (Destination::Info, "author") => self.begin(Destination::Property("author")),
            (Destination::Info, "subject") => self.begin(Destination::Property("subject")),
            (Destination::Info, "keywords") => self.begin(Destination::Property("keywords")),
            (Destination::Info, "creatim") => self.begin(Destination::Time { is_latest: false }),
            (Destination::Info, "revtim") => self.begin(Destination::Time { is_latest: true }),
            (Destination::Time { .. }, word) => {
                let at = ["yr", "mo", "dy", "hr", "min"].iter().position(|unit| *unit == word);
                at.into_iter().for_each(|at| self.time[at] = value);
            }
            (_, "info") => self.begin(Destination::Info),
            (_, "fonttbl") => self.begin(Destination::Fonts),
            (_, "stylesheet") => self.begin(Destination::Styles),
            (_, "footnote") => self.begin(Destination::Note),
            (_, "listtext" | "pntext") => self.begin(Destination::ListMark),
            (Destination::Fonts, "f") => {
                self.group.font = value;
                self.name.clear();
            }
            (Destination::Fonts, "fcharset") => drop(self.fonts.insert(self.group.font, charset(value))),
            (Destination::Fonts, "cpg") => drop(self.fonts.insert(self.group.font, Font::CodePage(value))),
            (Destination::Styles, "s") => self.style = value,
            (Destination::Styles, "outlinelevel") => {
                if let Some(level) = level(value) {
                    self.headings.insert(self.style, level);
                }
            }
            (Destination::Body | Destination::Note, _) => self.word_of_text(word, value, is_on),
            _ => self.word_of_any(word, value),
        }
    }

    fn begin(&mut self, destination: Destination) {
        self.group.destination = destination;
        self.name.clear();
    }

    /// Reads a word that describes or writes the text of the document.
    fn word_of_text(&mut self, word: &str, value: i32, is_on: bool) {
        match word {
            "v" | "deleted" => self.group.is_hidden = is_on,
            "pard" => (self.group.heading, self.group.in_table) = (None, false),
            "s" => self.group.heading = self.headings.get(&value).copied(),
            "outlinelevel" => self.group.heading = level(value),
            "intbl" => self.group.in_table = true,
            "trowd" => (self.in_row, self.is_header_row) = (true, false),
            "trhdr" => self.is_header_row = true,
            "cell" | "nestcell" => self.end_cell(),
            "row" => self.end_row(),
            "par" | "sect" | "page" | "nestrow" => self.end_paragraph(),
            "shptxt" => {
                self.end_paragraph();
                self.group.is_box = true;
            }
            _ => self.word_of_any(word, value),
        }
    }

    /// Reads a word that may be in any group.
    fn word_of_any(&mut self, word: &str, value: i32) {
        match word {
            "ansicpg" => self.code_page = value,
            "mac" => self.code_page = 10_000,
            "pc" => self.code_page = 437,
            "pca" => self.code_page = 850,
            "deff" => (self.default_font, self.group.font) = (value, value),
            "f" => self.group.font = value,
            "plain" => (self.group.is_hidden, self.group.font) = (false, self.default_font),
            "uc" => self.group.substitutes = value.unsigned_abs(),
            "line" | "lbr" => self.push("\n"),
            "tab" => self.push("\t"),
            "emdash" => self.push("—"),
            "endash" => self.push("–"),
            "bullet" => self.push("•"),
            "lquote" => self.push("‘"),
            "rquote" => self.push("’"),
            "ldblquote" => self.push("“"),
            "rdblquote" => self.push("”"),
            "emspace" | "enspace" | "qmspace" => self.push(" "),
            "zwj" => self.push("\u{200D}"),
            "zwnj" => self.push("\u{200C}"),
            _ => {}
        }
    }

    fn byte(&mut self, byte: u8) {
        if self.to_skip > 0 {
            self.to_skip -= 1;
        } else if self.group.destination != Destination::Skipped {
            self.pending.push(byte);
        }
    }

    /// Writes a sign that a backslash and another sign stand for.
    fn sign(&mut self, sign: &str) {
        self.flush();
        if self.to_skip > 0 { self.to_skip -= 1 } else { self.push(sign) }
    }

    /// Decodes the bytes that are pending.
    fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let bytes = mem::take(&mut self.pending);
        if self.group.destination == Destination::Fonts {
            return self.font_name(&bytes);
        }
        let pages = match self.fonts.get(&self.group.font) {
            Some(Font::Symbols(font)) => return self.push(&signs(font, &bytes)),
            Some(Font::CodePage(page)) => [*page, self.code_page],
            Some(Font::Document) | None => [self.code_page; 2],
        };
        let decode = |page| Charset::for_code_page(page)?.decode(&bytes);
        match pages.into_iter().find_map(decode) {
            Some(text) => self.push(&text),
            None => self.wrong_page = Some(pages[0]),
        }
    }

    /// Reads a part of the name of a font, which ends with `;`. A font of symbols is known by its name.
    fn font_name(&mut self, bytes: &[u8]) {
        self.name.push_str(&String::from_utf8_lossy(bytes));
        let Some(name) = self.name.strip_suffix(';') else { return };
        let known = SYMBOL_FONTS.into_iter().find(|known| *known == name.trim());
        if let (Some(known), None | Some(Font::Symbols(_))) = (known, self.fonts.get(&self.group.font)) {
            self.fonts.insert(self.group.font, Font::Symbols(known));
        }
    }

    fn unicode(&mut self, number: i32) {
        self.to_skip = self.group.substitutes;
        // Numbers above 32,767 are written as negative ones.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let unit = number as u16;
        let units: Vec<u16> = self.surrogate.take().into_iter().chain([unit]).collect();
        if (0xD800..0xDC00).contains(&unit) {
            self.surrogate = Some(unit);
            return;
        }
        match unit {
            // Fonts of symbols have their signs in this private area.
            0xF000..=0xF0FF => {
                let font = match self.fonts.get(&self.group.font) {
                    Some(Font::Symbols(font)) => font,
                    _ => "",
                };
                self.push(&signs(font, &[unit.to_le_bytes()[0]]));
            }
            _ => self.push(&char::decode_utf16(units).filter_map(Result::ok).collect::<String>()),
        }
    }

    fn push(&mut self, text: &str) {
        match self.group.destination {
            Destination::Body | Destination::Note if !self.group.is_hidden => self.write(text),
            Destination::Styles | Destination::ListMark | Destination::Property(_) => {
                self.name.push_str(text)
            }
            _ => {}
        }
    }

    fn flow(&mut self) -> &mut Flow {
        if self.group.destination == Destination::Note { &mut self.notes } else { &mut self.body }
    }

    fn write(&mut self, text: &str) {
        let in_table = self.group.in_table || self.in_row;
        let row = if self.is_header_row { BlockKind::TableHeader } else { BlockKind::TableRow };
        let heading = self.group.heading;
        let is_blank = text.trim().is_empty();
        let mark = if is_blank { None } else { self.mark.take() };
        let flow = self.flow();
        if in_table {
            flow.begin_cell(row);
        } else if !flow.has_block && !is_blank {
            flow.begin_paragraph(heading, mark.as_deref());
        }
        flow.writer.push_str(text);
    }

    fn end_paragraph(&mut self) {
        self.mark = None;
        let flow = self.flow();
        flow.writer.boundary();
        flow.has_block = false;
    }

    fn end_cell(&mut self) {
        let row = if self.is_header_row { BlockKind::TableHeader } else { BlockKind::TableRow };
        self.mark = None;
        let flow = self.flow();
        flow.begin_cell(row);
        flow.writer.push_str(" ");
        flow.has_cell = false;
    }

    fn end_row(&mut self) {
        self.in_row = false;
        let flow = self.flow();
        flow.writer.end();
        (flow.has_row, flow.has_cell, flow.has_block) = (false, false, false);
    }

    fn end_group(&mut self) {
        let Some(outer) = self.groups.pop() else { return };
        let RtfGroup { destination, is_box, .. } = self.group;
        if is_box {
            self.end_paragraph();
        }
        let text = self.name.trim();
        match destination {
            Destination::Styles => {
                // These names are English in every language version of Word.
                let name = text.trim_end_matches(';').to_ascii_lowercase();
                let of_name = name.strip_prefix("heading ").and_then(|level| level.parse().ok());
                if let Some(level @ 1..=9) = of_name {
                    self.headings.insert(self.style, level);
                }
                self.style = 0;
                self.name.clear();
            }
            Destination::ListMark if outer.destination != destination => self.mark = Some(text.to_owned()),
            Destination::Property(name) if outer.destination != destination && !text.is_empty() => {
                self.fields.insert(name.to_owned(), text.into());
            }
            Destination::Time { is_latest } if is_latest || !self.fields.contains_key("date") => {
                let [year, month, day, hour, minute] = mem::take(&mut self.time);
                let date = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:00");
                self.fields.insert("date".to_owned(), date.into());
            }
            Destination::Note if outer.destination != destination => {
                self.notes.writer.end();
                self.notes.has_block = false;
            }
            _ => {}
        }
        self.group = outer;
    }
}

impl Flow {
    fn begin_cell(&mut self, row: BlockKind) {
        if !self.has_row {
            self.writer.begin(row, "");
            (self.has_row, self.has_cell) = (true, false);
        }
        if !self.has_cell {
            self.writer.push_str("| ");
            self.has_cell = true;
        }
    }

    fn begin_paragraph(&mut self, heading: Option<usize>, mark: Option<&str>) {
        // A mark without letters and digits is a bullet, and so is the letter that Word draws as a circle.
        let number = mark.filter(|mark| *mark != "o" && mark.contains(char::is_alphanumeric));
        match (heading, mark) {
            (Some(level), _) => self.writer.heading(level),
            (None, Some(_)) if number.is_none() => self.writer.begin(BlockKind::Item, "- "),
            (None, Some(_)) => self.writer.begin(BlockKind::Item, ""),
            (None, None) => {}
        }
        if let Some(number) = number {
            self.writer.push_str(number);
            self.writer.push_str(" ");
        }
        self.has_block = true;
    }
}

/// Returns the level of a heading, counted from 1. Other text has the level 9.
fn level(outline: i32) -> Option<usize> {
    usize::try_from(outline).ok().filter(|outline| *outline < 9).map(|outline| outline + 1)
}

/// Returns how the bytes of a font with this character set are decoded.
fn charset(number: i32) -> Font {
    Font::CodePage(match number {
        2 => return Font::Symbols(""),
        77 => 10_000,
        85 => 10_006,
        86 => 10_081,
        88 => 10_029,
        89 => 10_007,
        78 | 128 => 932,
        79 | 129 => 949,
        80 | 134 => 936,
        81 | 136 => 950,
        161 => 1253,
        162 => 1254,
        163 => 1258,
        177 => 1255,
        178 => 1256,
        186 => 1257,
        204 => 1251,
        222 => 874,
        238 => 1250,
        254 => 437,
        255 => 850,
        _ => return Font::Document,
    })
}

/// Returns the signs that bytes show in a font of symbols. Without a known font, only bullets are kept, as the other bytes mean
/// different things in different fonts.
fn signs(font: &str, bytes: &[u8]) -> String {
    let sign = |byte: &u8| match byte {
        b' ' | b'\t' => Some(' '),
        0xB7 | 0xA7 if font.is_empty() => Some('•'),
        _ => symbols::character(font, 0xF000 + u32::from(*byte)),
    };
    bytes.iter().filter_map(sign).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> String {
        let file = format!(
            "{{\\rtf1\\ansi\\ansicpg1252\\deff0{{\\fonttbl{{\\f0\\fcharset0 Arial;}}{{\\f1\\fcharset134 SimSun;}}{{\\f2\\fcharset2 Symbol;}}{{\\f3\\fcharset128 MS Mincho;}}{{\\f4\\fcharset2{{\\*\\panose 05}}Wingdings;}}\\f5\\fcharset2 Odd Signs;\\f6\\fcharset254 Terminal;}}{body}}}"
        );
        rtf(file.as_bytes()).unwrap().content.clean().into_text()
    }

    #[test]
    fn characters_are_those_of_the_font_or_of_unicode() {
        for (body, text) in [
            ("caf\\'e9 \\{a\\\\b\\}", "café {a\\b}"),
            ("\\f1 \\'bd\\'f1\\'cc\\'ec\\f0\\'e9", "今天é"),
            // The second byte of a character may be written as a letter.
            ("\\f3 \\'83A\\'83\\\\x", "アソx"),
            ("\\uc1\\u20170?\\u22825\\'cc.", "今天."),
            ("\\uc2\\u20170\\'bd\\'f1!", "今!"),
            ("\\uc0\\u-10179\\u-8704!", "😀!"),
            ("{\\uc2 \\u233 ab}\\u233 ab", "ééb"),
            ("\\u233", "é"),
            ("\\u233{x}", "éx"),
            ("a\\~b\\_c\\-d\\emdash\\ldblquote e\\rdblquote", "a b-cd—“e”"),
            ("one\\line two\\tab three", "one two three"),
            ("a \\bin3 {{}b", "a b"),
            ("\\'zzx", "zzx"),
            ("\\f2 a \\'a3\\f0  b {\\f4\\'fe \\u-3844?}{\\f5 x\\'b7}", "α ≤ b ☑ ✓•"),
            ("\\f2\\u-3999?\\f0\\u-3999?", "α"),
            ("\\f6 caf\\'82", "café"),
            ("\\pc caf\\'82 \\'e0", "café α"),
            ("\\pca caf\\'82 \\'e0", "café Ó"),
        ] {
            assert_eq!(read(body), text, "{body}");
        }
    }

    #[test]
    fn what_a_person_reads_stays() {
        for (body, text) in [
            (
                "{\\stylesheet{\\s1\\ql heading 1;}{\\s2\\outlinelevel1 Custom;}}\\pard\\s1 One\\par\\pard\\s2 Two\\par\\pard text\\par",
                "# One ## Two text",
            ),
            (
                "{\\listtext\\pard\\plain\\f2\\'b7\\tab}\\pard item\\par{\\pntext 2.\\tab}\\pard second\\par\\pard text",
                "- item 2. second text",
            ),
            (
                "\\pard\\s1\\outlinelevel0{\\listtext\\pard\\plain 3.2\\tab}\\pard\\outlinelevel0 Title\\par",
                "# 3.2 Title",
            ),
            (
                "\\trowd\\trhdr\\cellx1\\pard\\intbl a\\cell b\\cell\\row\\trowd\\pard\\intbl 1\\par 2\\cell\\cell\\row\\pard after",
                "| a | b | 1 2 | after",
            ),
            (
                "{\\field{\\*\\fldinst HYPERLINK \"http://x\"}{\\fldrslt link}} {\\v hidden}{\\deleted gone}{\\*\\unknown gone}{\\header gone}{\\pict 0102}",
                "link",
            ),
            ("word{\\footnote\\pard note {\\b bold}} goes on\\par next", "word goes on next note bold"),
            (
                "{\\shp{\\*\\shpinst{\\sp{\\sn n}{\\sv v}}{\\shptxt\\pard box\\par}}{\\shprslt box}}text",
                "box text",
            ),
            ("{\\info{\\title T}{\\author A}}text{\\annotation gone}", "text"),
        ] {
            assert_eq!(read(body), text, "{body}");
        }
    }

    #[test]
    fn a_document_says_what_it_is() {
        let file = b"{\\rtf1\\ansicpg1252{\\info{\\title Caf\\'e9}{\\author Ana}{\\*\\company X}{\\creatim\\yr2025\\mo1\\dy1}{\\revtim\\yr2026\\mo3\\dy2\\hr8\\min5}}x}";
        let fields = rtf(file).unwrap().fields;
        let expected = serde_json::json!({"title": "Café", "author": "Ana", "date": "2026-03-02T08:05:00"});
        assert_eq!(serde_json::Value::Object(fields), expected);
    }

    #[test]
    fn damaged_files_are_refused_and_deep_ones_too() {
        let says = |bytes: &[u8]| rtf(bytes).map(|rtf| rtf.content).unwrap_err().to_string();
        assert!(says(b"plain").contains("does not begin with"));
        assert!(says(b"%PDF-1.7").contains("PDF"));
        assert!(says(b"{\\rtf1 cut").contains("ends inside of a group"));
        assert!(says(format!("{{\\rtf1 {}", "{".repeat(20_000)).as_bytes()).contains("10000 groups"));
        assert!(rtf(b"{\\rtf1\\bin99999999999 }").is_err());
    }

    #[test]
    fn hostile_files_are_read_in_linear_time() {
        for pattern in [
            "\\u1",
            "\\'",
            "{}",
            "\\par",
            "\\cell",
            "\\row",
            "{\\footnote}",
            "\\f1\\'81",
            "{\\*\\x",
            "\\u-10179",
        ] {
            let body = pattern.repeat(3_000_000 / pattern.len());
            let _ = rtf(format!("{{\\rtf1 {body}}}").as_bytes());
        }
    }
}
