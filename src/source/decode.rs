//! Decodes texts with a declared or detected encoding. No other module uses encoding_rs, encoding_rs_io or chardetng.

use std::io::{self, Cursor, Read};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{
    BIG5, Encoding, GBK, ISO_2022_JP, MACINTOSH, SHIFT_JIS, UTF_16BE, UTF_16LE, WINDOWS_1252, X_MAC_CYRILLIC,
    X_USER_DEFINED,
};
use encoding_rs_io::DecodeReaderBytesBuilder;
use memchr::memmem;

use crate::error::DocumentError;

/// A character encoding. The type is renamed here, because `tokenize::Encoding` is a list of token ids.
pub use encoding_rs::{Encoding as Charset, UTF_8};

/// The first bytes and the names of some binary formats. Most binary files are recognized by their control characters, but
/// files of these formats may have no control characters near their start.
const NOT_TEXT: [(&[u8], &str); 6] = [
    (b"\xd0\xcf\x11\xe0", "an old Office document or one with a password"),
    (b"%PDF-", "PDF"),
    (b"PK\x03\x04", "a ZIP archive (or an Office document)"),
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PAR1", "Parquet"),
];

/// Number of bytes at the start of a stream that are used to detect the encoding of the stream and the separator of a CSV
/// file.
pub const START_BYTES: u64 = 64 << 10;

/// A text and its original encoding. The encoding is `None` for UTF-8.
pub type Decoded = (String, Option<&'static str>);

/// Decodes a whole text. A byte order mark decides the encoding. Without a byte order mark, `forced` decides. Without both,
/// the first fitting encoding in this order is used: UTF-16, ISO-2022-JP, UTF-8, the `declared` encoding, or the legacy
/// encoding that the bytes resemble most.
///
/// # Errors
/// The bytes are not text, or are not valid in the encoding. Invalid bytes are never replaced by U+FFFD.
pub fn decode(
    bytes: Vec<u8>,
    forced: Option<&'static Encoding>,
    declared: Option<&'static Encoding>,
) -> Result<Decoded, DocumentError> {
    refuse_known_formats(&bytes)?;
    refuse_utf_32(&bytes)?;
    if let Some((encoding, mark)) = Encoding::for_bom(&bytes) {
        return decode_as(&bytes[mark..], encoding);
    }
    if let Some(encoding) = forced {
        if is_binary(&bytes) && ![UTF_16LE, UTF_16BE].contains(&encoding) {
            return Err(DocumentError::NotText { found: "binary data" });
        }
        return match decode_as(&bytes, encoding)? {
            (text, Some(name)) if !name.starts_with("UTF") && has_c1_control(&text) => {
                Err(DocumentError::Undecodable { encoding: name })
            }
            decoded => Ok(decoded),
        };
    }
    if let Some(encoding) = utf16_without_mark(&bytes) {
        return decode_as(&bytes, encoding);
    }
    if is_binary(&bytes) {
        return Err(DocumentError::NotText { found: "binary data" });
    }
    if is_iso_2022_jp(&bytes) {
        return decode_as(&bytes, ISO_2022_JP);
    }
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => return Ok((text, None)),
        Err(e) => e.into_bytes(),
    };
    if is_damaged_utf8(&bytes) {
        return Err(DocumentError::Undecodable { encoding: UTF_8.name() });
    }
    if let Some(Ok(decoded)) = declared.map(|encoding| decode_as(&bytes, encoding))
        && !has_c1_control(&decoded.0)
    {
        return Ok(decoded);
    }
    let guess = guess(&bytes, true);
    let (text, encoding) = decode_as(&bytes, guess)?;
    if has_only_accents(&text) {
        return Err(DocumentError::Undecodable { encoding: declared.unwrap_or(guess).name() });
    }
    // No ordinary text contains C1 controls, so the guess is wrong. Without this check, cleaning would silently remove the
    // C1 controls.
    if has_c1_control(&text) {
        return Err(DocumentError::Undecodable { encoding: guess.name() });
    }
    Ok((text, encoding))
}

