//! Decodes texts with a declared or detected encoding. No other module uses encoding_rs, encoding_rs_io or chardetng.

mod charset;
mod code_page;
mod code_pages;
mod convert;
mod guess;
mod language;
mod letters;
mod repair;
mod seven_bit;
mod wide;

use std::io::{self, Cursor, Read};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::ISO_2022_JP;
use memchr::memmem;

pub use charset::Charset;
use guess::Guess;
use seven_bit::SevenBit;

use crate::error::DocumentError;

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

/// A decoded text.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    pub text: String,
    /// The encoding that the text was decoded from; `None` for UTF-8.
    pub encoding: Option<&'static str>,
    /// How many stray bytes were replaced or removed.
    pub repaired: usize,
}

/// Decodes a whole text. A byte order mark decides the encoding. Without a byte order mark, `forced` decides. Without both,
/// the first fitting encoding in this order is used: UTF-32, UTF-16, the 7-bit encodings, UTF-8, the `declared` encoding, or
/// the legacy encoding that the text most probably has.
///
/// A few stray bytes in a text in UTF-8, and a few zero bytes, are repaired. In every other encoding, invalid bytes are an error.
///
/// # Errors
/// The bytes are not text, are not valid in the encoding, or no encoding is probable enough.
pub fn decode(
    mut bytes: Vec<u8>,
    forced: Option<Charset>,
    declared: Option<Charset>,
) -> Result<Decoded, DocumentError> {
    refuse_known_formats(&bytes)?;
    let marked = Charset::for_bom(&bytes);
    bytes.drain(..marked.map_or(0, |(_, mark)| mark));
    let forced = marked.map(|(charset, _)| charset).or(forced);
    if let Some(charset) = forced.filter(|forced| forced.is_wide()).or_else(|| unmarked(&bytes, forced)) {
        return decode_as(&bytes, charset);
    }
    let (bytes, zeros) = repair::without_zeros(bytes);
    if is_binary(&bytes) {
        return Err(DocumentError::NotText { found: "binary data" });
    }
    let decoded = match forced {
        Some(charset) => without_c1_controls(decode_as(&bytes, charset)?, charset),
        None => detect_and_decode(bytes, declared),
    }?;
    Ok(Decoded { repaired: decoded.repaired + zeros, ..decoded })
}

/// Recognizes an encoding whose bytes would otherwise count as binary data or as ASCII.
fn unmarked(bytes: &[u8], forced: Option<Charset>) -> Option<Charset> {
    match forced {
        Some(forced) => Some(forced).filter(|forced| forced.is_seven_bit()),
        None => wide::without_mark(bytes).or_else(|| seven_bit(bytes)),
    }
}

fn detect_and_decode(bytes: Vec<u8>, declared: Option<Charset>) -> Result<Decoded, DocumentError> {
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => return Ok(Decoded { text, encoding: None, repaired: 0 }),
        Err(e) => e.into_bytes(),
    };
    let invalid = bytes.utf8_chunks().filter(|chunk| !chunk.invalid().is_empty()).count();
    if is_damaged_utf8(&bytes) || declared == Some(Charset::UTF_8) && invalid == 1 {
        return decode_as(&bytes, Charset::UTF_8);
    }
    // A page that declares UTF-8 and has several invalid bytes, and no valid ones but ASCII, is in another encoding.
    match declared.filter(|declared| *declared != Charset::UTF_8) {
        Some(charset) if !charset.is_supported() => {
            return Err(DocumentError::Undecodable { encoding: charset.name() });
        }
        Some(charset) => {
            let decoded =
                decode_as(&bytes, charset).and_then(|decoded| without_c1_controls(decoded, charset));
            // Some programs declare ISO-8859-1 whatever the encoding is.
            if decoded.is_ok() && (guess::fits(&bytes, charset) || guess(&bytes, true).is_err()) {
                return decoded;
            }
        }
        None => {}
    }
    let charset = guess(&bytes, true)?;
    without_c1_controls(decode_as(&bytes, charset)?, charset)
}

