//! Inputs and outputs in object storage: an S3 server on this machine, and between it and the tool a proxy that cuts, delays
//! or refuses requests.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::util::{self, Playground, Ran, ids_and_texts, jsonl, limited, repository, rows};

/// The S3 server, shared by all tests. Each test has its own bucket.
struct Server {
    port: u16,
    /// Access key and secret of a user who may write and of one who may only read.
    keys: Vec<(String, String)>,
    commands: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    _process: Child,
}

impl Server {
    fn get() -> &'static Server {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(|| {
            let mut python = util::python("objects");
            python.arg(repository("tests/python/objects_server.py"));
            // The server ends when its standard input is closed.
            let log = fs::File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("objects.log")).unwrap();
            let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
            let mut answers = BufReader::new(child.stdout.take().unwrap());
            let mut line = String::new();
            answers.read_line(&mut line).unwrap();
            let started: Value = serde_json::from_str(&line).unwrap();
            Server {
                port: u16::try_from(started["port"].as_u64().unwrap()).unwrap(),
                keys: serde_json::from_value(started["keys"].clone()).unwrap(),
                commands: Mutex::new((child.stdin.take().unwrap(), answers)),
                _process: child,
            }
        })
    }

    fn ask(&self, command: &Value) -> Value {
        let mut commands = self.commands.lock().unwrap();
        writeln!(commands.0, "{command}").unwrap();
        let mut line = String::new();
        commands.1.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

/// What the proxy does with a request.
#[derive(Clone, Copy)]
enum Fate {
    Passes,
    /// The proxy answers 503.
    Busy,
    /// The proxy pauses for a second in the middle of the answer.
    Slow,
    /// The connection ends after this many bytes of the answer.
    AnswerCut(usize),
    /// The connection ends after this many bytes of the upload.
    UploadCut(usize),
    /// The request waits until the test calls [`Line::let_go`].
    Held,
}

type Rule = Box<dyn FnMut(&str) -> Fate + Send>;

/// The proxy between the tool and the server.
struct Line {
    url: String,
    state: Arc<(Mutex<LineState>, Condvar)>,
}

struct LineState {
    rule: Rule,
    /// Method, path and query of each request.
    requests: Vec<String>,
    held: usize,
    is_open: bool,
}

impl Line {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state =
            LineState { rule: Box::new(|_| Fate::Passes), requests: Vec::new(), held: 0, is_open: false };
        let state = Arc::new((Mutex::new(state), Condvar::new()));
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = shared.clone();
                // Client or server may close the connection at any time.
                thread::spawn(move || pass(stream.unwrap(), &state).ok());
            }
        });
        Line { url, state }
    }

    /// Sets the rule for the requests to come and forgets those before.
    fn set(&self, rule: impl FnMut(&str) -> Fate + Send + 'static) {
        let mut state = self.state.0.lock().unwrap();
        (state.rule, state.is_open, state.held) = (Box::new(rule), false, 0);
        state.requests.clear();
    }

    fn requests(&self) -> Vec<String> {
        self.state.0.lock().unwrap().requests.clone()
    }

    /// Returns whether a request tried to write.
    fn has_writes(&self) -> bool {
        self.requests().iter().any(|request| !request.starts_with("GET ") && !request.starts_with("HEAD "))
    }

    fn wait_for_held(&self) {
        let (state, changed) = &*self.state;
        let none = |state: &mut LineState| state.held == 0;
        let waited =
            changed.wait_timeout_while(state.lock().unwrap(), Duration::from_secs(20), none).unwrap();
        assert!(waited.0.held > 0, "nothing to hold: {:?}", waited.0.requests);
    }

    fn let_go(&self) {
        self.state.0.lock().unwrap().is_open = true;
        self.state.1.notify_all();
    }
}