/// Decodes a file of rows while the file is read. Detects the encoding from the start of the file. Returns the decoded
/// stream and the encoding. The encoding is `None` for UTF-8.
///
/// In UTF-8, invalid bytes are passed on unchanged. In every other encoding, invalid bytes become U+FFFD. The reader of rows
/// checks for both cases, so that only the row with the invalid bytes fails and not the whole file.
///
/// # Errors
/// The content is not text, or the stream cannot be read.
pub fn stream(
    reader: Box<dyn Read + Send>,
    forced: Option<&'static Encoding>,
) -> Result<(Box<dyn Read + Send>, Option<&'static str>), DocumentError> {
    let (start, mut reader) = peek(reader)?;
    refuse_known_formats(&start)?;
    refuse_utf_32(&start)?;
    let (encoding, mark) = match Encoding::for_bom(&start) {
        Some(marked) => marked,
        None => (forced.map_or_else(|| encoding_of_start(&start), Ok)?, 0),
    };
    if encoding == UTF_8 {
        skip(&mut reader, mark)?;
        return Ok((reader, None));
    }
    let decoder = DecodeReaderBytesBuilder::new().encoding(Some(encoding)).build(reader);
    Ok((Box::new(decoder), Some(encoding.name())))
}

/// Decodes a stream of JSON Lines while the stream is read. If the stream starts with the byte order mark of UTF-16, the
/// encoding is UTF-16. Otherwise the encoding is UTF-8.
///
/// If the stream starts with neither `{` nor a byte order mark, zero bytes near its start mean binary data, and the whole
/// stream is refused. If the stream starts with `{`, only the lines with zero bytes fail.
///
/// # Errors
/// The content is not text, or the stream cannot be read.
pub fn json_stream(
    reader: Box<dyn Read + Send>,
) -> Result<(Box<dyn Read + Send>, Option<&'static str>), DocumentError> {
    let (start, reader) = peek(reader)?;
    let has_mark = Encoding::for_bom(&start).is_some();
    if !has_mark && !matches!(start.trim_ascii_start().first(), Some(b'{' | b'[')) && start.contains(&0) {
        refuse_known_formats(&start)?;
        return Err(DocumentError::NotText { found: "binary data" });
    }
    stream(reader, Some(UTF_8))
}

/// Reads the first [`START_BYTES`] bytes of a stream. Returns these bytes, and a stream that returns these bytes again,
/// followed by the rest of the stream. If reading fails after some bytes, the returned stream also fails after these bytes.
pub fn peek(mut reader: Box<dyn Read + Send>) -> io::Result<(Vec<u8>, Box<dyn Read + Send>)> {
    let mut start = Vec::new();
    let read = reader.by_ref().take(START_BYTES).read_to_end(&mut start);
    let again = Cursor::new(start.clone());
    match read {
        Ok(_) => Ok((start, Box::new(again.chain(reader)))),
        Err(e) if start.is_empty() => Err(e),
        Err(e) => Ok((start, Box::new(again.chain(Failing(Some(e)))))),
    }
}

/// Reads the next bytes of a stream and discards them. `bytes` says how many bytes are discarded.
pub fn skip(reader: &mut impl Read, bytes: usize) -> io::Result<u64> {
    io::copy(&mut reader.take(bytes as u64), &mut io::sink())
}

/// The rest of a stream after a failed read. The first read returns the error, and every further read fails too.
struct Failing(Option<io::Error>);

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(self.0.take().unwrap_or_else(|| io::Error::other("an earlier read failed")))
    }
}

fn encoding_of_start(start: &[u8]) -> Result<&'static Encoding, DocumentError> {
    if let Some(encoding) = utf16_without_mark(start) {
        return Ok(encoding);
    }
    if is_binary(start) {
        return Err(DocumentError::NotText { found: "binary data" });
    }
    if is_iso_2022_jp(start) {
        return Ok(ISO_2022_JP);
    }
    // The start may end in the middle of a character.
    let is_utf8 = std::str::from_utf8(start).map_or_else(|e| e.error_len().is_none(), |_| true);
    if is_utf8 || is_damaged_utf8(start) {
        return Ok(UTF_8);
    }
    let guess = guess(start, (start.len() as u64) < START_BYTES);
    match has_only_accents(&guess.decode_without_bom_handling(start).0) {
        true => Err(DocumentError::Undecodable { encoding: guess.name() }),
        false => Ok(guess),
    }
}

