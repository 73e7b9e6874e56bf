//! Decodes the text strings of PDF files (ISO 32000-2, 7.9.2.2).

use crate::source::decode::Charset;

/// The characters of PDFDocEncoding (ISO 32000-2, annex D.3) from 0x18 on. Below 0x18, its codes are those of ASCII.
const FROM_18: [char; 8] =
    ['\u{2D8}', '\u{2C7}', '\u{2C6}', '\u{2D9}', '\u{2DD}', '\u{2DB}', '\u{2DA}', '\u{2DC}'];

/// The characters of PDFDocEncoding from 0x80 to 0xA0. Above 0xA0, its codes are those of Latin-1.
const FROM_80: [char; 33] = [
    '•', '†', '‡', '…', '—', '–', 'ƒ', '⁄', '‹', '›', '−', '‰', '„', '“', '”', '‘', '’', '‚', '™', 'ﬁ', 'ﬂ',
    'Ł', 'Œ', 'Š', 'Ÿ', 'Ž', 'ı', 'ł', 'œ', 'š', 'ž', '\u{FFFD}', '€',
];

/// The mark before and after the code of a language inside a string.
const LANGUAGE_MARK: char = '\u{1B}';

/// Decodes a text string by its byte order mark: UTF-16 or UTF-8. A string without a byte order mark is in PDFDocEncoding. Returns
/// `None` if the bytes are not valid in the encoding.
pub fn text_string(bytes: &[u8]) -> Option<String> {
    let text = match Charset::for_bom(bytes) {
        Some((charset, mark)) => charset.decode(&bytes[mark..])?,
        None => bytes.iter().copied().map(character).collect(),
    };
    // The text stands before, between and after the codes of languages.
    Some(if text.contains(LANGUAGE_MARK) { text.split(LANGUAGE_MARK).step_by(2).collect() } else { text })
}

/// Returns the character of a code in PDFDocEncoding.
fn character(code: u8) -> char {
    match code {
        0x18..=0x1F => FROM_18[usize::from(code - 0x18)],
        0x80..=0xA0 => FROM_80[usize::from(code - 0x80)],
        _ => char::from(code),
    }
}

#[cfg(test)]
mod tests {
    use super::text_string;

    #[test]
    fn strings_are_decoded_by_their_mark() {
        for (bytes, text) in [
            (b"Stra\xDFe \x84 \x80 \xA0" as &[u8], "Straße — • €"),
            (b"\xFE\xFF\x6C\x14\x57\x8B", "\u{6C14}\u{578B}"),
            (b"\xFE\xFF\0\x1B\0e\0n\0\x1B\0a\0\x1B\0f\0r\0\x1B\0b", "ab"),
            (b"\xEF\xBB\xBF\xC5\x82", "ł"),
            (b"", ""),
        ] {
            assert_eq!(text_string(bytes).as_deref(), Some(text));
        }
        assert_eq!(text_string(b"\xFE\xFF\xD8\0\0a"), None);
    }
}