/// Passes on the one request of a connection.
fn pass(client: TcpStream, (state, changed): &(Mutex<LineState>, Condvar)) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = read_head(&mut reader)?;
    let Some(first) = head.first().cloned() else { return Ok(()) };
    let request = first.trim_end_matches(" HTTP/1.1").to_owned();
    let fate = {
        let mut state = state.lock().unwrap();
        state.requests.push(request.clone());
        (state.rule)(&request)
    };
    let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    let mut client = client;
    match fate {
        Fate::UploadCut(most) => return reader.read_exact(&mut body[..most.min(length)]),
        _ => reader.read_exact(&mut body)?,
    }
    if let Fate::Busy = fate {
        return client.write_all(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    if let Fate::Held = fate {
        let mut state = state.lock().unwrap();
        state.held += 1;
        changed.notify_all();
        drop(changed.wait_while(state, |state| !state.is_open).unwrap());
    }
    let mut server = TcpStream::connect(("127.0.0.1", Server::get().port))?;
    head.retain(|line| !line.to_lowercase().starts_with("connection:"));
    server.write_all(format!("{}\r\nConnection: close\r\n\r\n", head.join("\r\n")).as_bytes())?;
    server.write_all(&body)?;
    let mut reader = BufReader::new(server);
    let head = read_head(&mut reader)?;
    client.write_all(format!("{}\r\n\r\n", head.join("\r\n")).as_bytes())?;
    let mut answer = Vec::new();
    reader.read_to_end(&mut answer)?;
    match fate {
        Fate::AnswerCut(most) => answer.truncate(most),
        Fate::Slow => {
            let rest = answer.split_off(answer.len() / 2);
            client.write_all(&answer)?;
            thread::sleep(Duration::from_secs(1));
            answer = rest;
        }
        _ => {}
    }
    client.write_all(&answer)
}

fn read_head(reader: &mut impl BufRead) -> std::io::Result<Vec<String>> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            return Ok(head);
        }
        head.push(line.trim_end().to_owned());
    }
}

fn header(head: &[String], name: &str) -> Option<String> {
    head.iter().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

/// A bucket, the proxy before it, and a folder for files of this machine.
struct Bucket {
    name: String,
    line: Line,
    playground: Playground,
}

impl Bucket {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("bucket-{}", NUMBER.fetch_add(1, Relaxed));
        Server::get().ask(&json!(["bucket", name]));
        Bucket { name, line: Line::start(), playground: Playground::new() }
    }

    fn url(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.name)
    }

    fn ask(&self, name: &str, arguments: &[&str]) -> Value {
        let mut command = vec![name, self.name.as_str()];
        command.extend(arguments);
        Server::get().ask(&json!(command))
    }

    fn put(&self, key: &str, content: impl AsRef<[u8]>) {
        self.playground.write("put", content);
        self.ask("put", &[key, self.playground.path("put").to_str().unwrap()]);
    }

    fn put_tree(&self, prefix: &str, folder: &Path) {
        self.ask("put_tree", &[prefix, folder.to_str().unwrap()]);
    }

    /// Downloads an object. Returns the path of the copy.
    fn get(&self, key: &str) -> std::path::PathBuf {
        let path = self.playground.path("got");
        self.ask("get", &[key, path.to_str().unwrap()]);
        path
    }

    fn etag(&self, key: &str) -> String {
        self.ask("etag", &[key]).as_str().unwrap().to_owned()
    }

    fn uploads(&self) -> u64 {
        self.ask("uploads", &[]).as_u64().unwrap()
    }

    /// Returns `build` with the key that may write and a cache in the playground.
    fn command(&self, arguments: &[&str]) -> Command {
        self.command_of("build", arguments)
    }

    fn command_of(&self, name: &str, arguments: &[&str]) -> Command {
        let (key, secret) = &Server::get().keys[0];
        let mut command = self.playground.command(&[&[name], arguments].concat());
        command.args(["--endpoint", &self.line.url]);
        command.env("AWS_ACCESS_KEY_ID", key).env("AWS_SECRET_ACCESS_KEY", secret);
        command.env("XDG_CACHE_HOME", self.playground.path("cache"));
        command
    }

    fn build(&self, arguments: &[&str]) -> Ran {
        self.playground.output(&mut self.command(arguments), "")
    }

    fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Removes the cache, so that the next run is like one on another machine.
    fn forget(&self) {
        fs::remove_dir_all(self.playground.path("cache")).unwrap();
    }

    /// Asserts that an object has the bytes of a local build from scratch.
    #[track_caller]
    fn expect_rows_of(&self, key: &str, input: &str, more: &[&str]) {
        self.playground.run_anew(&[&["build", input, "-o", "out.parquet"], more].concat()).expect(0);
        let (there, here) =
            (fs::read(self.get(key)).unwrap(), fs::read(self.playground.path("out.parquet")).unwrap());
        assert!(there == here, "other rows than {:?}", ids_and_texts(&self.playground.path("out.parquet")));
    }
}