/// Returns the encoding that an HTML page or an XML declaration declares. Like browsers, this function searches only the
/// first 1,024 bytes (<https://html.spec.whatwg.org/#prescan-a-byte-stream-to-determine-its-encoding>).
pub fn declared(bytes: &[u8]) -> Option<&'static Encoding> {
    let start = bytes[..bytes.len().min(1024)].to_ascii_lowercase();
    ["charset=", "encoding="].iter().find_map(|name| {
        let behind = &start[memmem::find(&start, name.as_bytes())? + name.len()..];
        let behind = behind.strip_prefix(b"\"").or(behind.strip_prefix(b"'")).unwrap_or(behind);
        let label = behind.split(|byte| !byte.is_ascii_alphanumeric() && !b"-_:".contains(byte)).next()?;
        // If the declaration can be read as ASCII, the page is not in UTF-16. The encoding x-user-defined represents binary
        // data and not text.
        Encoding::for_label(label).filter(|found| ![UTF_16LE, UTF_16BE, X_USER_DEFINED].contains(found))
    })
}

/// Returns the encoding of a code page of Windows, by its number.
pub fn code_page(number: i32) -> Option<&'static Encoding> {
    match number {
        932 => Some(SHIFT_JIS),
        936 => Some(GBK),
        950 => Some(BIG5),
        10_000 => Some(MACINTOSH),
        10_007 => Some(X_MAC_CYRILLIC),
        65_001 => Some(UTF_8),
        _ => Encoding::for_label(format!("windows-{number}").as_bytes()),
    }
}

fn refuse_known_formats(start: &[u8]) -> Result<(), DocumentError> {
    match known_format(start) {
        Some(found) => Err(DocumentError::NotText { found }),
        None => Ok(()),
    }
}

/// Refuses UTF-32LE. Its byte order mark is the byte order mark of UTF-16LE followed by two zero bytes. A text in UTF-16LE
/// never starts like this, because the two zero bytes would be a zero character.
fn refuse_utf_32(start: &[u8]) -> Result<(), DocumentError> {
    match start {
        [0xFF, 0xFE, 0, 0, ..] => Err(DocumentError::Undecodable { encoding: "UTF-32LE" }),
        _ => Ok(()),
    }
}

/// Compares the first bytes of a file with the known binary formats. Returns the name of the format that matches.
pub fn known_format(start: &[u8]) -> Option<&'static str> {
    NOT_TEXT.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, name)| *name)
}

/// If a text has more than this many non-ASCII bytes, the encoding of the text is certain, even if the final character of
/// the text is cut off.
const SURE_BYTES: usize = 64;

/// Returns the legacy encoding that the bytes resemble most. `is_whole` says whether the bytes are a whole file.
///
/// The final character of the bytes may be cut off. If the bytes are only the start of a file, a cut-off character says
/// nothing about the encoding. If the bytes are a whole file, a cut-off character means that the encoding is wrong. But if a
/// whole file has more than [`SURE_BYTES`] non-ASCII bytes, the file is more likely damaged.
fn guess(bytes: &[u8], is_whole: bool) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(bytes, false);
    let mut guess = detector.guess(None, Utf8Detection::Deny);
    let is_sure = || bytes.iter().filter(|byte| !byte.is_ascii()).count() > SURE_BYTES;
    if is_whole && (guess.is_single_byte() || !is_sure()) {
        detector.feed(b"", true);
        guess = detector.guess(None, Utf8Detection::Deny);
    }
    let (text, _) = guess.decode_without_bom_handling(bytes);
    if has_only_lone_symbols(&text) { WINDOWS_1252 } else { guess }
}

/// Returns whether a text is in ISO-2022-JP. Such a text has only ASCII bytes, so without this check the text would be
/// decoded as UTF-8. The bytes `ESC $` switch to Japanese.
fn is_iso_2022_jp(bytes: &[u8]) -> bool {
    bytes.is_ascii() && memmem::find(bytes, b"\x1b$").is_some()
}

/// Returns whether most accented letters and signs of a text are in runs of at least four such characters.
///
/// In languages with the Latin alphabet, at most two accented letters usually follow each other. Long runs mean that the
/// encoding is wrong: a damaged text was decoded with a single-byte encoding, which has a character for almost every byte.
fn has_only_accents(text: &str) -> bool {
    let runs = text.split(|c| !matches!(c, '\u{A0}'..='\u{17F}')).map(|run| run.chars().count());
    let (accents, in_runs) = runs
        .fold((0, 0), |(accents, in_runs), run| (accents + run, in_runs + if run >= 4 { run } else { 0 }));
    accents > 8 && 2 * in_runs > accents
}

/// Returns whether a text has C1 control characters. Such characters appear only in a text that was decoded with the wrong
/// encoding.
pub fn has_c1_control(text: &str) -> bool {
    text.contains(|c| matches!(c, '\u{80}'..='\u{9F}'))
}

