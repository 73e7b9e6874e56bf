//! Character encodings: those of the WHATWG Encoding Standard, and others that old files are in.

use std::io::{Cursor, Read};

use encoding_rs::{Encoding, REPLACEMENT, X_USER_DEFINED};
use encoding_rs_io::DecodeReaderBytesBuilder;

use super::code_page::CodePage;
use super::code_pages::CODE_PAGES;
use super::convert::Converted;
use super::seven_bit::SevenBit;

/// A character encoding. `text::tokenize::Encoding` is a list of token ids, so this type has another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charset(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// An encoding of the WHATWG Encoding Standard.
    Standard(&'static Encoding),
    CodePage(&'static CodePage),
    Utf32 {
        is_big_endian: bool,
    },
    SevenBit(SevenBit),
    /// An encoding that this program cannot decode.
    Unsupported(&'static str),
}

/// Labels of Python, Java and Windows, without `-`, `_` and `:`, and the label that the WHATWG Encoding Standard has.
const OTHER_LABELS: [(&str, &str); 8] = [
    ("cp932", "shift_jis"),
    ("cp936", "gbk"),
    ("cp949", "euc-kr"),
    ("cp950", "big5"),
    ("cp874", "windows-874"),
    ("macroman", "macintosh"),
    ("xmacroman", "macintosh"),
    ("maccyrillic", "x-mac-cyrillic"),
];

/// Encodings that pages declare and this program cannot decode. A page that declares one is refused by this name.
const UNSUPPORTED: [(&str, &str); 6] = [
    ("johab", "Johab"),
    ("cp1361", "Johab"),
    ("euctw", "EUC-TW"),
    ("viscii", "VISCII"),
    ("tcvn", "TCVN"),
    ("armscii8", "ARMSCII-8"),
];

impl Charset {
    /// UTF-8.
    pub const UTF_8: Charset = Charset::standard(encoding_rs::UTF_8);
    /// UTF-16 with the low byte first.
    pub const UTF_16LE: Charset = Charset::standard(encoding_rs::UTF_16LE);
    /// UTF-16 with the high byte first.
    pub const UTF_16BE: Charset = Charset::standard(encoding_rs::UTF_16BE);
    /// UTF-32 with the lowest byte first.
    pub const UTF_32LE: Charset = Charset(Kind::Utf32 { is_big_endian: false });
    /// UTF-32 with the highest byte first.
    pub const UTF_32BE: Charset = Charset(Kind::Utf32 { is_big_endian: true });

    /// Returns an encoding of the WHATWG Encoding Standard.
    pub const fn standard(encoding: &'static Encoding) -> Charset {
        Charset(Kind::Standard(encoding))
    }

    /// Returns a 7-bit encoding.
    pub const fn seven_bit(encoding: SevenBit) -> Charset {
        Charset(Kind::SevenBit(encoding))
    }

    /// Returns the encoding of a code page, by the number that Windows gives it.
    pub fn for_code_page(number: i32) -> Option<Charset> {
        let label = match number {
            10_000 => "macintosh".to_owned(),
            10_006 => "x-mac-greek".to_owned(),
            10_007 => "x-mac-cyrillic".to_owned(),
            10_029 => "x-mac-ce".to_owned(),
            10_081 => "x-mac-turkish".to_owned(),
            65_001 => "utf-8".to_owned(),
            1250..=1258 => format!("windows-{number}"),
            _ => format!("cp{number}"),
        };
        Charset::for_label(label.as_bytes()).filter(|charset| charset.is_supported())
    }

    /// Returns the encoding that a label names. The label may be one of the WHATWG Encoding Standard, of IANA or of Python.
    /// The encoding x-user-defined represents binary data and not text, so its label is unknown here.
    pub fn for_label(label: &[u8]) -> Option<Charset> {
        let plain: String =
            label.iter().filter(|byte| !b"-_: ".contains(byte)).map(|&byte| char::from(byte)).collect();
        let plain = plain.to_ascii_lowercase();
        let other = OTHER_LABELS.iter().find(|(label, _)| *label == plain);
        let label = other.map_or(label, |(_, label)| label.as_bytes());
        if let Some(found) = Encoding::for_label(label).or_else(|| for_label_with_hyphens(label)) {
            match found {
                _ if found == X_USER_DEFINED => return None,
                _ if found == REPLACEMENT => {}
                _ => return Some(Charset::standard(found)),
            }
        }
        if let Some(page) = CODE_PAGES.iter().find(|page| page.labels.contains(&&*plain)) {
            return Some(Charset(Kind::CodePage(page)));
        }
        if let Some((_, name)) = UNSUPPORTED.iter().find(|(label, _)| *label == plain) {
            return Some(Charset(Kind::Unsupported(name)));
        }
        match &*plain {
            "utf32" | "utf32le" | "ucs4" => Some(Charset::UTF_32LE),
            "utf32be" | "ucs4be" => Some(Charset::UTF_32BE),
            "iso2022kr" | "csiso2022kr" => Some(Charset::seven_bit(SevenBit::Iso2022Kr)),
            "iso2022cn" | "iso2022cnext" => Some(Charset::seven_bit(SevenBit::Iso2022Cn)),
            "hz" | "hzgb2312" | "hzgb" => Some(Charset::seven_bit(SevenBit::Hz)),
            _ => None,
        }
    }

    /// Returns the encoding that a byte order mark at the start names, and the length of the mark in bytes.
    pub fn for_bom(bytes: &[u8]) -> Option<(Charset, usize)> {
        match bytes {
            // No text in UTF-16LE starts with these bytes, because the last two would be a zero character.
            [0xFF, 0xFE, 0, 0, ..] => Some((Charset::UTF_32LE, 4)),
            [0, 0, 0xFE, 0xFF, ..] => Some((Charset::UTF_32BE, 4)),
            _ => Encoding::for_bom(bytes).map(|(encoding, mark)| (Charset::standard(encoding), mark)),
        }
    }

    /// Returns the name, for messages and counts.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Standard(encoding) => encoding.name(),
            Kind::CodePage(page) => page.name,
            Kind::Utf32 { is_big_endian: false } => "UTF-32LE",
            Kind::Utf32 { is_big_endian: true } => "UTF-32BE",
            Kind::SevenBit(encoding) => encoding.name(),
            Kind::Unsupported(name) => name,
        }
    }

    /// Returns whether a text in this encoding has zero bytes.
    pub fn is_wide(self) -> bool {
        [Charset::UTF_16LE, Charset::UTF_16BE, Charset::UTF_32LE, Charset::UTF_32BE].contains(&self)
    }

    /// Returns whether this is an encoding of Unicode.
    pub fn is_unicode(self) -> bool {
        self.is_wide() || self == Charset::UTF_8
    }

    /// Returns whether pages of the web are in this encoding: it is in the WHATWG Encoding Standard, and not one of DOS or of
    /// classic Mac OS.
    pub fn is_of_the_web(self) -> bool {
        let is_older = ["IBM866", "macintosh", "x-mac-cyrillic"].contains(&self.name());
        matches!(self.0, Kind::Standard(_)) && !is_older
    }

    /// Returns whether this program can decode the encoding.
    pub fn is_supported(self) -> bool {
        !matches!(self.0, Kind::Unsupported(_))
    }

    /// Returns whether text in this encoding uses control characters to switch between character sets.
    pub fn is_seven_bit(self) -> bool {
        matches!(self.0, Kind::SevenBit(_))
    }

    /// Returns the text; `None` if some bytes are not valid in this encoding.
    pub fn decode(self, bytes: &[u8]) -> Option<String> {
        match self.0 {
            Kind::Standard(encoding) => {
                let text = encoding.decode_without_bom_handling_and_without_replacement(bytes)?;
                Some(text.into_owned())
            }
            Kind::CodePage(page) => {
                let characters = page.characters();
                bytes.iter().map(|&byte| characters[usize::from(byte)]).collect()
            }
            Kind::Utf32 { is_big_endian } => {
                let is_whole = bytes.len().is_multiple_of(4);
                is_whole.then(|| utf_32(bytes, is_big_endian).collect()).flatten()
            }
            Kind::SevenBit(encoding) => {
                let eight_bit = encoding.converter()(&mut bytes.to_vec(), true);
                Charset::standard(encoding.eight_bit()).decode(&eight_bit)
            }
            Kind::Unsupported(_) => None,
        }
    }

    /// Returns a reader that decodes another reader to UTF-8. Bytes that are not valid become U+FFFD.
    pub fn reader(self, inner: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
        let standard = |encoding, inner| -> Box<dyn Read + Send> {
            Box::new(DecodeReaderBytesBuilder::new().encoding(Some(encoding)).build(inner))
        };
        match self.0 {
            Kind::Standard(encoding) => standard(encoding, inner),
            Kind::CodePage(page) => {
                let characters = page.characters();
                let convert = move |bytes: &mut Vec<u8>, _: bool| {
                    utf_8(bytes.drain(..).map(|byte| characters[usize::from(byte)]))
                };
                Box::new(Converted::new(inner, convert))
            }
            Kind::Utf32 { is_big_endian } => {
                let convert = move |bytes: &mut Vec<u8>, is_end: bool| {
                    let rest = bytes.split_off(bytes.len() / 4 * 4);
                    let cut_off = (is_end && !rest.is_empty()).then_some(None);
                    let text = utf_8(utf_32(bytes, is_big_endian).chain(cut_off));
                    *bytes = rest;
                    text
                };
                Box::new(Converted::new(inner, convert))
            }
            Kind::SevenBit(encoding) => {
                let eight_bit = Converted::new(inner, encoding.converter());
                standard(encoding.eight_bit(), Box::new(eight_bit))
            }
            // Every byte is invalid, so every row with text fails.
            Kind::Unsupported(_) => Box::new(Cursor::new(char::REPLACEMENT_CHARACTER.to_string())),
        }
    }
}

/// Finds labels that Python writes with `_` and the standard with `-`, such as `windows_1250`.
fn for_label_with_hyphens(label: &[u8]) -> Option<&'static Encoding> {
    let label: Vec<u8> = label.iter().map(|&byte| if byte == b'_' { b'-' } else { byte }).collect();
    Encoding::for_label(&label)
}

/// Returns the characters of UTF-32; `None` for four bytes that are no character.
fn utf_32(bytes: &[u8], is_big_endian: bool) -> impl Iterator<Item = Option<char>> {
    let number = if is_big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
    bytes.as_chunks().0.iter().map(move |&unit| char::from_u32(number(unit)))
}

fn utf_8(characters: impl Iterator<Item = Option<char>>) -> Vec<u8> {
    let text: String = characters.map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    text.into_bytes()
}