/// Decodes a file of rows while the file is read. Detects the encoding from the start of the file. Returns the decoded
/// stream and the encoding. The encoding is `None` for UTF-8.
///
/// In UTF-8, invalid bytes are passed on unchanged. In every other encoding, invalid bytes become U+FFFD. The reader of rows
/// checks for both cases, so that only the row with the invalid bytes fails and not the whole file.
///
/// # Errors
/// The content is not text, no encoding is probable enough, or the stream cannot be read.
pub fn stream(
    reader: Box<dyn Read + Send>,
    forced: Option<Charset>,
) -> Result<(Box<dyn Read + Send>, Option<&'static str>), DocumentError> {
    let (start, mut reader) = peek(reader)?;
    refuse_known_formats(&start)?;
    let (charset, mark) = match Charset::for_bom(&start) {
        Some(marked) => marked,
        None => (forced.map_or_else(|| encoding_of_start(&start), Ok)?, 0),
    };
    skip(&mut reader, mark)?;
    if charset == Charset::UTF_8 {
        return Ok((reader, None));
    }
    Ok((charset.reader(reader), Some(charset.name())))
}

/// Decodes a stream of JSON Lines while the stream is read. If the stream starts with a byte order mark, the mark
/// decides the encoding. Otherwise the encoding is UTF-8.
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
    let has_mark = Charset::for_bom(&start).is_some();
    if !has_mark && !matches!(start.trim_ascii_start().first(), Some(b'{' | b'[')) && start.contains(&0) {
        refuse_known_formats(&start)?;
        return Err(DocumentError::NotText { found: "binary data" });
    }
    stream(reader, Some(Charset::UTF_8))
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

fn encoding_of_start(start: &[u8]) -> Result<Charset, DocumentError> {
    if let Some(charset) = unmarked(start, None) {
        return Ok(charset);
    }
    if is_binary(start) {
        return Err(DocumentError::NotText { found: "binary data" });
    }
    // The start may end in the middle of a character.
    let is_utf8 = std::str::from_utf8(start).map_or_else(|e| e.error_len().is_none(), |_| true);
    if is_utf8 || is_damaged_utf8(start) {
        return Ok(Charset::UTF_8);
    }
    guess(start, (start.len() as u64) < START_BYTES)
}

/// Returns the encoding that an HTML page or an XML declaration declares. Like browsers, this function searches only the
/// first 1,024 bytes (<https://html.spec.whatwg.org/#prescan-a-byte-stream-to-determine-its-encoding>).
pub fn declared(bytes: &[u8]) -> Option<Charset> {
    let start = bytes[..bytes.len().min(1024)].to_ascii_lowercase();
    ["charset=", "encoding="].iter().find_map(|name| {
        let behind = &start[memmem::find(&start, name.as_bytes())? + name.len()..];
        let behind = behind.strip_prefix(b"\"").or(behind.strip_prefix(b"'")).unwrap_or(behind);
        let label = behind.split(|byte| !byte.is_ascii_alphanumeric() && !b"-_:".contains(byte)).next()?;
        // If the declaration can be read as ASCII, the page is not in UTF-16 or UTF-32.
        Charset::for_label(label).filter(|found| !found.is_wide())
    })
}

fn refuse_known_formats(start: &[u8]) -> Result<(), DocumentError> {
    match known_format(start) {
        Some(found) => Err(DocumentError::NotText { found }),
        None => Ok(()),
    }
}

/// Compares the first bytes of a file with the known binary formats. Returns the name of the format that matches.
pub fn known_format(start: &[u8]) -> Option<&'static str> {
    NOT_TEXT.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, name)| *name)
}

/// If a text has more than this many non-ASCII bytes, the encoding of the text is certain, even if the final character of
/// the text is cut off.
const SURE_BYTES: usize = 64;

