//! A store whose answers are wrong: blocks of another length than announced, listings that do not end, huge lengths, redirects.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::util::{Playground, Ran, after, ids_and_texts};

/// A request: its first line without the version, and its headers in lower case.
#[derive(Debug, Clone)]
struct Request {
    line: String,
    headers: Vec<(String, String)>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn is_listing(&self) -> bool {
        self.line.contains("list-type=2")
    }
}

/// A server that answers each request with the bytes that a function returns.
struct Server {
    url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    fn start(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (shared, answer) = (requests.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (requests, answer) = (shared.clone(), answer.clone());
                thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let Some(request) = read(&stream) else { return };
                    requests.lock().unwrap().push(request.clone());
                    // The client may close the connection at any time.
                    let _ = stream.write_all(&answer(&request));
                });
            }
        });
        Server { url, requests }
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Builds an index of `s3://bucket/docs/`. Ends the run after 60 seconds of processor time, after five minutes of waiting, or when
    /// it has more than 4 GiB of memory.
    fn build(&self, playground: &Playground) -> Ran {
        let arguments = ["build", "s3://bucket/docs/", "-o", "out.parquet", "--endpoint", &self.url];
        let bounds = "ulimit -v 4194304 -t 60; exec timeout 300 \"$0\" \"$@\"";
        let mut command = after(bounds, &playground.command(&arguments));
        command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret");
        command.env("AWS_SESSION_TOKEN", "the token");
        playground.output(&mut command, "")
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let headers = lines.take_while(|line| !line.is_empty()).filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Some(Request { line, headers: headers.collect() })
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n").as_bytes(), body].concat()
}

fn with_length(status: &str, body: &[u8]) -> Vec<u8> {
    answer(status, &format!("Content-Length: {}\r\n", body.len()), body)
}

/// Returns a page of a listing. `next` is the token of the next page.
fn page(keys: &[String], bytes: usize, next: Option<&str>) -> Vec<u8> {
    let object = |key: &String| {
        format!(
            "<Contents><Key>{key}</Key><Size>{bytes}</Size><ETag>\"tag\"</ETag><LastModified>2026-11-29T02:00:00.000Z</LastModified></Contents>"
        )
    };
    let objects: String = keys.iter().map(object).collect();
    let next = next.map(|token| {
        format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>")
    });
    let next = next.unwrap_or_default();
    with_length("200 OK", format!("<ListBucketResult>{objects}{next}</ListBucketResult>").as_bytes())
}

fn nothing() -> Vec<u8> {
    with_length("404 Not Found", b"<Error><Code>NoSuchKey</Code></Error>")
}

/// Returns the answer to a request for a range: the headers of `announced`, a whole object, and a body that may have another
/// length.
fn range(announced: &[u8], body: &[u8]) -> Vec<u8> {
    let length = announced.len();
    let headers = format!(
        "Content-Length: {}\r\nContent-Range: bytes 0-{}/{length}\r\nETag: \"tag\"\r\nLast-Modified: Sun, 29 Nov 2026 02:00:00 GMT\r\n",
        body.len(),
        length - 1
    );
    answer("206 Partial Content", &headers, body)
}

const TEXT: &[u8] = b"a text of the object";

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_block_of_another_length_than_announced_is_a_failure() {
    let longer = [TEXT, b" and of another"].concat();
    for (what, body) in [("shorter", TEXT[..6].to_vec()), ("longer", longer), ("empty", Vec::new())] {
        let server = Server::start(move |request| match () {
            () if request.is_listing() => page(&["docs/a.txt".into(), "docs/b.txt".into()], TEXT.len(), None),
            () if request.line.contains("docs/a.txt") => range(TEXT, TEXT),
            () if request.line.contains("docs/b.txt") => range(TEXT, &body),
            () => nothing(),
        });
        let playground = Playground::new();
        let ran = server.build(&playground).expect(3);
        ran.says("failed: s3://bucket/docs/b.txt: the store announced 20 bytes, but sent fewer or more; run again;");
        let rows = ids_and_texts(&playground.path("out.parquet"));
        assert_eq!(rows, [("a.txt".to_owned(), "a text of the object".to_owned())], "{what}: {}", ran.story);
    }
}

#[test]
fn a_huge_length_takes_no_memory() {
    const HUGE: &str = "Content-Length: 1099511627776\r\n";
    // In two pieces, because one piece is never copied.
    let large = vec![b' '; 100 << 20];
    for status in ["200 OK", "206 Partial Content", "403 Forbidden"] {
        let body = large.clone();
        let server = Server::start(move |_| answer(status, HUGE, &body));
        let ran = server.build(&Playground::new()).expect(1);
        ran.says("error: s3://bucket/docs: ").says("sent an answer of more than 64 MiB");
        assert!(server.requests().len() < 4, "{:?}", server.requests());
    }
    // The answer says that it is huge, and ends early.
    let server = Server::start(|_| answer("200 OK", HUGE, b"<ListBucketResult></ListBucketResult>"));
    server.build(&Playground::new()).expect(1).says("error: s3://bucket/docs: ");
}

#[test]
fn a_listing_that_does_not_end_is_an_error() {
    type Page = fn(usize) -> Vec<u8>;
    let listings: [(&str, Page); 3] = [
        ("the same page comes twice", |n| page(&[format!("docs/{n}.txt")], 1, Some("the same token"))),
        ("the same page comes twice", |n| page(&["docs/a.txt".into()], 1, Some(&n.to_string()))),
        ("1000 pages have no objects", |n| page(&[], 1, Some(&n.to_string()))),
    ];
    for (why, page) in listings {
        let pages = Mutex::new(0);
        let server = Server::start(move |request| {
            if !request.is_listing() {
                return nothing();
            }
            let mut pages = pages.lock().unwrap();
            *pages += 1;
            page(*pages)
        });
        let ran = server.build(&Playground::new()).expect(1);
        ran.says(&format!("error: s3://bucket/docs: the listing does not end: {why}; check --endpoint,"));
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_redirect_to_another_host_takes_no_credentials_along() {
    let other = Server::start(|request| match request.line.contains("docs/a.txt") {
        true => range(TEXT, TEXT),
        false => nothing(),
    });
    let to = other.url.clone();
    let server = Server::start(move |request| match request.is_listing() {
        true => page(&["docs/a.txt".into()], TEXT.len(), None),
        false => {
            let path = request.line.split(' ').nth(1).unwrap();
            answer("307 Temporary Redirect", &format!("Location: {to}{path}\r\nContent-Length: 0\r\n"), b"")
        }
    });
    let playground = Playground::new();
    server.build(&playground).expect(0);
    assert_eq!(ids_and_texts(&playground.path("out.parquet")).len(), 1);
    let sent = |request: &Request| request.header("x-amz-security-token").map(str::to_owned);
    assert!(server.requests().iter().all(|request| sent(request).as_deref() == Some("the token")));
    assert!(!other.requests().is_empty());
    for request in other.requests() {
        let names: Vec<&str> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
        let known = ["accept", "host", "if-match", "range", "user-agent"];
        assert!(names.iter().all(|name| known.contains(name)), "{request:?}");
    }
}

#[test]
fn redirects_in_a_circle_end() {
    let server = Server::start(|request| {
        let path = request.line.split(' ').nth(1).unwrap();
        answer("302 Found", &format!("Location: {path}\r\nContent-Length: 0\r\n"), b"")
    });
    server.build(&Playground::new()).expect(1).says("error: s3://bucket/docs: the store answered 302 Found");
    assert!(server.requests().len() < 20, "{}", server.requests().len());
}
