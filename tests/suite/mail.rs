//! Mail messages and mailboxes: texts, fields, attachments, ids, and messages that cannot be read.

use std::fs;

use arrow::array::AsArray;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::make::{docx, gzip, pdf};
use crate::util::{Playground, ids_and_texts};

/// Returns a message with a header and the lines of a body.
fn message(header: &str, body: &str) -> String {
    format!("From: Ana Gil <ana@petrel.example>\r\nTo: all@petrel.example\r\n{header}\r\n\r\n{body}")
        .replace("\r\n", "\n")
}

/// Returns a message with parts. Each part is the lines of its header and its body.
fn multipart(kind: &str, parts: &[(&str, &str)]) -> String {
    let parts: String = parts.iter().map(|(header, body)| format!("--cut\n{header}\n\n{body}\n")).collect();
    message(
        &format!("Subject: {kind}\nContent-Type: multipart/{kind}; boundary=cut"),
        &format!("{parts}--cut--\n"),
    )
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    text.as_bytes().chunks(76).map(|line| format!("{}\n", std::str::from_utf8(line).unwrap())).collect()
}

fn read(playground: &Playground) -> Vec<(String, String)> {
    ids_and_texts(&playground.path("out.parquet"))
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|&(id, text)| (id.to_owned(), text.to_owned())).collect()
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_message_is_its_subject_and_the_text_that_its_reader_sees() {
    let playground = Playground::new();
    let files: Vec<(&str, Vec<u8>)> = vec![
        (
            "a.eml",
            message("Subject: =?UTF-8?Q?Caf=C3=A9?= =?UTF-8?B?IOS7iuWkqQ==?=", "One\n\n> quoted\n-- \nAna")
                .into(),
        ),
        (
            "b.eml",
            multipart(
                "alternative",
                &[("Content-Type: text/plain", "plain"), ("Content-Type: text/html", "<p>rich")],
            )
            .into(),
        ),
        ("c.eml", message("Content-Type: text/html", "<style>p{}</style><p>Only <b>HTML</b></p>").into()),
        (
            "d.eml",
            message(
                "Content-Type: text/plain; charset=gbk\nContent-Transfer-Encoding: base64",
                &base64(&encoding_rs::GBK.encode("今天天气很好，我们去公园。").0),
            )
            .into(),
        ),
        (
            "e.eml",
            message(
                "Content-Transfer-Encoding: quoted-printable\nContent-Type: text/plain; charset=iso-8859-1",
                "a=F1o=\n nuevo=20",
            )
            .into(),
        ),
        // No encoding is named.
        (
            "f.eml",
            [
                message("Subject: f", "").into_bytes(),
                encoding_rs::SHIFT_JIS.encode("図書館は月曜日を除いて毎日開いています。").0.into_owned(),
            ]
            .concat(),
        ),
        (
            "g.eml",
            encoding_rs::GBK
                .encode(&message("Subject: 员工因公出差产生的交通费", "凭发票在十五个工作日内报销。"))
                .0
                .into_owned(),
        ),
        (
            "h.eml",
            message("Content-Type: text/plain; format=flowed; delsp=yes", "図書 \n館です。\n次").into(),
        ),
        // The end of the parts is missing.
        (
            "i.eml",
            multipart("mixed", &[("Content-Type: text/plain", "cut off")]).replace("--cut--\n", "").into(),
        ),
        ("j.eml", message("Subject: only a subject", "").into()),
        ("k.eml", message("X: y", "").into()),
        ("l.eml.gz", gzip(message("Subject: packed", "body").as_bytes())),
        (
            "m.eml",
            multipart(
                "alternative",
                &[("Content-Type: text/plain", " "), ("Content-Type: text/html", "<p>rich")],
            )
            .into(),
        ),
    ];
    for (name, bytes) in files {
        playground.write(&format!("docs/{name}"), bytes);
    }
    playground
        .run(&["build", "docs", "-o", "out.parquet"])
        .expect(0)
        .says("13 documents: 12 embedded, 1 empty, 0 failed");
    let expected = [
        ("a.eml", "# Café 今天 One > quoted -- Ana"),
        ("b.eml", "# alternative plain"),
        ("c.eml", "Only HTML"),
        ("d.eml", "今天天气很好，我们去公园。"),
        ("e.eml", "año nuevo"),
        ("f.eml", "# f 図書館は月曜日を除いて毎日開いています。"),
        ("g.eml", "# 员工因公出差产生的交通费 凭发票在十五个工作日内报销。"),
        ("h.eml", "図書館です。 次"),
        ("i.eml", "# mixed cut off"),
        ("j.eml", "# only a subject"),
        ("l.eml.gz", "# packed body"),
        ("m.eml", "# alternative rich"),
    ];
    assert_eq!(read(&playground), pairs(&expected));
}