/// Returns the legacy encoding that a text most probably has. `is_whole` says whether the bytes are a whole file.
///
/// The final character of the bytes may be cut off. If the bytes are only the start of a file, a cut-off character says
/// nothing about the encoding. If the bytes are a whole file, a cut-off character means that the encoding is wrong. But if a
/// whole file has more than [`SURE_BYTES`] non-ASCII bytes, the file is more likely damaged.
fn guess(bytes: &[u8], is_whole: bool) -> Result<Charset, DocumentError> {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(bytes, false);
    let mut guess = detector.guess(None, Utf8Detection::Deny);
    let is_sure = || bytes.iter().filter(|byte| !byte.is_ascii()).count() > SURE_BYTES;
    if is_whole && !guess.is_single_byte() && !is_sure() {
        detector.feed(b"", true);
        guess = detector.guess(None, Utf8Detection::Deny);
    }
    if !guess.is_single_byte() && !has_only_lone_symbols(&guess.decode_without_bom_handling(bytes).0) {
        return Ok(Charset::standard(guess));
    }
    match guess::single_byte(bytes) {
        Guess::Found(charset) => Ok(charset),
        // The detector is made for the encodings of the web, and is asked which of two of them is right.
        Guess::Ambiguous(first, second)
            if second.is_of_the_web() && Charset::standard(guess).decode(bytes) == first.decode(bytes) =>
        {
            Ok(first)
        }
        Guess::Ambiguous(first, second) => {
            Err(DocumentError::AmbiguousEncoding { first: first.name(), second: second.name() })
        }
        Guess::Unknown => Err(DocumentError::UnknownEncoding),
    }
}

