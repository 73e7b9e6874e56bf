//! Bytes of a text file in, text out (the only user of encoding_rs and chardetng). Pure.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, ISO_2022_JP, UTF_8, UTF_16BE, UTF_16LE};
use memchr::memmem;

use crate::error::DocumentError;

/// An encoding of text. (`tokenize::Encoding` is the other kind.)
pub use encoding_rs::Encoding as Charset;

/// Files that are not text though their name says so, by their first bytes. Others show by the control
/// characters in them; these may have none for a long time.
const NOT_TEXT: [(&[u8], &str); 5] = [
    (b"%PDF-", "PDF"),
    (b"PK\x03\x04", "a ZIP archive (or an Office document)"),
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PAR1", "Parquet"),
];

/// A text, and the encoding that it was in where that was not UTF-8.
pub type Decoded = (String, Option<&'static str>);

/// Decodes by a byte order mark; or else by `forced`; or else as UTF-8, as UTF-16 without a mark, or as the
/// legacy encoding that it looks most like.
///
/// # Errors
/// Not text, or bytes that the encoding does not have: never a replacement character in their place.
pub fn decode(bytes: Vec<u8>, forced: Option<&'static Encoding>) -> Result<Decoded, DocumentError> {
    if let Some((_, what)) = NOT_TEXT.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Err(DocumentError::NotText { found: what });
    }
    if let Some((encoding, mark)) = Encoding::for_bom(&bytes) {
        return decode_as(&bytes[mark..], encoding);
    }
    if let Some(encoding) = forced {
        return decode_as(&bytes, encoding);
    }
    if let Some(encoding) = utf16_without_mark(&bytes) {
        return decode_as(&bytes, encoding);
    }
    if is_binary(&bytes) {
        return Err(DocumentError::NotText { found: "binary data" });
    }
    // All of it is ASCII, so it would be taken for UTF-8; this sequence switches to Japanese.
    if bytes.is_ascii() && memmem::find(&bytes, b"\x1b$").is_some() {
        return decode_as(&bytes, ISO_2022_JP);
    }
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => return Ok((text, None)),
        Err(e) => e.into_bytes(),
    };
    if is_damaged_utf8(&bytes) {
        return Err(DocumentError::Undecodable { encoding: UTF_8.name() });
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(&bytes, true);
    let guess = detector.guess(None, Utf8Detection::Deny);
    let (text, encoding) = decode_as(&bytes, guess)?;
    // No text has these, so the guess is wrong; cleaning would take them away in silence.
    if text.contains(|c| matches!(c, '\u{80}'..='\u{9F}')) {
        return Err(DocumentError::Undecodable { encoding: guess.name() });
    }
    Ok((text, encoding))
}

fn decode_as(bytes: &[u8], encoding: &'static Encoding) -> Result<Decoded, DocumentError> {
    match encoding.decode_without_bom_handling_and_without_replacement(bytes) {
        Some(text) => Ok((text.into_owned(), (encoding != UTF_8).then(|| encoding.name()))),
        None => Err(DocumentError::Undecodable { encoding: encoding.name() }),
    }
}

/// ASCII in UTF-16 has a zero in every second byte; half of that is enough to tell, since no other text
/// has any.
fn utf16_without_mark(bytes: &[u8]) -> Option<&'static Encoding> {
    let start = &bytes[..bytes.len().min(4096) & !1];
    let zeros = |at: usize| start.iter().skip(at).step_by(2).filter(|&&byte| byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    match start.len() / 4 {
        0 => None,
        quarter if odd > quarter && even == 0 => Some(UTF_16LE),
        quarter if even > quarter && odd == 0 => Some(UTF_16BE),
        _ => None,
    }
}

/// A zero, or more than one control character in a hundred bytes: a few stand in old logs and manuals.
fn is_binary(bytes: &[u8]) -> bool {
    let control = |byte: &&u8| matches!(byte, 1..=0x08 | 0x0E..=0x19 | 0x1C..=0x1F);
    bytes.contains(&0) || bytes.iter().filter(control).count() > bytes.len() / 100
}