/// The names of these encodings are not among those of the web.
#[test]
#[ignore = "needs what scripts/test installs"]
fn encodings_that_only_mail_names_are_decoded() {
    let playground = Playground::new();
    let named = |label: &str, body: &[u8]| {
        let header = format!("Content-Type: text/plain; charset={label}\nContent-Transfer-Encoding: base64");
        message(&header, &base64(body))
    };
    let shifted = b"Caf+AOk +ZeVnLIqe. 1 +- 1 +AKM";
    let cases: [(&str, &[u8], &str); 6] = [
        ("utf-7", shifted, "Café 日本語. 1 + 1 £"),
        ("UNICODE-1-1-UTF-7", shifted, "Café 日本語. 1 + 1 £"),
        ("latin10", b"Bucure\xbati", "București"),
        ("iso-8859-14:1998", b"d\xf0r", "dŵr"),
        // Nobody knows these names.
        ("x-unknown", "Größe".as_bytes(), "Größe"),
        ("unknown-8bit", b"\x1b$B?^=q4[\x1b(B", "図書館"),
    ];
    for (number, (label, body, _)) in cases.iter().enumerate() {
        playground.write(&format!("docs/{number}.eml"), named(label, body));
    }
    let file = |label: &str, body: &[u8]| {
        let header = format!(
            "Content-Type: text/plain; charset={label}; name={label}.txt\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment"
        );
        (header, base64(body))
    };
    let binary: Vec<u8> = (0x80..=0xFF).flat_map(|byte| [byte, 0xFF - byte / 2]).collect();
    let files = [file("utf-7", shifted), file("latin10", b"Bucure\xbati"), file("utf-8", &binary)];
    let mut parts = vec![("Content-Type: text/plain", "see the files")];
    parts.extend(files.iter().map(|(header, body)| (header.as_str(), body.as_str())));
    playground.write("docs/files.eml", multipart("mixed", &parts));
    let ran = playground.run(&["build", "docs", "-o", "out.parquet"]).expect(3);
    ran.says("failed: docs/files.eml/utf-8.txt: its encoding is unknown")
        .says("10 documents: 6 embedded, 3 duplicates, 0 empty, 1 failed");
    let found: Vec<String> = read(&playground).into_iter().map(|(_, text)| text).collect();
    let mut expected: Vec<&str> = cases.iter().map(|(.., text)| *text).collect();
    expected.extend(["# mixed see the files", cases[0].2, cases[2].2]);
    assert_eq!(found, expected);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn fields_of_a_header_are_kept() {
    let playground = Playground::new();
    let header = "Subject: Plan\nDate: Mon, 2 Mar 2026 08:15:00 +0100\nCc: x@petrel.example";
    playground.write("docs/a.eml", message(header, "text"));
    let mut arguments = vec!["build", "docs", "-o", "out.parquet"];
    let names = ["from", "to", "date", "subject", "title", "author"];
    names.iter().for_each(|name| arguments.extend(["--keep", name]));
    playground.run(&arguments).expect(0);
    let file = fs::File::open(playground.path("out.parquet")).unwrap();
    let batch =
        ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().next().unwrap().unwrap();
    let kept = names.map(|name| batch[name].as_string::<i32>().value(0).to_owned());
    let from = "Ana Gil <ana@petrel.example>";
    assert_eq!(kept, [from, "all@petrel.example", "2026-03-02T08:15:00+01:00", "Plan", "Plan", from]);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn attachments_of_known_formats_are_documents() {
    let playground = Playground::new();
    let gbk = base64(&encoding_rs::GBK.encode("凭发票报销").0);
    let pdf = base64(&pdf("a page"));
    let attached = |name: &str| {
        format!(
            "Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=\"{name}\""
        )
    };
    let inner = message("Subject: inner", "inner body")
        .replace("From:", "Date: Mon, 2 Mar 2026 08:15:00 +0100\nFrom:");
    let parts = [
        ("Content-Type: text/plain".to_owned(), "see the files".to_owned()),
        (attached("report.pdf"), pdf.clone()),
        (attached("report.pdf"), pdf.clone()),
        (attached("../letter.DOCX"), base64(&docx("a letter"))),
        ("Content-Type: text/plain; charset=gbk; name=\"=?UTF-8?B?6LS555SoLnR4dA==?=\"\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment".to_owned(), gbk),
        ("Content-Type: application/pdf\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment".to_owned(), pdf),
        ("Content-Type: message/rfc822".to_owned(), inner),
        (attached("picture.png"), base64(b"\x89PNG")),
        (attached("data.csv"), base64(b"a,b\n1,2\n")),
        (attached("packed.txt.gz"), base64(&gzip(b"packed"))),
        (attached("broken.pdf"), base64(b"%PDF-1.7 broken")),
    ];
    let parts: Vec<(&str, &str)> =
        parts.iter().map(|(header, body)| (header.as_str(), body.as_str())).collect();
    playground.write("docs/a.eml", multipart("mixed", &parts));
    // The encoding of attachments is known, whatever that of other files is.
    let arguments = ["build", "docs", "-o", "out.parquet", "--encoding", "shift_jis"];
    let ran = playground.run(&arguments).expect(3);
    ran.says("failed: docs/a.eml/broken.pdf: not readable as PDF: ")
        .says("9 documents: 6 embedded, 2 duplicates, 0 empty, 1 failed")
        .says("; skipped: 2 attachments of other formats");
    let expected = [
        ("a.eml", "# mixed see the files"),
        ("a.eml/report.pdf", "a page"),
        ("a.eml/report (2).pdf", "a page"),
        ("a.eml/letter.DOCX", "a letter"),
        ("a.eml/费用.txt", "凭发票报销"),
        ("a.eml/attachment 5.pdf", "a page"),
        ("a.eml/inner.eml", "# inner inner body"),
        ("a.eml/packed.txt.gz", "packed"),
    ];
    assert_eq!(read(&playground), pairs(&expected));
    // Each shard has its part of the documents.
    let mut ids = Vec::new();
    for shard in ["0/3", "1/3", "2/3"] {
        playground.run_anew(&["build", "docs", "-o", "out.parquet", "--shard", shard]);
        ids.extend(read(&playground));
    }
    ids.sort();
    let mut all = pairs(&expected);
    all.sort();
    assert_eq!(ids, all);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_mailbox_gives_a_document_a_message() {
    let playground = Playground::new();
    let separator = "From ana@petrel.example Mon Mar  2 08:15:00 2026\n";
    let one =
        |id: &str, body: &str| message(&format!("Message-ID: <{id}@petrel.example>\nSubject: {id}"), body);
    let attached = multipart(
        "mixed",
        &[
            ("Content-Type: text/plain", "with a file"),
            ("Content-Type: text/plain; name=notes.txt\nContent-Disposition: attachment", "the notes"),
        ],
    )
    .replace("Subject:", "Message-ID: <file@petrel.example>\nSubject:");
    let messages = [
        one("first", "From now on\n\nFrom 9:00 the shop is open.\n>From here\n"),
        one("second", "two"),
        attached,
        one("first", "the same again"),
        message("Subject: nameless", "three"),
    ];
    let mailbox: String = messages.iter().map(|message| format!("{separator}{message}\n\n")).collect();
    playground.write("docs/in.mbox", &mailbox);
    playground.run(&["build", "docs", "-o", "out.parquet"]).expect(0);
    let found = read(&playground);
    let nameless = found.last().unwrap().0.clone();
    assert_eq!(nameless.len(), "in.mbox#".len() + 32);
    let expected = [
        ("in.mbox#first@petrel.example", "# first From now on From 9:00 the shop is open. From here"),
        ("in.mbox#second@petrel.example", "# second two"),
        ("in.mbox#file@petrel.example", "# mixed with a file"),
        ("in.mbox#file@petrel.example/notes.txt", "the notes"),
        ("in.mbox#first@petrel.example (2)", "# first the same again"),
        (nameless.as_str(), "# nameless three"),
    ];
    assert_eq!(found, pairs(&expected));

    // Messages are read, new ones arrive, and ids stay.
    let later = mailbox.replace("Subject: nameless", "Status: RO\nSubject: nameless")
        + separator
        + &one("new", "four");
    playground.write("docs/in.mbox", gzip(later.as_bytes()));
    fs::rename(playground.path("docs/in.mbox"), playground.path("docs/in.mbox.gz")).unwrap();
    playground.write("docs/in.mbox", later);
    fs::remove_file(playground.path("docs/in.mbox.gz")).unwrap();
    let ran = playground.run(&["build", "docs", "-o", "out.parquet"]).expect(0);
    ran.says("7 documents: 1 embedded, 6 reused, 0 empty, 0 failed");
    // A message in another mailbox keeps its vector.
    fs::rename(playground.path("docs/in.mbox"), playground.path("docs/archive.mbox")).unwrap();
    playground
        .run(&["build", "docs", "-o", "out.parquet"])
        .expect(0)
        .says("7 documents: 0 embedded, 7 reused");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_packed_mailbox_and_one_too_large_message_are_read() {
    let playground = Playground::new();
    let separator = "From - Mon Mar 02 08:15:00 2026\n";
    let one =
        |id: &str, body: &str| format!("{separator}{}\n\n", message(&format!("Message-ID: <{id}@x>"), body));
    let mailbox = [one("a", "first"), one("b", &"large ".repeat(400_000)), one("c", "third")].concat();
    playground.write("docs/in.mbox.gz", gzip(mailbox.as_bytes()));
    let ran = playground
        .run(&["build", "docs", "-o", "out.parquet", "--max-document-mib", "2", "--max-expansion", "5000"])
        .expect(3);
    ran.says("failed: docs/in.mbox.gz#b@x: larger than 2097152 bytes; raise --max-document-mib")
        .says("3 documents: 2 embedded, 0 empty, 1 failed");
    assert_eq!(read(&playground), pairs(&[("in.mbox.gz#a@x", "first"), ("in.mbox.gz#c@x", "third")]));
}

/// A failed message may have attachments. Their rows stay too.
#[test]
#[ignore = "needs what scripts/test installs"]
fn rows_of_a_message_that_fails_later_stay() {
    let playground = Playground::new();
    let parts = [
        ("Content-Type: text/plain", "see the file"),
        ("Content-Type: text/plain; name=notes.txt\nContent-Disposition: attachment", "the notes"),
    ];
    playground.write("docs/a.eml", multipart("mixed", &parts));
    playground.write("docs/b.txt", "text");
    playground.run(&["build", "docs", "-o", "out.parquet"]).expect(0);
    playground.write("docs/a.eml", b"%PDF-1.7");
    let ran = playground.run(&["build", "docs", "-o", "out.parquet"]).expect(3);
    ran.says("failed: docs/a.eml: not mail (EML) but PDF;")
        .says("2 documents: 0 embedded, 1 reused, 0 empty, 1 failed");
    assert_eq!(read(&playground).len(), 3);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn what_only_the_receiver_can_read_is_a_failure() {
    let playground = Playground::new();
    let pgp = "-----BEGIN PGP MESSAGE-----\n\nhQEMA\n-----END PGP MESSAGE-----";
    let files = [
        ("a.eml", message("Subject: x", pgp)),
        (
            "b.eml",
            multipart(
                "encrypted",
                &[
                    ("Content-Type: application/pgp-encrypted", "Version: 1"),
                    ("Content-Type: application/octet-stream; name=encrypted.asc", pgp),
                ],
            ),
        ),
        (
            "c.eml",
            message(
                "Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\nContent-Transfer-Encoding: base64",
                "MIIB",
            ),
        ),
        (
            "d.eml",
            message(
                "Content-Type: Application/PKCS7-Mime; smime-type=signed-data; name=smime.p7m\nContent-Transfer-Encoding: base64",
                "MIIB",
            ),
        ),
        (
            "e.eml",
            multipart(
                "signed",
                &[
                    ("Content-Type: text/plain", "signed"),
                    ("Content-Type: application/pgp-signature; name=signature.asc", "x"),
                ],
            ),
        ),
    ];
    for (name, text) in files {
        playground.write(&format!("docs/{name}"), text);
    }
    let ran = playground.run(&["build", "docs", "-o", "out.parquet"]).expect(3);
    ran.says("failed: docs/a.eml: encrypted with PGP; save it decrypted, or skip it with --exclude")
        .says("failed: docs/b.eml: encrypted with PGP;")
        .says("failed: docs/c.eml: encrypted with S/MIME;")
        .says("failed: docs/d.eml: not readable as mail (EML): its text is inside of an S/MIME signature;");
    assert_eq!(read(&playground), pairs(&[("e.eml", "# signed signed")]));
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn messages_inside_of_messages_have_a_limit() {
    let playground = Playground::new();
    let mut nested = message("Subject: 0", "core");
    for depth in 1..12 {
        nested = message(&format!("Subject: {depth}\nContent-Type: message/rfc822"), &nested);
    }
    playground.write("docs/a.eml", nested);
    playground.write("docs/b.txt", "text");
    let ran = playground.run(&["build", "docs", "-o", "out.parquet"]).expect(3);
    ran.says("more than 8 messages are inside of each other");
    assert_eq!(read(&playground).len(), 9);
}