/// Recognizes the 7-bit encodings of Chinese, Japanese and Korean. Without this check, such a text would be decoded as UTF-8.
fn seven_bit(bytes: &[u8]) -> Option<Charset> {
    if !bytes.is_ascii() {
        return None;
    }
    if let Some(at) = memmem::find(bytes, b"\x1b$") {
        return Some(match &bytes[at + 2..] {
            [b')', b'C', ..] => Charset::seven_bit(SevenBit::Iso2022Kr),
            [b')' | b'*', ..] => Charset::seven_bit(SevenBit::Iso2022Cn),
            _ => Charset::standard(ISO_2022_JP),
        });
    }
    // `~{` may stand in ASCII texts too, but what follows is then not Chinese.
    let hz = Charset::seven_bit(SevenBit::Hz);
    let is_hz = memmem::find(bytes, b"~{").is_some() && memmem::find(bytes, b"~}").is_some();
    (is_hz && hz.decode(bytes).is_some()).then_some(hz)
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

fn decode_as(bytes: &[u8], charset: Charset) -> Result<Decoded, DocumentError> {
    let is_utf_8 = charset == Charset::UTF_8;
    let decoded = if is_utf_8 { repair::utf_8(bytes) } else { charset.decode(bytes).map(|text| (text, 0)) };
    let (text, repaired) = decoded.ok_or(DocumentError::Undecodable { encoding: charset.name() })?;
    refuse_known_formats(text.as_bytes())?;
    Ok(Decoded { text, encoding: (!is_utf_8).then(|| charset.name()), repaired })
}

/// Refuses a text with C1 controls. No ordinary text contains them, so its encoding is wrong. Without this check, cleaning
/// would silently remove them.
fn without_c1_controls(decoded: Decoded, charset: Charset) -> Result<Decoded, DocumentError> {
    if !charset.is_unicode() && has_c1_control(&decoded.text) {
        return Err(DocumentError::Undecodable { encoding: charset.name() });
    }
    Ok(decoded)
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
    use encoding_rs::Encoding;
    use proptest::prelude::*;

    const CHINESE: &str = "员工因公出差产生的交通费、住宿费和伙食补助，凭发票在十五个工作日内报销。";
    const TRADITIONAL: &str = "員工因公出差產生的交通費、住宿費和伙食補助，憑發票在十五個工作日內報銷。";
    const JAPANESE: &str =
        "図書館は月曜日を除いて毎日午前九時から午後八時まで開いています。貸し出しは一人十冊までです。";
    const KOREAN: &str = "도서관은 월요일을 제외하고 매일 오전 아홉 시부터 오후 여덟 시까지 문을 엽니다.";
    const SPANISH: &str =
        "El pingüino comió piñones: ¿cuántos? Mañana lo sabrá el señor Núñez, según él mismo.";
    const RUSSIAN: &str = "Библиотека открыта ежедневно, кроме понедельника, с девяти утра до восьми вечера.";

    type Plain = (String, Option<&'static str>);

    fn plain(bytes: Vec<u8>, forced: Option<Charset>, declared: Option<Charset>) -> Plain {
        let Decoded { text, encoding, repaired } = decode(bytes, forced, declared).unwrap();
        assert_eq!(repaired, 0);
        (text, encoding)
    }

    fn charset(label: &str) -> Charset {
        Charset::for_label(label.as_bytes()).unwrap()
    }

    /// Writes a text in an encoding of one byte per character.
    fn single_bytes(text: &str, label: &str) -> Vec<u8> {
        let upper: Vec<Option<String>> = (0..=255).map(|byte| charset(label).decode(&[byte])).collect();
        let byte = |c: char| upper.iter().position(|one| one.as_deref() == Some(&*c.to_string()));
        text.chars()
            .map(|c| u8::try_from(byte(c).unwrap_or_else(|| panic!("{c} in {label}"))).unwrap())
            .collect()
    }

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
            let expected = (text.to_owned(), Some(encoding.name()));
            assert_eq!(plain(bytes.to_vec(), None, None), expected, "{label}");
            assert_eq!(plain(bytes.into_owned(), Some(charset(label)), None).0, text);
        }
    }

    #[test]
    fn single_byte_encodings_are_told_apart_by_their_letters() {
        let hungarian =
            "A hírek szerint egy nagy cég vezetője nyilatkozott. Az idő jó volt, a tőzsde erősödött.";
        let croatian =
            "Hrvatski jezik skupni je naziv, a čine ga tri narječja: čakavsko, štokavsko i kajkavsko.";
        let polish = "Książka leży na półce, a źródło światła gaśnie. Zażółć gęślą jaźń, proszę.";
        let ukrainian =
            "Бібліотека відчинена щодня, крім понеділка; її читачі беруть не більше десяти книжок.";
        let greek = "Η βιβλιοθήκη είναι ανοιχτή κάθε ημέρα εκτός από τη Δευτέρα.";
        let german = "Größere Bücher müssen spätestens nächsten Mittwoch zurückgegeben werden, Übrigens: schönes Wetter.";
        for (text, labels) in [
            (hungarian, &["windows-1250", "ISO-8859-2", "IBM852", "x-mac-ce"][..]),
            (croatian, &["windows-1250", "ISO-8859-2", "IBM852", "x-mac-ce"]),
            (polish, &["windows-1250", "ISO-8859-2", "IBM852", "x-mac-ce"]),
            (RUSSIAN, &["windows-1251", "KOI8-R", "ISO-8859-5", "IBM866", "IBM855", "x-mac-cyrillic"]),
            (ukrainian, &["windows-1251", "KOI8-U", "ISO-8859-5", "x-mac-cyrillic"]),
            (greek, &["windows-1253", "ISO-8859-7", "IBM737"]),
            (german, &["windows-1252", "IBM850", "macintosh"]),
        ] {
            for label in labels {
                assert_eq!(plain(single_bytes(text, label), None, None).0, text, "{label}");
            }
        }
    }

    #[test]
    fn what_no_language_is_written_with_is_refused() {
        let is_unclear = |bytes: Vec<u8>| {
            let error = decode(bytes, None, None).unwrap_err();
            assert!(
                matches!(error, DocumentError::UnknownEncoding | DocumentError::AmbiguousEncoding { .. }),
                "{error:?}"
            );
        };
        // Every letter of the upper half, in the order of a random permutation.
        is_unclear((0..250).map(|n| [0x80 | (n * 37 % 128) as u8, b' '][usize::from(n % 7 == 6)]).collect());
        // French in IBM850 and on a Macintosh: `prés` or `pr t`.
        is_unclear(b"pr\x82t".to_vec());
    }

    #[test]
    fn a_lone_symbol_is_no_chinese() {
        let both = |text: &str, encoding: &'static Encoding| {
            let bytes = encoding.encode(text).0.into_owned();
            assert_eq!(plain(bytes.clone(), None, None), (text.to_owned(), Some(encoding.name())));
            let (_, of_stream) = stream(Box::new(Cursor::new(bytes)), None).unwrap();
            assert_eq!(of_stream, Some(encoding.name()));
        };
        for text in ["Store at 25°C, 10 µm filter", "© 2024 Café Núñez"] {
            both(text, encoding_rs::WINDOWS_1252);
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
        let declared = |page: &str| declared(page.as_bytes()).map(Charset::name);
        assert_eq!(declared("<meta charset=\"GB2312\">"), Some("GBK"));
        assert_eq!(declared("<META http-equiv=x content='text/html; Charset=shift_jis'>"), Some("Shift_JIS"));
        assert_eq!(declared("<?xml version='1.0' encoding='EUC-JP'?>"), Some("EUC-JP"));
        assert_eq!(declared("<?xml version='1.0' encoding='IBM855'?>"), Some("IBM855"));
        assert_eq!(declared("<meta charset=cp437>"), Some("IBM437"));
        assert_eq!(declared("<meta charset=johab>"), Some("Johab"));
        assert_eq!(declared("<meta charset=nonsense>"), None);
        assert_eq!(declared("<meta charset=utf-16>"), None);
        assert_eq!(declared("<p>no charset"), None);
        let greek = charset("windows-1253");
        assert_eq!(plain(single_bytes("καλημέρα", "windows-1253"), None, Some(greek)).0, "καλημέρα");
        assert_eq!(plain("今天".into(), None, Some(greek)), ("今天".to_owned(), None));
        let johab = decode(b"caf\xe9".to_vec(), None, Some(charset("johab")));
        assert!(matches!(johab, Err(DocumentError::Undecodable { encoding: "Johab" })), "{johab:?}");
    }

    fn read(bytes: Vec<u8>, forced: Option<Charset>) -> Plain {
        let (mut reader, encoding) = stream(Box::new(Cursor::new(bytes)), forced).unwrap();
        let mut text = Vec::new();
        reader.read_to_end(&mut text).unwrap();
        (String::from_utf8(text).unwrap(), encoding)
    }

    #[test]
    fn a_stream_is_decoded_by_its_start() {
        let long = CHINESE.repeat(5000);
        let (gbk, ..) = encoding_rs::GBK.encode(&long);
        assert_eq!(read(gbk.to_vec(), None), (long.clone(), Some("GBK")));
        assert_eq!(read(gbk.into_owned(), Some(charset("gb18030"))).0, long);
        assert_eq!(read(long.clone().into_bytes(), None), (long.clone(), None));
        let utf16: Vec<u8> = format!("\u{FEFF}{long}").encode_utf16().flat_map(u16::to_le_bytes).collect();
        let utf32: Vec<u8> =
            format!("\u{FEFF}{long}").chars().flat_map(|c| u32::from(c).to_be_bytes()).collect();
        for forced in [None, Some(Charset::UTF_8)] {
            assert_eq!(read(utf16.clone(), forced), (long.clone(), Some("UTF-16LE")));
            assert_eq!(read(utf32.clone(), forced), (long.clone(), Some("UTF-32BE")));
        }
        assert!(stream(Box::new(&b"%PDF-1.7"[..]), Some(Charset::UTF_8)).is_err());
    }

    #[test]
    fn a_stream_and_a_whole_text_are_decoded_alike() {
        let korean = b"\x1b$)C\x0eGQ19>n\x0f \x0e9.@e@T4O4Y\x0f.\n".repeat(5000);
        let hz = b"~{VPNDJi2?~} is Chinese. ~~\n".repeat(5000);
        let chinese = b"\x1b$)A\x0eVPND\x0f.\n".repeat(20_000);
        let cyrillic = single_bytes(RUSSIAN, "IBM855").repeat(2000);
        for (bytes, label, start) in [
            (korean, "ISO-2022-KR", "한국어 는"),
            (hz, "HZ-GB-2312", "中文书部 is Chinese. ~"),
            (chinese, "ISO-2022-CN", "中文.\n"),
            (cyrillic, "IBM855", RUSSIAN),
        ] {
            let (text, encoding) = plain(bytes.clone(), None, None);
            assert_eq!(encoding, Some(label));
            assert_eq!(text.chars().take(4).collect::<String>(), start.chars().take(4).collect::<String>());
            assert_eq!(read(bytes.clone(), None), (text.clone(), encoding), "{label}");
            assert_eq!(read(bytes, Some(charset(label))), (text, encoding), "{label}");
        }
    }

    #[test]
    fn unicode_is_read_with_a_mark_and_without() {
        let texts = [
            ("\u{FEFF}plain text", true),
            ("plain text", false),
            ("\u{FEFF}今天", true),
            (CHINESE, false),
            (JAPANESE, false),
            (KOREAN, false),
            (RUSSIAN, false),
        ];
        for (text, mark) in texts {
            let expected = text.trim_start_matches('\u{FEFF}');
            let utf_16 = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect();
            let utf_32 = |bytes: fn(u32) -> [u8; 4]| text.chars().map(u32::from).flat_map(bytes).collect();
            for (bytes, name) in [
                (utf_16(u16::to_le_bytes), "UTF-16LE"),
                (utf_16(u16::to_be_bytes), "UTF-16BE"),
                (utf_32(u32::to_le_bytes), "UTF-32LE"),
                (utf_32(u32::to_be_bytes), "UTF-32BE"),
            ] {
                assert_eq!(plain(bytes, None, None), (expected.to_owned(), Some(name)), "mark {mark}");
            }
        }
    }

    #[test]
    fn a_stray_byte_costs_itself() {
        let long = "Größe. ".repeat(400);
        for (bytes, text, repaired) in [
            (b"Gr\xc3\xb6\xc3\x9fe, caf\xe9".to_vec(), "Größe, café".to_owned(), 1),
            ([CHINESE.as_bytes(), b"\xff"].concat(), format!("{CHINESE}\u{FFFD}"), 1),
            (
                CHINESE.as_bytes()[..CHINESE.len() - 1].to_vec(),
                format!("{}\u{FFFD}", &CHINESE[..CHINESE.len() - 3]),
                1,
            ),
            (
                [&long.as_bytes()[..long.len() - 1], b"\xff \xfe "].concat(),
                format!("{}\u{FFFD} \u{FFFD} ", &long[..long.len() - 1]),
                2,
            ),
            (b"before\0 after".to_vec(), "before after".to_owned(), 1),
        ] {
            let decoded = Decoded { text, encoding: None, repaired };
            assert_eq!(decode(bytes.clone(), None, None).unwrap(), decoded);
            assert_eq!(decode(bytes.clone(), Some(Charset::UTF_8), None).unwrap(), decoded);
            assert_eq!(decode([b"\xef\xbb\xbf", &*bytes].concat(), None, None).unwrap(), decoded);
        }
        let page = decode(b"<p>caf\xe9".to_vec(), None, Some(Charset::UTF_8)).unwrap();
        assert_eq!((&*page.text, page.encoding, page.repaired), ("<p>café", None, 1));
        // Two are another encoding, or damage.
        let page = decode(b"<p>caf\xe9 tr\xe8s".to_vec(), None, Some(Charset::UTF_8)).unwrap();
        assert_eq!((&*page.text, page.encoding, page.repaired), ("<p>café très", Some("windows-1252"), 0));
        let twice = [CHINESE.as_bytes(), b"\xff \xff"].concat();
        assert!(matches!(decode(twice, None, None), Err(DocumentError::Undecodable { encoding: "UTF-8" })));
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        for bytes in [b"%PDF-1.7\nplain".to_vec(), b"PK\x03\x04word".to_vec(), png] {
            assert!(matches!(decode(bytes, None, None), Err(DocumentError::NotText { .. })));
        }
        let tar = b"x.txt\0\0ustar\0\0hello".to_vec();
        let numbers = (1..2000_u32).flat_map(u32::to_le_bytes).collect();
        let shorts = (1..2000_u16).flat_map(u16::to_le_bytes).collect();
        for bytes in [tar, numbers, shorts] {
            let decoded = decode(bytes, None, None);
            assert!(matches!(decoded, Err(DocumentError::NotText { .. })), "{decoded:?}");
        }
        for bytes in [b"\xff\xfea\0\0\xd8".to_vec(), b"\xff\xfe\0\0a\0\0".to_vec()] {
            assert!(matches!(decode(bytes, None, None), Err(DocumentError::Undecodable { .. })));
        }
    }

    proptest! {
        #[test]
        fn utf_8_is_always_itself_and_nothing_is_replaced_unsaid(text in "\\PC*", bytes in any::<Vec<u8>>()) {
            prop_assert_eq!(plain(text.clone().into_bytes(), None, None), (text, None));
            if let Ok(Decoded { text, encoding, repaired }) = decode(bytes.clone(), None, None) {
                // Only these encodings can encode the replacement character itself.
                let may = repaired > 0 || encoding.is_none_or(|name| name.starts_with("UTF-") || name.starts_with("GB") || name == "gb18030");
                prop_assert!(may || !text.contains('\u{FFFD}'), "{:?}", encoding);
            }
        }
    }
}