/// Returns whether a text was decoded with an encoding for Chinese, Japanese or Korean although the text is more likely in
/// a single-byte encoding.
///
/// In Chinese, Japanese and Korean, wide characters usually follow each other. In the encodings of many other languages, a
/// degree sign or an accented letter is one byte. This byte and the next byte may decode as one wide character between
/// narrow characters, usually a rare character. The characters of `STAND_ALONE` are an exception: in Chinese, Japanese and
/// Korean, these characters often lie between narrow characters, because they follow the numbers in dates, amounts and
/// counts.
fn has_only_lone_symbols(text: &str) -> bool {
    const STAND_ALONE: &str =
        "年月日時时分秒元円天个個人名号號点點件回台本枚頁页章万億亿週周歳岁米年년월일원명개회";
    let is_wide = |c: char| c >= '\u{2E80}' && c != char::REPLACEMENT_CHARACTER;
    if text.contains(|c| STAND_ALONE.contains(c)) {
        return false;
    }
    let mut before = false;
    for c in text.chars() {
        let wide = is_wide(c);
        if wide && before {
            return false;
        }
        before = wide;
    }
    text.contains(is_wide)
}

fn decode_as(bytes: &[u8], encoding: &'static Encoding) -> Result<Decoded, DocumentError> {
    match encoding.decode_without_bom_handling_and_without_replacement(bytes) {
        Some(text) => {
            refuse_known_formats(text.as_bytes())?;
            Ok((text.into_owned(), (encoding != UTF_8).then(|| encoding.name())))
        }
        None => Err(DocumentError::Undecodable { encoding: encoding.name() }),
    }
}

/// Recognizes UTF-16 without a byte order mark and returns its byte order. In UTF-16, every second byte of ASCII text is
/// zero. This function requires only half as many zero bytes, because text in other encodings has no zero bytes.
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

/// Returns whether bytes are binary data. Binary data contains a zero byte, or more than one control character per 100
/// bytes. A few control characters are allowed, because some old logs and manuals contain them.
fn is_binary(bytes: &[u8]) -> bool {
    let control = |byte: &&u8| matches!(byte, 1..=0x08 | 0x0E..=0x19 | 0x1C..=0x1F);
    let controls = bytes.iter().filter(control).count();
    bytes.contains(&0) || controls > 1 && controls * 100 > bytes.len()
}

