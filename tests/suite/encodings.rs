//! Texts in old encodings: read right, or refused by name; and stray bytes, which cost themselves and not the document.

use std::fs;

use serde_json::Value;

use crate::util::{Playground, after, ids_and_texts};

const CHINESE: &str = "今天天气很好，我们去公园散步。孩子们在草地上玩耍。";
const CROATIAN: &str =
    "Hrvatski jezik skupni je naziv, a čine ga tri narječja: čakavsko, štokavsko i kajkavsko.";
const HUNGARIAN: &str =
    "A hírek szerint egy nagy cég vezetője nyilatkozott. Az idő jó volt, a tőzsde erősödött.";
const RUSSIAN: &str =
    "Журналисты сообщили, что в Москве прошла выставка книг. Каждая книга нашла своего читателя.";

/// Hungarian in windows-1250, which has the same bytes in ISO-8859-2. In windows-1252, `ő` would be `õ`.
const WINDOWS_1250: &[u8] = b"A h\xedrek szerint egy nagy c\xe9g vezet\xf5je nyilatkozott. Az id\xf5 j\xf3 volt, a t\xf5zsde er\xf5s\xf6d\xf6tt.";
const IBM852: &[u8] =
    b"Hrvatski jezik skupni je naziv, a \x9fine ga tri narje\x9fja: \x9fakavsko, \xe7tokavsko i kajkavsko.";
const MAC_CE: &[u8] =
    b"Hrvatski jezik skupni je naziv, a \x8bine ga tri narje\x8bja: \x8bakavsko, \xe4tokavsko i kajkavsko.";
/// In windows-1251, all letters but the capitals and `я` have the same bytes.
const MAC_CYRILLIC: &[u8] = b"\x86\xf3\xf0\xed\xe0\xeb\xe8\xf1\xf2\xfb \xf1\xee\xee\xe1\xf9\xe8\xeb\xe8, \xf7\xf2\xee \xe2 \x8c\xee\xf1\xea\xe2\xe5 \xef\xf0\xee\xf8\xeb\xe0 \xe2\xfb\xf1\xf2\xe0\xe2\xea\xe0 \xea\xed\xe8\xe3. \x8a\xe0\xe6\xe4\xe0\xdf \xea\xed\xe8\xe3\xe0 \xed\xe0\xf8\xeb\xe0 \xf1\xe2\xee\xe5\xe3\xee \xf7\xe8\xf2\xe0\xf2\xe5\xeb\xdf.";
const IBM855: &[u8] = b"\xea\xe7\xe1\xd4\xa0\xd0\xb7\xe3\xe5\xf1 \xe3\xd6\xd6\xa2\xf9\xb7\xd0\xb7, \xfb\xe5\xd6 \xeb \xd3\xd6\xe3\xc6\xeb\xa8 \xd8\xe1\xd6\xf5\xd0\xa0 \xeb\xf1\xe3\xe5\xa0\xeb\xc6\xa0 \xc6\xd4\xb7\xac. \xc7\xa0\xe9\xa6\xa0\xde \xc6\xd4\xb7\xac\xa0 \xd4\xa0\xf5\xd0\xa0 \xe3\xeb\xd6\xa8\xac\xd6 \xfb\xb7\xe5\xa0\xe5\xa8\xd0\xde.";
const KOI8: &[u8] = b"\xf6\xd5\xd2\xce\xc1\xcc\xc9\xd3\xd4\xd9 \xd3\xcf\xcf\xc2\xdd\xc9\xcc\xc9, \xde\xd4\xcf \xd7 \xed\xcf\xd3\xcb\xd7\xc5 \xd0\xd2\xcf\xdb\xcc\xc1 \xd7\xd9\xd3\xd4\xc1\xd7\xcb\xc1 \xcb\xce\xc9\xc7. \xeb\xc1\xd6\xc4\xc1\xd1 \xcb\xce\xc9\xc7\xc1 \xce\xc1\xdb\xcc\xc1 \xd3\xd7\xcf\xc5\xc7\xcf \xde\xc9\xd4\xc1\xd4\xc5\xcc\xd1.";

