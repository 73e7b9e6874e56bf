//! Extracts the words of subtitles in the formats SubRip (`.srt`) and WebVTT (`.vtt`).

use crate::error::ContentError;
use crate::source::format::{DocumentFormat, damaged};
use crate::text::blocks::{BlockKind, BlockWriter, Structured};

/// A pause after which a paragraph starts, in milliseconds.
const PAUSE: u64 = 3000;

/// The longest time between two cues of rolling captions, in milliseconds.
const ROLLING: u64 = 100;

/// How many lines of the screen rolling captions move at most.
const ROLLING_LINES: usize = 4;

/// Returns the words of all cues. Cues follow each other in a paragraph until there is a pause or another speaker. Rolling
/// captions, which show each line in several cues, give each line once.
///
/// # Errors
/// The content has no cue.
pub fn subtitles(source: &str) -> Result<Structured, ContentError> {
    let mut words = CueWriter::default();
    let mut lines = source.lines().peekable();
    let mut cue: Option<Cue> = None;
    let mut is_skipped = false;
    let mut is_after_blank = true;
    let mut has_cues = false;
    while let Some(line) = lines.next() {
        let line = line.trim();
        if let Some((start, end)) = times(line) {
            words.add(cue.replace(Cue { start, end, lines: Vec::new() }));
            has_cues = true;
            is_skipped = false;
        } else if line.is_empty() {
            is_skipped = false;
        } else if is_after_blank && is_of_no_cue(line) {
            is_skipped = true;
        } else if !is_skipped && !is_number(line, is_after_blank, lines.peek()) {
            cue.iter_mut().for_each(|cue| cue.lines.push(line));
        }
        is_after_blank = line.is_empty();
    }
    words.add(cue);
    let is_empty =
        source.trim_start_matches('\u{FEFF}').trim_start().starts_with("WEBVTT") || source.trim().is_empty();
    if !has_cues && !is_empty {
        return Err(damaged(
            DocumentFormat::Subtitles,
            "it has no line with times, such as 00:00:01,000 --> 00:00:02,000",
        ));
    }
    Ok(words.text.finish())
}

/// Returns whether a line starts a block of WebVTT that is no cue.
fn is_of_no_cue(line: &str) -> bool {
    let first = line.trim_start_matches('\u{FEFF}').split_whitespace().next();
    matches!(first, Some("WEBVTT" | "NOTE" | "STYLE" | "REGION"))
}

/// Returns whether a line is the number or the name of the cue whose times are in the next line.
fn is_number(line: &str, is_after_blank: bool, next: Option<&&str>) -> bool {
    let is_digits = line.bytes().all(|byte| byte.is_ascii_digit());
    (is_after_blank || is_digits) && next.is_some_and(|next| times(next.trim()).is_some())
}

/// Returns the start and the end of a cue in milliseconds.
fn times(line: &str) -> Option<(u64, u64)> {
    let (start, end) = line.split_once("-->")?;
    Some((time(start.trim())?, time(end.split_whitespace().next()?)?))
}

/// Returns the milliseconds of a time such as `01:02:03,456` or `02:03.456`.
fn time(time: &str) -> Option<u64> {
    let (whole, fraction) = time.split_once([',', '.']).unwrap_or((time, "0"));
    let digits = |part: &str| part.parse::<u32>().ok().filter(|_| part.len() <= 6).map(u64::from);
    let mut seconds = 0;
    let mut parts = 0;
    for part in whole.split(':') {
        seconds = seconds * 60 + digits(part.trim())?;
        parts += 1;
    }
    (2..=3).contains(&parts).then_some(seconds * 1000 + digits(fraction)?)
}

/// What the screen shows between two times.
struct Cue<'a> {
    start: u64,
    end: u64,
    lines: Vec<&'a str>,
}

#[derive(Default)]
struct CueWriter {
    text: BlockWriter,
    /// The lines of the cue before, and its end.
    shown: Vec<String>,
    end: u64,
    speaker: String,
}

impl CueWriter {
    fn add(&mut self, cue: Option<Cue>) {
        let Some(Cue { start, end, lines }) = cue else { return };
        let mut speaker = String::new();
        let lines: Vec<String> =
            lines.iter().map(|line| plain(line, &mut speaker)).filter(|line| !line.is_empty()).collect();
        if lines.is_empty() {
            return;
        }
        let is_rolling = start <= self.end.saturating_add(ROLLING);
        let is_new_speaker = !speaker.is_empty() && speaker != self.speaker;
        if is_new_speaker || start > self.end.saturating_add(PAUSE) {
            self.text.begin(BlockKind::Paragraph, "");
        }
        if is_new_speaker {
            self.text.push_str(&format!("{speaker}: "));
            self.speaker = speaker;
        }
        let known = if is_rolling { repeated(&self.shown, &lines) } else { 0 };
        for (number, line) in lines.iter().enumerate().skip(known) {
            // A line that grows from cue to cue: only its new words.
            let before = self.shown.last().filter(|_| is_rolling && known == 0 && number == 0);
            let grown = before
                .and_then(|before| line.strip_prefix(before.as_str()))
                .filter(|more| more.starts_with(' '));
            self.text.push_str(grown.unwrap_or(line));
            self.text.push_str("\n");
        }
        (self.shown, self.end) = (lines, end);
    }
}