/// UTF-8 with a few bytes wrong or cut off. A single-byte encoding has a character for every byte, so it
/// would fit, and make nonsense of all the others.
fn is_damaged_utf8(bytes: &[u8]) -> bool {
    let (mut whole, mut broken) = (0, 0);
    for chunk in bytes.utf8_chunks() {
        whole += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        broken += usize::from(!chunk.invalid().is_empty());
    }
    // In a legacy encoding, bytes that happen to be a sequence of UTF-8 are the exception.
    whole > broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHINESE: &str = "员工因公出差产生的交通费、住宿费和伙食补助，凭发票在十五个工作日内报销。";
    const TRADITIONAL: &str = "員工因公出差產生的交通費、住宿費和伙食補助，憑發票在十五個工作日內報銷。";
    const JAPANESE: &str =
        "図書館は月曜日を除いて毎日午前九時から午後八時まで開いています。貸し出しは一人十冊までです。";
    const KOREAN: &str = "도서관은 월요일을 제외하고 매일 오전 아홉 시부터 오후 여덟 시까지 문을 엽니다.";
    const SPANISH: &str =
        "El pingüino comió piñones: ¿cuántos? Mañana lo sabrá el señor Núñez, según él mismo.";
    const RUSSIAN: &str = "Библиотека открыта ежедневно, кроме понедельника, с девяти утра до восьми вечера.";

    #[test]
    fn legacy_encodings_are_told_apart() {
        for (text, label) in [
            (CHINESE, "GBK"),
            (TRADITIONAL, "Big5"),
            (JAPANESE, "Shift_JIS"),
            (JAPANESE, "EUC-JP"),
            (JAPANESE, "ISO-2022-JP"),
            (KOREAN, "EUC-KR"),
            (SPANISH, "windows-1252"),
            (RUSSIAN, "windows-1251"),
        ] {
            let encoding = Encoding::for_label(label.as_bytes()).unwrap();
            let (bytes, _, had_unmappable) = encoding.encode(text);
            assert!(!had_unmappable);
            assert_eq!(
                decode(bytes.to_vec(), None).unwrap(),
                (text.to_owned(), Some(encoding.name())),
                "{label}"
            );
            assert_eq!(decode(bytes.into_owned(), Some(encoding)).unwrap().0, text);
        }
    }

    #[test]
    fn utf_16_is_read_with_a_mark_and_without() {
        for (text, mark) in [("\u{FEFF}plain text", true), ("plain text", false), ("\u{FEFF}今天", true)] {
            let le: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let be: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
            let expected = text.trim_start_matches('\u{FEFF}').to_owned();
            assert_eq!(decode(le, None).unwrap(), (expected.clone(), Some("UTF-16LE")), "mark {mark}");
            assert_eq!(decode(be, None).unwrap(), (expected, Some("UTF-16BE")), "mark {mark}");
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        for bytes in [b"%PDF-1.7\nplain".to_vec(), b"PK\x03\x04word".to_vec(), png] {
            assert!(matches!(decode(bytes, None), Err(DocumentError::NotText { .. })));
        }
        let tar = b"x.txt\0\0ustar\0\0hello".to_vec();
        let cyrillic: Vec<u8> = RUSSIAN.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for bytes in [tar, cyrillic] {
            assert!(matches!(decode(bytes, None), Err(DocumentError::NotText { .. })));
        }
        let half = [CHINESE.as_bytes(), b"\xff"].concat();
        for damaged in [half.clone(), CHINESE.as_bytes()[..CHINESE.len() - 1].to_vec()] {
            let decoded = decode(damaged, None);
            assert!(matches!(decoded, Err(DocumentError::Undecodable { encoding: "UTF-8" })), "{decoded:?}");
        }
        assert!(matches!(decode(half, Some(UTF_8)), Err(DocumentError::Undecodable { encoding: "UTF-8" })));
        assert!(matches!(
            decode(b"\xff\xfea\0\0\xd8".to_vec(), None),
            Err(DocumentError::Undecodable { .. })
        ));
    }

    proptest! {
        #[test]
        fn utf_8_is_always_itself_and_nothing_is_ever_replaced(text in "\\PC*", bytes in any::<Vec<u8>>()) {
            prop_assert_eq!(decode(text.clone().into_bytes(), None).unwrap(), (text, None));
            if let Ok((text, encoding)) = decode(bytes.clone(), None) {
                // Only these have a code for the replacement character itself.
                let may = encoding.is_none_or(|name| name.starts_with("UTF-16") || name.starts_with("GB") || name == "gb18030");
                prop_assert!(may || !text.contains('\u{FFFD}'), "{:?}", encoding);
            }
        }
    }
}