/// Writes a text as a file of each kind that is text.
fn write_kinds(playground: &Playground, name: &str, bytes: &[u8]) {
    playground.write(&format!("docs/{name}.txt"), bytes);
    playground.write(&format!("docs/{name}.md"), bytes);
    playground.write(&format!("docs/{name}.html"), [b"<p class=\"a\">", bytes, b"</p>"].concat());
    playground.write(&format!("docs/{name}.csv"), [b"text\n\"", bytes, b"\"\n"].concat());
}

fn texts(playground: &Playground) -> Vec<(String, String)> {
    ids_and_texts(&playground.path("out.parquet"))
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn texts_in_old_encodings_are_read_in_every_kind_of_file() {
    let playground = Playground::new();
    let utf_16 = |to: fn(u16) -> [u8; 2]| CHINESE.encode_utf16().flat_map(to).collect::<Vec<_>>();
    let utf_32 = |text: &str| text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect::<Vec<_>>();
    let cases = [
        ("hungarian", HUNGARIAN, WINDOWS_1250),
        ("dos", CROATIAN, IBM852),
        ("mac", CROATIAN, MAC_CE),
        ("mac-cyrillic", RUSSIAN, MAC_CYRILLIC),
        ("dos-cyrillic", RUSSIAN, IBM855),
        ("koi8", RUSSIAN, KOI8),
        ("mail-korean", "도서관은", b"\x1b$)C\x0e55<-0|@:\x0f"),
        ("mail-chinese", "中文书刊名", b"~{VPNDJi?/C{~}"),
    ];
    for (name, _, bytes) in cases {
        write_kinds(&playground, name, bytes);
    }
    playground.write("docs/wide.txt", utf_16(u16::to_le_bytes));
    playground.write("docs/wide-big.txt", utf_16(u16::to_be_bytes));
    playground.write("docs/wider.txt", utf_32(&format!("\u{FEFF}{CHINESE}")));
    playground.write("docs/wider-unmarked.txt", utf_32(CHINESE));
    playground.write("docs/wider.csv", utf_32(&format!("\u{FEFF}text\n{CHINESE}\n")));
    let ran = playground.run(&["build", "docs", "-o", "out.parquet"]).expect(0);
    for (id, text) in texts(&playground) {
        let expected = cases.iter().find(|(name, ..)| id.split_once('.').unwrap().0 == *name);
        assert_eq!(text, expected.map_or(CHINESE, |(_, text, _)| text), "{id}");
    }
    ran.says("37 documents: 6 embedded, 31 duplicates, 0 empty, 0 failed; decoded: ");
    for decoded in
        ["4 HZ-GB-2312", "4 IBM852", "4 IBM855", "4 ISO-2022-KR", "4 KOI8-U", "1 UTF-16BE", "3 UTF-32LE"]
    {
        ran.says(decoded);
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn texts_of_dos_and_of_classic_mac_os_are_read() {
    let playground = Playground::new();
    let cases: [(&str, &str, &[u8]); 5] = [
        (
            "IBM865",
            "På søndag går vi på tur i skogen, og så spiser vi brødskiver ved bålet mens mørket kommer over åsene.",
            b"P\x86 s\x9bndag g\x86r vi p\x86 tur i skogen, og s\x86 spiser vi br\x9bdskiver ved b\x86let mens m\x9brket kommer over \x86sene.",
        ),
        (
            "x-mac-turkish",
            "Çocuklar dün akşam şehir kütüphanesine gittiler ve güneş battığında eve döndüler.",
            b"\x82ocuklar d\x9fn ak\xdfam \xdfehir k\x9ft\x9fphanesine gittiler ve g\x9fne\xdf batt\xdd\xdb\xddnda eve d\x9and\x9fler.",
        ),
        (
            "IBM860",
            "A reunião da comissão começa amanhã às nove horas. As crianças não vão à escola, porque há uma greve.",
            b"A reuni\x84o da comiss\x84o come\x87a amanh\x84 \x85s nove horas. As crian\x87as n\x84o v\x84o \x85 escola, porque h\xa0 uma greve.",
        ),
        (
            "IBM720",
            "تبدأ أوقات العمل في الساعة الثامنة صباحا وتنتهي في الساعة الرابعة بعد الظهر.",
            b"\xa2\xa0\xa7\x9a \x9a\xed\xe7\x9f\xa2 \x9f\xe9\xe3\xea\xe9 \xe5\xef \x9f\xe9\xab\x9f\xe3\xa1 \x9f\xe9\xa3\x9f\xea\xeb\xa1 \xad\xa0\x9f\xa5\x9f \xed\xa2\xeb\xa2\xec\xef \xe5\xef \x9f\xe9\xab\x9f\xe3\xa1 \x9f\xe9\xa9\x9f\xa0\xe3\xa1 \xa0\xe3\xa7 \x9f\xe9\xe2\xec\xa9.",
        ),
        (
            "IBM861",
            "Veðrið var gott í gær og börnin léku sér úti. Þau fóru í sundlaugina með ömmu sinni.",
            b"Ve\x8cri\x8c var gott \xa1 g\x91r og b\x94rnin l\x82ku s\x82r \xa3ti. \x8dau f\xa2ru \xa1 sundlaugina me\x8c \x94mmu sinni.",
        ),
    ];
    for (name, _, bytes) in &cases {
        playground.write(&format!("docs/{name}.txt"), bytes);
    }
    playground.run(&["build", "docs", "-o", "out.parquet"]).expect(0);
    let found = texts(&playground);
    for (name, text, _) in cases {
        assert!(found.contains(&(format!("{name}.txt"), text.to_owned())), "{name}: {found:?}");
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_page_is_what_it_declares_if_that_makes_words() {
    let playground = Playground::new();
    let xml = |name: &str| {
        format!(
            "<?xml version=\"1.0\" encoding=\"{name}\"?><html xmlns=\"http://www.w3.org/1999/xhtml\"><body><p>"
        )
    };
    let end = b"</p></body></html>";
    // One word is too short to tell the encoding.
    playground.write("docs/a.xhtml", [xml("IBM855").as_bytes(), &IBM855[..10], end].concat());
    playground.write("docs/b.html", [b"<meta charset=cp437><p>pr\x82t", &end[..]].concat());
    playground.write("docs/d.html", [b"<meta charset=iso-8859-1><p>", KOI8, &end[..]].concat());
    playground.write("docs/c.html", [b"<meta charset=Johab><p>pr\x82t", &end[..]].concat());
    let ran = playground.run(&["build", "docs", "-o", "out.parquet"]).expect(3);
    ran.says("failed: docs/c.html: cannot be decoded as Johab; name its encoding with --encoding");
    ran.says("decoded: 1 IBM437, 1 IBM855, 1 KOI8-U");
    let expected = [("a.xhtml", "Журналисты"), ("b.html", "prét"), ("d.html", RUSSIAN)];
    let expected = expected.map(|(id, text)| (id.to_owned(), text.to_owned()));
    assert_eq!(texts(&playground), expected);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn an_unclear_encoding_is_refused_and_can_be_named() {
    let playground = Playground::new();
    playground.write("docs/a.txt", b"pr\x82t");
    playground
        .write("docs/c.txt", (0x80..=0xFF).flat_map(|byte| [byte, 0xFF - byte / 2]).collect::<Vec<u8>>());
    let ran = playground.run(&["build", "docs", "-o", "out.parquet"]).expect(1);
    ran.says("failed: docs/a.txt: its encoding may be IBM850 or ");
    ran.says(", and they give different texts; name its encoding with --encoding, or save it as UTF-8");
    ran.says("failed: docs/c.txt: its encoding is unknown: no encoding makes words of its bytes; name its encoding");
    fs::remove_file(playground.path("docs/c.txt")).unwrap();
    playground.write("docs/b.csv", b"text\npr\x82t\n");
    for name in ["cp852", "IBM850", "437"] {
        let rows = playground.build("docs", &["--encoding", name]);
        assert!(rows.len() == 2 && rows.iter().all(|row| row.text == "prét"), "{name}: {rows:?}");
    }
    for (name, text) in [("mac-roman", "prÇt"), ("x-mac-ce", "prāt"), ("x-mac-cyrillic", "prВt")] {
        assert_eq!(playground.build("docs", &["--encoding", name])[0].text, text, "{name}");
    }
    playground
        .run(&["build", "docs", "-o", "out.parquet", "--encoding", "johab"])
        .expect(2)
        .says("--encoding johab: is unknown");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_stray_byte_costs_itself_and_is_said() {
    let playground = Playground::new();
    let xhtml = |text: &[u8]| {
        [b"<html xmlns=\"http://www.w3.org/1999/xhtml\"><body><p>", text, b"</p></body></html>"].concat()
    };
    let declared = |text: &[u8]| [b"<meta charset=utf-8><p>", text].concat();
    let stray =
        [b"Gr\xc3\xb6\xc3\x9fe aus K\xc3\xb6ln, caf", &b"\xe9"[..], b" und \xe2\x80\x94 mehr"].concat();
    playground.write("docs/a.html", declared(&stray));
    playground.write("docs/b.xhtml", xhtml(&stray));
    playground.write("docs/c.md", &stray);
    playground.write("docs/d.txt", &stray);
    playground.write("docs/e.html", declared(b"before\0 after"));
    playground.write("docs/f.txt", b"before\0 after");
    playground.write("docs/g.html", declared(b"plain caf\xe9"));
    let long = "Größe. ".repeat(500);
    playground.write("docs/h.txt", [b"\xff ", long.as_bytes(), b"\xe2\x82"].concat());
    let report = |playground: &Playground| -> Value {
        serde_json::from_slice(&fs::read(playground.path("report.json")).unwrap()).unwrap()
    };
    let build = ["build", "docs", "-o", "out.parquet", "--report", "report.json"];
    let ran = playground.run(&build).expect(0);
    for (id, text) in texts(&playground) {
        match &*id {
            "e.html" | "f.txt" => assert_eq!(text, "before after", "{id}"),
            "g.html" => assert_eq!(text, "plain café", "{id}"),
            "h.txt" => assert_eq!(text, format!("\u{FFFD} {long}\u{FFFD}"), "{id}"),
            _ => assert_eq!(text, "Größe aus Köln, café und — mehr", "{id}"),
        }
    }
    let warnings = |ran: &crate::util::Ran| {
        let warnings = ran.stderr.lines().filter(|line| line.contains("warning: docs/"));
        warnings.map(|line| line.split_once("docs/").unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    let names = ["a.html", "b.xhtml", "c.md", "d.txt", "e.html", "f.txt", "g.html"];
    let mut expected = names.map(|name| format!("{name}: repaired 1 stray byte in its text")).to_vec();
    expected.push("h.txt: repaired 2 stray bytes in its text".to_owned());
    assert_eq!(warnings(&ran), expected, "{}", ran.story);
    ran.says("8 documents: 4 embedded, 4 duplicates, 0 empty, 0 failed; repaired: 8 documents");
    assert_eq!(report(&playground)["documents"]["repaired"], 8);
    let again = playground.run(&build).expect(0);
    assert_eq!(warnings(&again), expected, "{}", again.story);
    let mut read = after("exec >/dev/null", &playground.command(&["read", "docs"]));
    let read = playground.output(&mut read, "").expect(0);
    read.says("8 documents: 0 empty, 0 failed; repaired: 8 documents");
}

/// What has more than a stray byte is damaged or in another encoding.
#[test]
#[ignore = "needs what scripts/test installs"]
fn many_stray_bytes_are_damage() {
    let playground = Playground::new();
    let german = "Größe aus Köln";
    playground.write("docs/a.txt", [german.as_bytes(), b" \xff \xfe"].concat());
    playground.write("docs/b.html", [b"<p>", german.as_bytes(), b" \xff \xfe"].concat());
    playground.write("docs/c.txt", b"one\0two\0three");
    playground.write("docs/d.html", b"<meta charset=utf-8><p>caf\xe9 tr\xe8s pr\xe8s");
    // In a file of rows, each row stands for itself.
    playground.write("docs/e.csv", [b"text\n", german.as_bytes(), b"\nstray \xff byte\nlast\n"].concat());
    let ran = playground.run(&["build", "docs", "-o", "out.parquet"]).expect(3);
    ran.says("failed: docs/a.txt: cannot be decoded as UTF-8;")
        .says("failed: docs/b.html: cannot be decoded as UTF-8;");
    ran.says("failed: docs/c.txt: not text but binary data;")
        .says("failed: docs/e.csv:3: cannot be decoded as UTF-8;");
    ran.says("7 documents: 3 embedded, 0 empty, 4 failed; decoded: 1 windows-1252");
    let expected = [("d.html", "café très près"), ("e.csv:2", german), ("e.csv:4", "last")];
    assert_eq!(texts(&playground), expected.map(|(id, text)| (id.to_owned(), text.to_owned())));
}