/// Returns how many lines at the start of a cue are the last lines of the cue before.
fn repeated(before: &[String], lines: &[String]) -> usize {
    let most = before.len().min(lines.len()).min(ROLLING_LINES);
    (1..=most).rev().find(|&count| before[before.len() - count..] == lines[..count]).unwrap_or(0)
}

/// Returns a line without tags, times and positions. Notes its speaker, if it names one (`<v Ann>`).
fn plain(line: &str, speaker: &mut String) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(['<', '{', '&']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = match rest.as_bytes()[0] {
            b'<' => tag(rest, speaker),
            b'{' if rest.starts_with("{\\") => rest.find('}').map(|end| end + 1),
            b'&' => ENTITIES.iter().find(|(name, _)| rest.starts_with(name)).map(|(name, character)| {
                text.push_str(character);
                name.len()
            }),
            _ => None,
        };
        if length.is_none() {
            text.push_str(&rest[..1]);
        }
        rest = &rest[length.unwrap_or(1)..];
    }
    text.push_str(rest);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The character references that WebVTT names.
const ENTITIES: [(&str, &str); 7] = [
    ("&amp;", "&"),
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&nbsp;", "\u{A0}"),
    ("&lrm;", ""),
    ("&rlm;", ""),
    ("&quot;", "\""),
];

/// Returns the length of the tag or the time at the start of a text. Notes the speaker that the tag names.
fn tag(text: &str, speaker: &mut String) -> Option<usize> {
    let end = text.find('>')?;
    let inner = text[1..end].trim_start_matches('/');
    let name = inner.split([' ', '.', '\t']).next()?;
    if name == "v" && speaker.is_empty() {
        *speaker = inner.split_once(' ').map(|(_, name)| name.trim().to_owned()).unwrap_or_default();
    }
    let is_time = time(inner).is_some();
    let is_tag = matches!(
        name.to_ascii_lowercase().as_str(),
        "b" | "i" | "u" | "s" | "c" | "v" | "lang" | "ruby" | "rt" | "font" | "br" | "em" | "strong" | "span"
    );
    (is_time || is_tag).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> String {
        subtitles(source).unwrap().clean().text().to_owned()
    }

    #[test]
    fn words_stay_and_numbers_times_and_tags_go() {
        let srt = "\u{FEFF}1\r\n00:00:01,000 --> 00:00:02,500\r\n<i>The birds</i>\r\n{\\an8}left at 5 < 6.\r\n\r\n2\r\n00:00:02,600 --> 00:00:04,000 X1:1\r\n2024\r\n\r\n3\r\n00:00:10,000 --> 00:00:12,000\r\nThey\r\n\r\ncame back.\r\n";
        assert_eq!(read(srt), "The birds left at 5 < 6. 2024 They came back.");
        let vtt = "WEBVTT - A title\nKind: captions\n\nNOTE private\nwords\n\nSTYLE\n::cue { color: red }\n\nintro\n00:01.000 --> 00:02.000 align:start\n<v Ann>Rock &amp; roll.</v>\n\n\
                   00:02.000 --> 00:03.000\n<v Ann>More.\n\n00:03.000 --> 00:04.000\n<v Bo><c.loud>Yes.</c>";
        assert_eq!(read(vtt), "Ann: Rock & roll. More. Bo: Yes.");
    }

    #[test]
    fn rolling_captions_are_told_once() {
        let rolling = "WEBVTT\n\n00:00.000 --> 00:02.000\n \none<00:00:01.000><c> two</c>\n\n00:02.000 --> 00:02.010\none two\n \n\n\
                       00:02.010 --> 00:04.000\none two\nthree\n\n00:04.000 --> 00:06.000\nthree\nthree four\n\n00:06.000 --> 00:07.000\nthree four five\n";
        assert_eq!(read(rolling), "one two three three four five");
        let said_twice = "1\n00:00:01,000 --> 00:00:02,000\nNo.\n\n2\n00:00:02,500 --> 00:00:03,000\nNo.\n";
        assert_eq!(read(said_twice), "No. No.");
    }

    #[test]
    fn what_has_no_cue_is_no_subtitle() {
        assert!(subtitles("A letter.").is_err());
        assert_eq!(read("WEBVTT\n"), "");
        assert_eq!(read(""), "");
    }
}
