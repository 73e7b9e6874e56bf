//! Scanned pages and pictures, read by tesseract and by scripts that misbehave.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde::Deserialize;
use serde_json::json;

use crate::make::{pdf_objects, pdf_page};
use crate::util::{Playground, Ran, ids_and_texts, json_lines, metadata, repository, skip};

/// A page in one bit per pixel that shows a picture of 8 by 8 pixels.
const PICTURE: &str =
    "q 50 0 0 50 9 9 cm BI /W 8 /H 8 /CS /G /BPC 1 ID \u{1}\u{2}\u{3}\u{4}\u{5}\u{6}\u{7}\u{8} EI Q";

/// A script that says how wide the picture is, in two bytes, and notes that it has run.
const WIDTH: &str = "echo run >> \"$NOTES\"; head -c 20 | tail -c 2 | od -An -tu1";

/// A folder with a script `ocr`, and a cache of its own.
struct Scanner(Playground);

impl Scanner {
    fn new(script: &str) -> Self {
        let scanner = Scanner(Playground::new());
        scanner.script(script);
        scanner
    }

    fn script(&self, script: &str) {
        self.0.write("ocr", format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(self.0.path("ocr"), Permissions::from_mode(0o755)).unwrap();
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = self.0.command(&[&["build", "docs", "-o", "out.parquet"], more].concat());
        command.env("XDG_CACHE_HOME", self.0.path("cache")).env("NOTES", self.0.path("notes"));
        command
    }

    /// Builds an index anew.
    fn run(&self, more: &[&str]) -> Ran {
        let _ = fs::remove_file(self.0.path("out.parquet"));
        self.0.output(&mut self.command(more), "")
    }

    fn texts(&self) -> Vec<(String, String)> {
        ids_and_texts(&self.0.path("out.parquet"))
    }

    /// Returns how many pictures the script has read.
    fn runs(&self) -> usize {
        fs::read_to_string(self.0.path("notes")).unwrap_or_default().lines().count()
    }
}

/// Returns a PDF with a page for each width and content stream.
fn pages(pages: &[(u32, &str)]) -> Vec<u8> {
    let kids: String = (0..pages.len()).map(|at| format!("{} 0 R ", 4 + 2 * at)).collect();
    let mut objects = vec![
        "<</Type/Catalog/Pages 2 0 R>>".to_owned(),
        format!("<</Type/Pages/Kids[{kids}]/Count {}>>", pages.len()),
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>".to_owned(),
    ];
    for (at, (width, content)) in pages.iter().enumerate() {
        objects.push(format!(
            "<</Type/Page/Parent 2 0 R/MediaBox[0 0 {width} 72]/Contents {} 0 R/Resources<</Font<</F 3 0 R>>>>>>",
            5 + 2 * at
        ));
        objects.push(format!("<</Length {}>>stream\n{content}\nendstream", content.len()));
    }
    pdf_objects(&objects.iter().map(String::as_str).collect::<Vec<_>>(), "")
}

/// Returns a file that begins like a PNG.
fn picture(rest: &str) -> Vec<u8> {
    [b"\x89PNG\r\n\x1a\n", rest.as_bytes()].concat()
}

#[derive(Deserialize)]
struct Expected {
    id: String,
    text: String,
}

/// Returns which part of the characters of `expected` are in `text` in the same order.
fn likeness(expected: &str, text: &str) -> f64 {
    let visible = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<Vec<_>>();
    let (expected, text) = (visible(expected), visible(text));
    let mut longest = vec![0; text.len() + 1];
    for wanted in &expected {
        let mut diagonal = 0;
        for (at, found) in text.iter().enumerate() {
            let above = longest[at + 1];
            longest[at + 1] = if wanted == found { diagonal + 1 } else { above.max(longest[at]) };
            diagonal = above;
        }
    }
    longest[text.len()] as f64 / expected.len().max(text.len()) as f64
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn scans_in_two_languages_are_read_with_tesseract_and_only_once() {
    let listed = Command::new("tesseract").arg("--list-langs").output();
    let has_chinese = listed.is_ok_and(|listed| String::from_utf8_lossy(&listed.stdout).contains("chi_sim"));
    if !has_chinese {
        return skip(
            "there is no tesseract with chi_sim (apt-get install tesseract-ocr tesseract-ocr-chi-sim)",
        );
    }
    let scanner = Scanner::new("echo run >> \"$NOTES\"; exec tesseract - - -l \"$1\"");
    for name in ["notice.png", "设备归还.pdf"] {
        scanner.0.write(&format!("docs/{name}"), fs::read(repository("fixtures/scans").join(name)).unwrap());
    }
    let night = |languages: &str, code: i32| {
        let command = format!("./ocr {languages}");
        let mut night = scanner.command(&["--ocr", &command]);
        scanner.0.output(&mut night, "").expect(code)
    };
    night("chi_sim+eng", 0).says("2 documents: 2 embedded");
    let expected: Vec<Expected> = json_lines("fixtures/scans/expected.jsonl");
    for ((id, text), expected) in scanner.texts().into_iter().zip(expected) {
        assert_eq!(id, expected.id);
        assert!(likeness(&expected.text, &text) > 0.95, "{id}: {text}");
    }
    assert_eq!(scanner.runs(), 2);
    night("chi_sim+eng", 0).says("2 documents: 0 embedded, 2 reused");
    assert_eq!(scanner.runs(), 2);
    // Another language is another command. English in both languages is the same text.
    night("eng", 0).says("2 documents: 1 embedded, 1 reused");
    assert_eq!(scanner.runs(), 4);
    // Tesseract would take the second file for a list of pictures.
    scanner.0.write("docs/cut.png", &fs::read(repository("fixtures/scans/notice.png")).unwrap()[..1500]);
    scanner.0.write("docs/list.png", "docs/notice.png\n");
    let failed = night("eng", 3);
    failed.says("failed: docs/cut.png: `./ocr` failed with exit code 1: ");
    failed
        .says("failed: docs/list.png: not a picture but an unknown format; give it the right file extension");
    scanner.0.write("docs/other.png", fs::read(repository("fixtures/scans/notice.png")).unwrap());
    night("no_such_language", 3).says("page 1: `./ocr` failed with exit code 1: Error opening data file");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn the_text_of_a_scanned_page_takes_its_place() {
    let scanner = Scanner::new(WIDTH);
    let text = |text: &str| format!("BT /F 10 Tf 9 9 Td ({text}) Tj ET");
    let (first, third) = (text("first"), text("third"));
    let mixed = pages(&[(72, &first), (72, PICTURE), (72, &third), (144, PICTURE), (72, "")]);
    scanner.0.write("docs/mixed.pdf", mixed);
    // Outlines of letters, and glyphs without known characters.
    let outlined = "9 9 m 20 20 l 40 9 l f";
    scanner.0.write("docs/outlined.pdf", pages(&[(576, outlined)]));
    let font = "<</Type/Font/Subtype/Type0/BaseFont/X/Encoding/Identity-H/DescendantFonts[<</Type/Font/Subtype/CIDFontType2/BaseFont/X/CIDSystemInfo<</Registry(A)/Ordering(B)/Supplement 0>>>>]>>";
    let unknown = String::from_utf8(pages(&[(288, "BT /F 10 Tf 9 9 Td <00410042> Tj ET")])).unwrap();
    let unknown = unknown.replace("<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>", font);
    scanner.0.write("docs/unknown.pdf", unknown);
    scanner.run(&["--ocr", "./ocr"]).expect(0);
    let expected =
        [("mixed.pdf", "first 1 44 third 2 88"), ("outlined.pdf", "9 96"), ("unknown.pdf", "4 176")];
    assert_eq!(scanner.texts(), expected.map(|(id, text)| (id.to_owned(), text.to_owned())));
    assert_eq!(scanner.runs(), 4);
    // Without a command, half of the pages decide.
    let without = scanner.run(&[]).expect(3);
    without.says(
        "docs/outlined.pdf: most of its pages are pictures without text, such as scans; read it with --ocr",
    );
    without.says("; skipped: 2 pages without text");
    assert_eq!(scanner.texts(), [("mixed.pdf".to_owned(), "first third".to_owned())]);
}

/// A scanner prints a page number, and a phone prints the name of a program.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_scan_with_a_stamp_is_a_scan() {
    let scanner = Scanner::new(WIDTH);
    let full = PICTURE.replace("50 0 0 50 9 9 cm", "72 0 0 72 0 0 cm");
    let stamped = |text: &str| format!("{full} BT /F 1 Tf 9 9 Td ({text}) Tj ET");
    let (stamp, layer) = (stamped("Scanned on 14 March"), stamped(&"a word ".repeat(13)));
    let pictures = format!("{PICTURE} BT /F 1 Tf 9 9 Td (A letter with a logo) Tj ET");
    for (name, page) in [("a.pdf", &stamp), ("b.pdf", &layer), ("c.pdf", &pictures)] {
        scanner.0.write(&format!("docs/{name}"), pages(&[(72, page)]));
    }
    scanner.run(&["--ocr", "./ocr"]).expect(0);
    let texts: Vec<String> = scanner.texts().into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["1 44", "a word ".repeat(13).trim(), "A letter with a logo"]);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn pictures_that_are_attached_to_a_mail_are_documents() {
    let scanner = Scanner::new("tail -n +3");
    let part = |header: &str, text: &str| {
        let content = picture(text).iter().map(|byte| format!("={byte:02X}")).collect::<String>();
        format!(
            "--b\nContent-Type: image/png\nContent-Transfer-Encoding: quoted-printable\n{header}\n\n{content}\n"
        )
    };
    let mail = [
        "From: Ada <ada@petrel.example>\nSubject: Scan\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nSee below.\n",
        &part("Content-Disposition: attachment; filename=scan.png", "scanned"),
        &part("Content-Disposition: attachment", "without a name"),
        &part("Content-Disposition: inline; filename=logo.png\nContent-ID: <logo>", "logo"),
        "--b--\n",
    ];
    scanner.0.write("docs/a.eml", mail.concat());
    scanner.run(&["--ocr", "./ocr"]).expect(0);
    let expected = [
        ("a.eml", "# Scan See below."),
        ("a.eml/scan.png", "scanned"),
        ("a.eml/attachment 2.png", "without a name"),
    ];
    assert_eq!(scanner.texts(), expected.map(|(id, text)| (id.to_owned(), text.to_owned())));
    scanner.run(&[]).expect(0);
    assert_eq!(scanner.texts().len(), 1);
}

/// A night that forgets the option would lose all scans.
#[test]
#[ignore = "needs what scripts/test installs"]
fn an_index_with_scans_needs_the_option_again() {
    let scanner = Scanner::new("tail -n +3");
    scanner.0.write("docs/a.png", picture("a"));
    scanner.0.write("docs/a.txt", "a text");
    let night = |more: &[&str]| scanner.0.output(&mut scanner.command(more), "");
    let scans = || metadata(&scanner.0.path("out.parquet"))["fingerprint"]["scans"].clone();
    night(&[]).expect(0);
    assert_eq!(scans(), json!(null));
    night(&["--ocr", "./ocr"]).expect(0).says("2 documents: 1 embedded, 1 reused");
    assert_eq!(scans(), json!(true));
    night(&["--ocr", "./ocr --other"]).expect(0).says("2 documents: 0 embedded, 2 reused");
    night(&[]).expect(1).says("was made with other settings, which no argument of this run changes: whether scans and pictures are read; repeat");
    night(&["--rebuild"]).expect(0).says("1 document: 1 embedded");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_filled_form_over_a_scan_keeps_both() {
    let scanner = Scanner::new(WIDTH);
    let form = String::from_utf8(pages(&[(72, PICTURE)])).unwrap();
    let field = "/Annots[<</Type/Annot/Subtype/Widget/Rect[9 9 60 30]/FT/Tx/V(filled)>>]/Contents";
    scanner.0.write("docs/form.pdf", form.replace("/Contents", field));
    scanner.run(&["--ocr", "./ocr"]).expect(0);
    assert_eq!(scanner.texts(), [("form.pdf".to_owned(), "1 44 filled".to_owned())]);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn picture_files_are_documents_only_with_a_command() {
    let scanner = Scanner::new("tail -n +3; printf '\\f'; echo \"$OMP_THREAD_LIMIT\"");
    for name in ["a.png", "b.JPG", "c.jpeg", "d.tif", "e.tiff", "f.webp", "g.bmp"] {
        scanner.0.write(&format!("docs/{name}"), picture(&format!("a line of\n{name}")));
    }
    scanner.0.write("docs/text.txt", "text");
    scanner.run(&[]).expect(0).says("skipped: 7 of other formats");
    assert_eq!(scanner.texts().len(), 1);
    scanner.run(&["--ocr", "./ocr", "--keep", "title"]).expect(0).says("8 documents: 8 embedded");
    assert_eq!(scanner.texts()[1], ("b.JPG".to_owned(), "a line of b.JPG 1".to_owned()));
    // Larger than a document may be.
    scanner.0.write("docs/h.png", picture(&"x".repeat(1 << 20)));
    let limited = ["--ocr", "./ocr", "--max-document-mib", "1"];
    scanner.run(&limited).expect(3).says("failed: docs/h.png: larger than 1048576 bytes;");
    let one = scanner.0.run(&["build", "docs/a.png", "-o", "out.parquet"]).expect(2);
    one.says("input docs/a.png: is a picture, and this run has no command to read pictures");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_picture_is_read_once_per_command() {
    let scanner = Scanner::new(WIDTH);
    scanner.0.write("docs/scan.pdf", pages(&[(72, PICTURE), (144, PICTURE), (72, PICTURE)]));
    let run = |command: &str, runs: usize| {
        scanner.run(&["--ocr", command]).expect(0);
        assert_eq!(scanner.texts(), [("scan.pdf".to_owned(), "1 44 2 88 1 44".to_owned())]);
        assert_eq!(scanner.runs(), runs, "{command}");
    };
    // The first and the third page show the same. They may be read at the same time.
    scanner.run(&["--ocr", "./ocr"]).expect(0);
    let first = scanner.runs();
    assert!(matches!(first, 2 | 3), "{first}");
    run("./ocr", first);
    run("'./ocr' ", first);
    let cache = scanner.0.path("cache/qwen3-index/ocr");
    assert_eq!(fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&cache).unwrap() {
        let path = entry.unwrap().path();
        let content = fs::read(&path).unwrap();
        fs::write(path, &content[..content.len() - 1]).unwrap();
    }
    scanner.run(&["--ocr", "./ocr"]).expect(0);
    let damaged = scanner.runs();
    assert!(damaged > first);
    run("./ocr", damaged);
    scanner.run(&["--ocr", "./ocr --fast"]).expect(0);
    let other = scanner.runs();
    assert!(other > damaged);
    scanner.script(&format!("{WIDTH} # version 2"));
    scanner.run(&["--ocr", "./ocr"]).expect(0);
    assert!(scanner.runs() > other);
    // A cache that cannot be written costs time and nothing else.
    fs::remove_dir_all(scanner.0.path("cache")).unwrap();
    scanner.0.write("cache", "a file");
    scanner.run(&["--ocr", "./ocr"]).expect(0);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_command_that_misbehaves_is_named_with_its_page() {
    let scan = pages(&[(72, "BT /F 10 Tf 9 9 Td (text) Tj ET"), (72, PICTURE)]);
    for (script, says) in [
        ("exit 7", "page 2: `./ocr` failed with exit code 7; check the command of --ocr"),
        ("printf 'no\\nlanguage' >&2; exit 1", "page 2: `./ocr` failed with exit code 1: no language; check"),
        ("kill -9 $$", "page 2: `./ocr` failed with signal 9;"),
        ("exec yes", "page 2: `./ocr` wrote more than 4 MiB for one picture;"),
        ("exec yes >&2", "page 2: `./ocr` took longer than 5 seconds; raise --max-document-seconds"),
        ("sleep 1000 & wait", "page 2: `./ocr` took longer than 5 seconds;"),
        ("printf '\\377'", "page 2: `./ocr` wrote text that is not UTF-8;"),
    ] {
        let scanner = Scanner::new(script);
        scanner.0.write("docs/scan.pdf", &scan);
        scanner.0.write("docs/text.txt", "text");
        let started = Instant::now();
        let ran = scanner.run(&["--ocr", "./ocr", "--max-document-seconds", "1"]).expect(3);
        ran.says(&format!("failed: docs/scan.pdf: {says}"));
        assert_eq!(scanner.texts(), [("text.txt".to_owned(), "text".to_owned())]);
        assert!(started.elapsed() < Duration::from_secs(60), "{script}");
    }
    // Commands that are strange, but read.
    for script in ["exec echo text", "sleep 1000 & echo text", "echo text; exec >&-; sleep .1"] {
        let scanner = Scanner::new(script);
        scanner.0.write("docs/scan.pdf", pages(&[(72, PICTURE)]));
        scanner.run(&["--ocr", "./ocr", "--max-document-seconds", "4"]).expect(0);
        assert_eq!(scanner.texts(), [("scan.pdf".to_owned(), "text".to_owned())], "{script}");
    }
    // A script with an interpreter that is missing.
    let scanner = Scanner::new("");
    scanner.0.write("ocr", "#!/no/such/shell\n");
    scanner.0.write("docs/picture.png", picture(""));
    scanner.0.write("docs/text.txt", "text");
    scanner
        .run(&["--ocr", "./ocr"])
        .expect(3)
        .says("failed: docs/picture.png: `./ocr` cannot be started: No such file");
    for (command, says) in [
        (
            "no-such-program -l eng",
            "--ocr no-such-program -l eng: there is no program `no-such-program` that this user may run; install it",
        ),
        ("docs/picture.png", "there is no program `docs/picture.png`"),
        (
            "./ocr 'open",
            "--ocr ./ocr 'open: it has no words, or a quote without an end; write it as in a shell",
        ),
        (" ", "it has no words"),
    ] {
        scanner.run(&["--ocr", command]).expect(2).says(says);
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn an_interrupt_ends_the_command_too() {
    let scanner = Scanner::new("echo $$ > pid; cat > /dev/null; sleep 1000");
    scanner.0.write("docs/scan.pdf", pages(&[(72, PICTURE)]));
    let mut command = scanner.command(&["--ocr", "./ocr"]);
    let mut running = command.stderr(Stdio::null()).spawn().unwrap();
    let id = wait_for_id(&scanner.0.path("pid"));
    kill_process(Pid::from_child(&running), Signal::INT).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(130));
    let end = Instant::now() + Duration::from_secs(10);
    while test_kill_process(id).is_ok() {
        assert!(Instant::now() < end, "the command is still running");
        thread::sleep(Duration::from_millis(10));
    }
}

fn wait_for_id(file: &Path) -> Pid {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let id = fs::read_to_string(file).ok().and_then(|id| id.trim().parse().ok()).and_then(Pid::from_raw);
        if let Some(id) = id {
            return id;
        }
        assert!(Instant::now() < end, "the command has not started");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_page_is_drawn_within_the_limits_of_a_worker() {
    let scanner = Scanner::new(WIDTH);
    // A page of 5 by 5 metres, and one that is a line.
    for (name, size) in [("large.pdf", "14400 14400"), ("thin.pdf", "14400 1"), ("none.pdf", "0 0")] {
        let page = String::from_utf8(pdf_page("0 0 m 14400 14400 l S", "")).unwrap();
        scanner.0.write(&format!("docs/{name}"), page.replace("600 300", size));
    }
    scanner.run(&["--ocr", "./ocr"]).expect(0).says("3 documents: 3 embedded");
}