/// Returns whether bytes are UTF-8 with a few invalid or missing bytes. Without this check, the text would be decoded with a
/// single-byte encoding, which has a character for almost every byte. All non-ASCII characters would then be wrong.
fn is_damaged_utf8(bytes: &[u8]) -> bool {
    let (mut whole, mut broken) = (0, 0);
    for chunk in bytes.utf8_chunks() {
        whole += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        broken += usize::from(!chunk.invalid().is_empty());
    }
    // In a legacy encoding, few sequences of non-ASCII bytes are valid UTF-8.
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
                decode(bytes.to_vec(), None, None).unwrap(),
                (text.to_owned(), Some(encoding.name())),
                "{label}"
            );
            assert_eq!(decode(bytes.into_owned(), Some(encoding), None).unwrap().0, text);
        }
    }

    #[test]
    fn a_lone_symbol_is_no_chinese() {
        let both = |text: &str, encoding: &'static Encoding| {
            let bytes = encoding.encode(text).0.into_owned();
            let decoded = decode(bytes.clone(), None, None).unwrap();
            assert_eq!(decoded, (text.to_owned(), Some(encoding.name())));
            let (_, of_stream) = stream(Box::new(Cursor::new(bytes)), None).unwrap();
            assert_eq!(of_stream, Some(encoding.name()));
        };
        for text in ["Store at 25°C, 10 µm filter", "© 2024 Café Núñez"] {
            both(text, WINDOWS_1252);
        }
        for (text, encoding) in [
            ("Минск", "windows-1251"),
            ("Αθήνα", "windows-1253"),
            ("10° 20° 30° 40° 50° 60° 70° 80° 90°", "windows-1252"),
        ] {
            both(text, Encoding::for_label(encoding.as_bytes()).unwrap());
        }
        both("Invoice 2024年5月3日 Total 500元 (30天 net)", encoding_rs::GBK);
    }

    #[test]
    fn a_page_is_what_it_declares_where_it_can_be() {
        let declared = |page: &str| declared(page.as_bytes()).map(Encoding::name);
        assert_eq!(declared("<meta charset=\"GB2312\">"), Some("GBK"));
        assert_eq!(declared("<META http-equiv=x content='text/html; Charset=shift_jis'>"), Some("Shift_JIS"));
        assert_eq!(declared("<?xml version='1.0' encoding='EUC-JP'?>"), Some("EUC-JP"));
        assert_eq!(declared("<meta charset=nonsense>"), None);
        assert_eq!(declared("<meta charset=utf-16>"), None);
        assert_eq!(declared("<p>no charset"), None);
        let greek = Encoding::for_label(b"windows-1253").unwrap();
        let bytes = greek.encode("καλημέρα").0.into_owned();
        assert_eq!(decode(bytes, None, Some(greek)).unwrap().0, "καλημέρα");
        let said_wrong = decode("今天".into(), None, Some(greek)).unwrap();
        assert_eq!(said_wrong, ("今天".to_owned(), None));
    }

    #[test]
    fn a_stream_is_decoded_by_its_start() {
        let read = |bytes: Vec<u8>, forced| {
            let (mut reader, encoding) = stream(Box::new(std::io::Cursor::new(bytes)), forced).unwrap();
            let mut text = Vec::new();
            reader.read_to_end(&mut text).unwrap();
            (String::from_utf8(text).unwrap(), encoding)
        };
        let long = CHINESE.repeat(5000);
        let (gbk, ..) = encoding_rs::GBK.encode(&long);
        assert_eq!(read(gbk.to_vec(), None), (long.clone(), Some("GBK")));
        assert_eq!(read(gbk.into_owned(), Encoding::for_label(b"gb18030")).0, long);
        assert_eq!(read(long.clone().into_bytes(), None), (long.clone(), None));
        let utf16: Vec<u8> = format!("\u{FEFF}{long}").encode_utf16().flat_map(u16::to_le_bytes).collect();
        for forced in [None, Some(UTF_8)] {
            assert_eq!(read(utf16.clone(), forced), (long.clone(), Some("UTF-16LE")));
        }
        assert!(stream(Box::new(&b"%PDF-1.7"[..]), Some(UTF_8)).is_err());
    }

    #[test]
    fn utf_16_is_read_with_a_mark_and_without() {
        for (text, mark) in [("\u{FEFF}plain text", true), ("plain text", false), ("\u{FEFF}今天", true)] {
            let le: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let be: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
            let expected = text.trim_start_matches('\u{FEFF}').to_owned();
            assert_eq!(decode(le, None, None).unwrap(), (expected.clone(), Some("UTF-16LE")), "mark {mark}");
            assert_eq!(decode(be, None, None).unwrap(), (expected, Some("UTF-16BE")), "mark {mark}");
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        for bytes in [b"%PDF-1.7\nplain".to_vec(), b"PK\x03\x04word".to_vec(), png] {
            assert!(matches!(decode(bytes, None, None), Err(DocumentError::NotText { .. })));
        }
        let tar = b"x.txt\0\0ustar\0\0hello".to_vec();
        let cyrillic: Vec<u8> = RUSSIAN.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for bytes in [tar, cyrillic] {
            assert!(matches!(decode(bytes, None, None), Err(DocumentError::NotText { .. })));
        }
        let half = [CHINESE.as_bytes(), b"\xff"].concat();
        for damaged in [half.clone(), CHINESE.as_bytes()[..CHINESE.len() - 1].to_vec()] {
            let decoded = decode(damaged, None, None);
            assert!(matches!(decoded, Err(DocumentError::Undecodable { encoding: "UTF-8" })), "{decoded:?}");
        }
        assert!(matches!(
            decode(half, Some(UTF_8), None),
            Err(DocumentError::Undecodable { encoding: "UTF-8" })
        ));
        assert!(matches!(
            decode(b"\xff\xfea\0\0\xd8".to_vec(), None, None),
            Err(DocumentError::Undecodable { .. })
        ));
    }

    proptest! {
        #[test]
        fn utf_8_is_always_itself_and_nothing_is_ever_replaced(text in "\\PC*", bytes in any::<Vec<u8>>()) {
            prop_assert_eq!(decode(text.clone().into_bytes(), None, None).unwrap(), (text, None));
            if let Ok((text, encoding)) = decode(bytes.clone(), None, None) {
                // Only these encodings can encode the replacement character itself.
                let may = encoding.is_none_or(|name| name.starts_with("UTF-16") || name.starts_with("GB") || name == "gb18030");
                prop_assert!(may || !text.contains('\u{FFFD}'), "{:?}", encoding);
            }
        }
    }
}