/// Waits for the end of a run and asserts its exit code, `None` if a signal ended it.
#[track_caller]
fn ended(child: Child, code: Option<i32>) -> Ran {
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), code, "{stderr}");
    Ran { code, stdout: String::new(), story: stderr.clone(), stderr }
}

/// Returns JSON Lines of short texts with 6 MiB beside each, so that an upload has several parts.
fn large(texts: &[&str]) -> String {
    let mut state = 1_u64;
    let mut ballast = || {
        let digit = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b' ' + 1 + u8::try_from(state >> 58).unwrap())
        };
        (0..6 << 20).map(digit).collect::<String>().replace('"', "x").replace('\\', "y")
    };
    let line =
        |(id, text): (usize, &&str)| json!({"id": id, "text": text, "more": ballast()}).to_string() + "\n";
    texts.iter().enumerate().map(line).collect()
}

const KEEP: [&str; 2] = ["--keep", "more"];

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_tree_in_a_bucket_gives_the_rows_of_the_same_tree_on_disk() {
    let bucket = Bucket::new();
    let playground = &bucket.playground;
    let copied =
        Command::new("cp").arg("-r").arg(repository("fixtures/corpus")).arg(playground.path("tree")).status();
    assert!(copied.unwrap().success());
    for (name, text) in [
        ("a.txt", "behind the folder of its name"),
        ("a/b.txt", "before it"),
        ("a-b/c d&e+f%20.txt", "signs"),
        (".hidden/one.txt", "hidden"),
        (".hidden/two/three.txt", "hidden"),
        ("drafts/x.txt", "a draft"),
        ("drafts/y.txt", "a draft"),
        ("z/drafts/x.txt", "a draft"),
        ("z/left.bin", "of another kind"),
        (".qwen3ignore", "drafts/\n"),
        (".gitignore", "/out/\n"),
        ("out/x.txt", "made by a program"),
        ("a-b/.ignore", "no.txt\n"),
        ("a-b/.qwen3ignore", "!/yes/no.txt\n"),
        ("a-b/in/no.txt", "excluded"),
        ("a-b/yes/no.txt", "taken back"),
        ("packed.parquet.gz", "of another kind"),
        ("empty.txt", ""),
    ] {
        playground.write(&format!("tree/{name}"), text);
    }
    bucket.put_tree("docs/", &playground.path("tree"));
    // Some programs mark folders with such empty objects.
    for key in ["docs/", "docs/a/", "docs/z/drafts/"] {
        bucket.put(key, "");
    }
    let url = bucket.url("docs");
    for more in [&[][..], &["--hidden"], &["--include", "*.txt", "--exclude", "/zh"], &["--keep", "title"]] {
        let there = bucket.build(&[&[url.as_str(), "-o", "there.parquet", "-vv"], more].concat()).expect(0);
        let here =
            playground.run_anew(&[&["build", "tree", "-o", "out.parquet", "-vv"], more].concat()).expect(0);
        let skipped = |ran: &Ran, root: &str| -> Vec<String> {
            let lines = ran.stderr.lines().filter_map(|line| line.strip_prefix("qwen3-index: trace: "));
            let names = lines.filter_map(|line| Some(line.strip_prefix(root)?.split_once(": skipped: ")?.0));
            names.map(str::to_owned).collect()
        };
        let (in_bucket, on_disk) = (skipped(&there, &format!("{url}/")), skipped(&here, "tree/"));
        assert_eq!(in_bucket, on_disk, "{}{}", there.story, here.story);
        assert!(on_disk.contains(&"z/drafts".to_owned()) || more.contains(&"--include"), "{}", here.story);
        let summary =
            |ran: &Ran| ran.stderr.lines().find(|line| line.contains(" documents: ")).map(str::to_owned);
        assert_eq!(summary(&there), summary(&here), "{}{}", there.story, here.story);
        assert!(summary(&there).is_some());
        let read = |name| fs::read(playground.path(name)).unwrap();
        assert!(
            read("there.parquet") == read("out.parquet"),
            "{more:?}: {:?}",
            ids_and_texts(&playground.path("there.parquet"))
        );
        fs::remove_file(playground.path("there.parquet")).unwrap();
    }
    let pages =
        bucket.line.requests().iter().filter(|request| request.contains("continuation-token")).count();
    assert!(pages > 10, "{pages} pages");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn with_several_roots_an_id_begins_with_the_url() {
    let bucket = Bucket::new();
    bucket.put("docs/a.txt", "one");
    bucket.put("docs/b/c.jsonl", jsonl(["two"]));
    bucket.put("docs/b/d.jsonl", "{\"text\": \"three\"}\n{nothing\n");
    let (folder, file) = (bucket.url("docs/b/"), bucket.url("docs/a.txt"));
    bucket.build(&[&file, "-o", "one.parquet"]).expect(0);
    assert_eq!(ids_and_texts(&bucket.playground.path("one.parquet")), [("a.txt".into(), "one".into())]);
    let failed = format!("failed: {}:2: not a JSON object", bucket.url("docs/b/d.jsonl"));
    bucket.build(&[&file, &folder, "-o", "out.parquet"]).expect(3).says(&failed);
    // `read` takes the same inputs.
    let read =
        bucket.command_of("read", &[&file, &folder]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn();
    ended(read.unwrap(), Some(3)).says(&failed);
    let ids: Vec<String> =
        rows(&bucket.playground.path("out.parquet")).into_iter().map(|row| row.id).collect();
    assert_eq!(ids, [file, "0".to_owned(), format!("{}:1", bucket.url("docs/b/d.jsonl"))]);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_night_embeds_and_uploads_only_changes() {
    let bucket = Bucket::new();
    let (playground, docs, out) = (&bucket.playground, bucket.url("docs"), bucket.url("index/out.parquet"));
    let (delta, report) = (bucket.url("index/delta.parquet"), bucket.url("index/report.json"));
    for (name, text) in [("a.md", "One."), ("b.md", "Two."), ("c.md", "Three.")] {
        playground.write(&format!("docs/{name}"), text);
    }
    bucket.put_tree("docs/", &playground.path("docs"));
    let night = [docs.as_str(), "-o", &out, "--delta", &delta, "--report", &report];
    bucket.build(&night).expect(0).says("3 embedded");
    bucket.expect_rows_of("index/out.parquet", "docs", &[]);
    assert_eq!(rows(&bucket.get("index/delta.parquet")).len(), 3);
    let told: Value = serde_json::from_slice(&fs::read(bucket.get("index/report.json")).unwrap()).unwrap();
    assert_eq!((&told["output"], &told["rows"]["total"]), (&json!(out), &json!(3)));

    // Nothing changed: only the documents are downloaded, nothing is uploaded, and no model is loaded.
    let etag = bucket.etag("index/out.parquet");
    bucket.line.set(|_| Fate::Passes);
    let ran = bucket.build(&[&docs, "-o", &out, "-v"]).expect(0);
    ran.says("3 reused")
        .says("3 rows, as before")
        .says("is a copy of the object, so it is not downloaded again");
    assert!(!ran.stderr.contains("qwen3-index: model "), "{}", ran.story);
    assert!(!bucket.line.has_writes(), "{:?}", bucket.line.requests());
    let gets = |line: &Line| {
        line.requests()
            .iter()
            .filter(|request| request.contains("GET /") && request.contains(".parquet"))
            .count()
    };
    assert_eq!(
        gets(&bucket.line),
        1,
        "not only its first bytes were requested: {:?}",
        bucket.line.requests()
    );
    assert_eq!(bucket.etag("index/out.parquet"), etag);

    // One document changes; then another changes, and the cache is empty.
    playground.write("docs/b.md", "Two and a half.");
    bucket.put_tree("docs/", &playground.path("docs"));
    bucket.build(&night).expect(0).says("1 embedded, 2 reused");
    bucket.expect_rows_of("index/out.parquet", "docs", &[]);
    assert_eq!(rows(&bucket.get("index/delta.parquet")).len(), 1);
    playground.write("docs/c.md", "Three and a half.");
    bucket.put_tree("docs/", &playground.path("docs"));
    bucket.forget();
    bucket.build(&night).expect(0).says("1 embedded, 2 reused");
    bucket.expect_rows_of("index/out.parquet", "docs", &[]);

    // A dry run keeps the note of a killed run, which stands in the lock file beside the local copy.
    let mut folders = vec![playground.path("cache")];
    let mut lock = None;
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name == "out.parquet") {
                lock = Some(path.with_file_name(".out.parquet.lock"));
            }
        }
    }
    let lock = lock.unwrap();
    fs::write(&lock, "process 1, since long ago\nnote\n").unwrap();
    bucket.build(&[&docs, "-o", &out, "--dry-run"]).expect(0);
    assert!(fs::read_to_string(&lock).unwrap().ends_with("\nnote\n"));

    // A dry run without a cache writes nothing to the store. A deleted output is built again.
    bucket.line.set(|_| Fate::Passes);
    bucket.forget();
    let ran = bucket.build(&[&docs, "-o", &out, "--dry-run"]).expect(0);
    assert!(ran.stdout.contains("3 reused") && !bucket.line.has_writes(), "{}", ran.story);
    bucket.ask("delete", &["index/out.parquet"]);
    bucket.build(&[&docs, "-o", &out]).expect(0).says("3 embedded");
    bucket.expect_rows_of("index/out.parquet", "docs", &[]);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_document_that_cannot_be_read_is_named_by_its_url() {
    let bucket = Bucket::new();
    let (docs, out) = (bucket.url("docs/"), bucket.url("out.parquet"));
    bucket.put("docs/a.txt", "One.");
    bucket.put("docs/b.txt", "Two.");
    bucket.build(&[&docs, "-o", &out]).expect(0);
    bucket.line.set({
        let name = bucket.name.clone();
        move |request| {
            if request.starts_with(&format!("GET /{name}/docs/b.txt")) {
                Server::get().ask(&json!(["delete", name, "docs/b.txt"]));
            }
            Fate::Passes
        }
    });
    let ran = bucket.build(&[&docs, "-o", &out]).expect(3);
    ran.says(&format!("failed: {docs}b.txt: does not exist")).says("stale: b.txt");
    assert_eq!(rows(&bucket.get("out.parquet")).len(), 2);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_build_survives_cut_connections_and_answers_of_503() {
    let bucket = Bucket::new();
    let texts = ["One.", "Two.", "Three."];
    let lines = large(&texts);
    bucket.playground.write("docs.jsonl", &lines);
    bucket.put("docs.jsonl", &lines);
    let (docs, out) = (bucket.url("docs.jsonl"), bucket.url("out.parquet"));
    let build = [&[docs.as_str(), "-o", &out], &KEEP[..]].concat();

    // The first attempt at each block of the input and each part of the output is cut; the server is busy for three seconds.
    let mut seen = std::collections::HashSet::new();
    let busy_until = Instant::now() + Duration::from_secs(3);
    bucket.line.set(move |request| match seen.insert(request.to_owned()) {
        true if request.starts_with("GET ") && request.contains("docs.jsonl") => Fate::AnswerCut(3 << 20),
        true if request.contains("partNumber=") => Fate::UploadCut(2 << 20),
        true if request.contains("POST ") || request.contains("list-type") => Fate::AnswerCut(10),
        _ if Instant::now() < busy_until => Fate::Busy,
        _ => Fate::Passes,
    });
    let ran = bucket.build(&build).expect(0);
    ran.says("answered 503 Service Unavailable; retrying for up to ").says("3 embedded");
    let parts = bucket.line.requests().iter().filter(|request| request.contains("partNumber=")).count();
    assert!(parts >= 4, "{:?}", bucket.line.requests());
    bucket.expect_rows_of("out.parquet", "docs.jsonl", &KEEP);
    // One upload is left: the answer with its id was cut, so the tool cannot end it. It has no parts.
    assert_eq!(bucket.uploads(), 1);

    // The download of the old output is cut in the middle too.
    bucket.forget();
    let mut cuts = 3;
    bucket.line.set(move |request| match cuts {
        1.. if request.starts_with("GET ") && request.contains("out.parquet") => {
            cuts -= 1;
            Fate::AnswerCut(5 << 20)
        }
        _ => Fate::Slow,
    });
    bucket.build(&build).expect(0).says("3 reused").says("as before");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn rows_of_an_object_that_changes_while_it_is_read_are_not_mixed() {
    let bucket = Bucket::new();
    let (one, other) = (large(&["One.", "Two.", "Three."]), large(&["Four.", "Five.", "Six."]));
    bucket.put("docs.jsonl", one);
    bucket.playground.write("other", other);
    let mut count = 0;
    let (name, path) = (bucket.name.clone(), bucket.playground.path("other"));
    bucket.line.set(move |request| {
        count += usize::from(request.starts_with("GET "));
        if count == 2 {
            Server::get().ask(&json!(["put", name, "docs.jsonl", path]));
        }
        Fate::Passes
    });
    let ran = bucket.build(&[&bucket.url("docs.jsonl"), "-o", "out.parquet"]).expect(3);
    ran.says(
        "another program wrote or removed the object during this run (the rest of the file is not read); run again",
    );
    let texts = ids_and_texts(&bucket.playground.path("out.parquet"));
    assert_eq!(texts, [("0".to_owned(), "One.".to_owned())]);
}

/// Starts a build and waits until the proxy holds a request that contains this text.
fn held(bucket: &Bucket, at: &'static str) -> Child {
    let (docs, out) = (bucket.url("docs.jsonl"), bucket.url("out.parquet"));
    bucket.line.set(move |request| if request.contains(at) { Fate::Held } else { Fate::Passes });
    let child = bucket.start(&[&[docs.as_str(), "-o", &out], &KEEP[..]].concat());
    bucket.line.wait_for_held();
    child
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_run_that_is_killed_during_an_upload_leaves_the_old_object() {
    let bucket = Bucket::new();
    let (docs, out) = (bucket.url("docs.jsonl"), bucket.url("out.parquet"));
    let build = [&[docs.as_str(), "-o", &out], &KEEP[..]].concat();
    bucket.put("docs.jsonl", jsonl(["Of old."]));
    bucket.build(&[&docs, "-o", &out]).expect(0);
    let lines = large(&["One.", "Two.", "Three."]);
    bucket.playground.write("docs.jsonl", &lines);
    bucket.put("docs.jsonl", &lines);
    let etag = bucket.etag("out.parquet");
    for (signal, code) in [(Signal::KILL, None), (Signal::INT, Some(130))] {
        let child = held(&bucket, "partNumber=2");
        kill_process(Pid::from_child(&child), signal).unwrap();
        let ran = ended(child, code);
        bucket.line.let_go();
        assert_eq!(bucket.etag("out.parquet"), etag, "{}", ran.story);
        assert_eq!(rows(&bucket.get("out.parquet")).len(), 1);
        // An interrupted run aborts its upload; a killed run leaves that to the next run.
        assert_eq!(bucket.uploads(), u64::from(signal == Signal::KILL), "{}", ran.story);
        bucket.line.set(|_| Fate::Passes);
    }
    let ran = bucket.build(&build).expect(0);
    ran.says("resuming with its 3 vectors").says("0 embedded, 3 reused");
    bucket.expect_rows_of("out.parquet", "docs.jsonl", &KEEP);
    assert_eq!(bucket.uploads(), 0);
    bucket.build(&build).expect(0).says("as before");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_run_can_be_interrupted_while_the_store_does_not_answer() {
    let bucket = Bucket::new();
    let (docs, out) = (bucket.url("docs.jsonl"), bucket.url("out.parquet"));
    bucket.put("docs.jsonl", jsonl(["One."]));
    bucket.build(&[&docs, "-o", &out]).expect(0);
    bucket.put("docs.jsonl", jsonl(["Two."]));
    // The proxy holds the second request for the old output, after its first bytes, then the first request for documents.
    for (object, number) in [("out.parquet", 2), ("docs.jsonl", 1)] {
        bucket.forget();
        let mut gets = 0;
        bucket.line.set(move |request| {
            gets += usize::from(request.starts_with("GET ") && request.contains(object));
            if gets == number { Fate::Held } else { Fate::Passes }
        });
        let child = bucket.start(&[&docs, "-o", &out, "--report", "report.json"]);
        bucket.line.wait_for_held();
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let ran = ended(child, Some(130));
        bucket.line.let_go();
        // A run that does not react to the signal is ended without a report.
        assert!(bucket.playground.path("report.json").is_file(), "{object}: {}", ran.story);
        fs::remove_file(bucket.playground.path("report.json")).unwrap();
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_full_disk_is_reported_with_the_file_in_the_cache() {
    let bucket = Bucket::new();
    let (docs, out) = (bucket.url("docs.jsonl"), bucket.url("out.parquet"));
    bucket.put("docs.jsonl", jsonl(["One."]));
    let command = bucket.command(&[&docs, "-o", &out]);
    let ran = bucket.playground.output(&mut limited(1, &command), "").expect(1);
    let cache = bucket.playground.path("cache");
    ran.says(&format!("output {out}: {}/", cache.display())).says("out.parquet: cannot be written: ");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn the_slower_of_two_writers_fails_and_does_not_overwrite() {
    let bucket = Bucket::new();
    let (docs, out) = (bucket.url("docs.jsonl"), bucket.url("out.parquet"));
    let other = Bucket { name: bucket.name.clone(), line: Line::start(), playground: Playground::new() };
    // In one request; in parts, to a new object; in parts, over an object.
    let (once, twice) = (large(&["One.", "Two.", "Three."]), large(&["Four.", "Five.", "Six."]));
    for (lines, at) in [(jsonl(["One."]), "PUT "), (once, "out.parquet?uploadId="), (twice, "partNumber=2")] {
        bucket.put("docs.jsonl", &lines);
        let child = held(&bucket, at);
        // On the same machine, the lock stops the second run at once.
        let ran = bucket.build(&[&docs, "-o", &out]).expect(4);
        ran.says(&format!("output {out}: another run holds it"));
        other.put("docs2.jsonl", jsonl([at]));
        other.build(&[&bucket.url("docs2.jsonl"), "-o", &out, "--allow-shrink"]).expect(0);
        let etag = bucket.etag("out.parquet");
        bucket.line.let_go();
        let ran = ended(child, Some(1));
        ran.says(&format!(
            "error: {out}: another program wrote or removed the object during this run; run again"
        ));
        assert_eq!((bucket.etag("out.parquet"), bucket.uploads()), (etag, 0), "{at}: {}", ran.story);
        bucket.line.set(|_| Fate::Passes);
        let again = [&[docs.as_str(), "-o", &out], &KEEP[..]].concat();
        bucket.build(&again).expect(0).says("0 embedded").says("resuming with its");
        if lines.len() < 1000 {
            bucket.ask("delete", &["out.parquet"]);
        }
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn each_error_of_the_store_is_one_line() {
    let bucket = Bucket::new();
    bucket.put("docs/a.txt", "One.");
    bucket.put("docs/b.bin", "no document");
    bucket.put("notes.txt", "no index");
    let (docs, out) = (bucket.url("docs"), bucket.url("out.parquet"));
    let wrong = |with: &dyn Fn(&mut Command), arguments: &[&str], code: i32, says: &str| {
        let mut command = bucket.command(arguments);
        with(&mut command);
        let started = Instant::now();
        let ran = bucket.playground.output(&mut command, "").expect(code);
        ran.says(says);
        let errors = ran.stderr.lines().filter(|line| line.contains("error: ")).count();
        assert!(
            errors == 1 && !ran.stderr.contains("<?xml") && started.elapsed() < Duration::from_secs(5),
            "{}",
            ran.story
        );
    };
    let nothing = |_: &mut Command| {};
    let wrong_key = |command: &mut Command| {
        command.env("AWS_SECRET_ACCESS_KEY", "another");
    };
    let reader = |command: &mut Command| {
        let (key, secret) = &Server::get().keys[1];
        command.env("AWS_ACCESS_KEY_ID", key).env("AWS_SECRET_ACCESS_KEY", secret);
    };
    let no_such = "the bucket does not exist; check its name, its region and --endpoint";
    wrong(
        &nothing,
        &["s3://no-such-bucket/docs", "-o", "out.parquet"],
        1,
        &format!("s3://no-such-bucket/docs: {no_such}"),
    );
    wrong(&nothing, &[&docs, "-o", "s3://no-such-bucket/out.parquet"], 1, no_such);
    let denied = format!(
        "{docs}: access denied (SignatureDoesNotMatch); check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
    );
    wrong(&wrong_key, &[&docs, "-o", "out.parquet"], 1, &denied);
    wrong(
        &reader,
        &[&docs, "-o", &out],
        1,
        &format!("{out}: access denied (AccessDenied); check AWS_ACCESS_KEY_ID"),
    );
    wrong(
        &nothing,
        &[&bucket.url("nothing"), "-o", "out.parquet"],
        1,
        "nothing: nothing is found there; check that it exists",
    );
    wrong(&nothing, &[&bucket.url("docs/b.bin"), "-o", "out.parquet"], 2, "unknown format; give a folder");
    wrong(&nothing, &[&docs, "-o", &bucket.url("more/")], 2, "is a folder; name an object in it");
    wrong(
        &nothing,
        &[&docs, "-o", &bucket.url("notes.txt")],
        1,
        "notes.txt: is not a Parquet file and would be lost",
    );
    wrong(&nothing, &[&docs, "-o", &docs], 2, "is also the output; name another file with -o");
    wrong(&nothing, &["s3://b//docs", "-o", "out.parquet"], 2, "is not a valid URL of an object");
    // An empty prefix is treated like an empty folder.
    bucket.build(&[&docs, "-o", &out]).expect(0);
    wrong(
        &nothing,
        &[&bucket.url("nothing/"), "-o", &out],
        1,
        "contains no documents, but the old output does",
    );
    bucket.build(&[&bucket.url("nothing"), &docs, "-o", &out, "--allow-empty"]).expect(0);

    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let bucket = Bucket { line: Line { url: format!("http://{free}"), ..Line::start() }, ..bucket };
    let started = Instant::now();
    let ran = bucket.build(&[&docs, "-o", "out.parquet"]).expect(1);
    ran.says(&format!(
        "error: {docs}: {free}: Connection refused (os error 111); check the network, --endpoint"
    ));
    assert!(started.elapsed() < Duration::from_secs(5), "{}", ran.story);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn the_commands_of_the_page_on_objects_work() {
    let bucket = Bucket::new();
    let playground = &bucket.playground;
    bucket.put("docs/a.md", "One.");
    bucket.put("docs/crawl.jsonl", jsonl(["Two."]));
    playground.write("notes/b.txt", "Three.");
    let page = fs::read_to_string(repository("docs/objects.md")).unwrap();
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let script: String = blocks.collect();
    assert_eq!(script.matches("qwen3-index build ").count(), 3, "{script}");
    let script = script.replace("my-bucket", &bucket.name).replace("http://localhost:9000", &bucket.line.url);
    let program = Path::new(env!("CARGO_BIN_EXE_qwen3-index")).parent().unwrap();
    let command = bucket.command(&[]);
    let mut bash = Command::new("bash");
    bash.args(["-euc", &format!("PATH={}:$PATH\n{script}", program.display())])
        .current_dir(command.get_current_dir().unwrap());
    bash.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    bash.env("AWS_ENDPOINT_URL", &bucket.line.url);
    playground.output(&mut bash, "").expect(0);
    assert_eq!(rows(&bucket.get("index/vectors.parquet")).len(), 2);
    assert_eq!(rows(&playground.path("vectors.parquet")).len(), 2);
}
