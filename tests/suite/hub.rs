//! Models by name, from the cache or from a hub: a small server on this machine whose behaviour each test sets.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sha1::{Digest, Sha1};
use sha2::Sha256;

use crate::screen::screen;
use crate::util::{self, Playground, Ran, jsonl, repository};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_secret";

/// How the server behaves.
#[derive(Clone, Copy, Default, PartialEq)]
pub enum Behavior {
    #[default]
    Good,
    /// Closes each connection after this many bytes of a file.
    CutOff(usize),
    /// Pauses before each block of a file.
    Slow(Duration),
    /// Denies access without the token.
    Private,
    /// Answers each request with 429 twice; `Retry-After` has these seconds.
    Busy(u64),
    /// Sends large files with a wrong byte.
    Wrong,
    /// Ignores the header `Range` and sends the whole file.
    NoRanges,
    /// Sends half of the list of files, twice.
    HalfList,
    /// Sends the list of files, but not the data of a file.
    Stalled,
    /// Answers 429 once to the second file, and wants a second of patience.
    BusyAtTokenizer,
}

pub struct HubServer {
    url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    behavior: Behavior,
    /// Content by path in the repository.
    files: HashMap<String, Vec<u8>>,
    /// Every request as "METHOD PATH START", without START for a whole file.
    requests: Vec<String>,
    /// Number of requests by method and path.
    times: HashMap<String, u32>,
}

impl HubServer {
    /// Serves the repository `small/model` with these files.
    pub fn start(files: HashMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { files, ..State::default() }));
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = shared.clone();
                thread::spawn(move || serve(stream.unwrap(), &state));
            }
        });
        HubServer { url, state }
    }

    pub fn with_tiny_model() -> Self {
        let mut files = HashMap::new();
        for name in [
            "config.json",
            "tokenizer.json",
            "1_Pooling/config.json",
            "onnx/model.onnx",
            "onnx/model_external.onnx",
        ] {
            files.insert(name.to_owned(), fs::read(repository("fixtures/qwen3-tiny").join(name)).unwrap());
        }
        let data = fs::read(repository("fixtures/qwen3-tiny/onnx/model_external.onnx_data")).unwrap();
        files.insert("onnx/model_external.onnx_data".to_owned(), data);
        files.insert("README.md".to_owned(), b"not wanted".to_vec());
        HubServer::start(files)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn set(&self, behavior: Behavior) {
        let mut state = self.state.lock().unwrap();
        state.behavior = behavior;
        state.requests.clear();
        state.times.clear();
    }

    pub fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }

    pub fn downloads(&self) -> usize {
        self.requests().iter().filter(|request| request.starts_with("GET /small")).count()
    }
}

/// Answers one request per connection.
fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    let mut head = Vec::new();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if line == "\r\n" {
            break;
        }
        head.push(line.trim().to_owned());
    }
    let header = |name: &str| {
        head.iter().find_map(|line| {
            line.to_lowercase().strip_prefix(name).map(|_| line[name.len()..].trim().to_owned())
        })
    };
    let (method, path) = head[0].rsplit_once(' ').unwrap().0.split_once(' ').unwrap();
    let range =
        header("range:").map(|range| range.trim_start_matches("bytes=").trim_end_matches('-').to_owned());
    let (answer, behavior) = {
        let mut state = state.lock().unwrap();
        state
            .requests
            .push(format!("{method} {path} {}", range.clone().unwrap_or_default()).trim().to_owned());
        let times =
            state.times.entry(format!("{method} {path}")).and_modify(|times| *times += 1).or_insert(1);
        let (host, key, times) = (header("host:").unwrap(), header("authorization:"), *times);
        (answer(&state, &Request { path, host, range, key, times }), state.behavior)
    };
    let (status, headers, body) = answer;
    let _ = write!(stream, "HTTP/1.1 {status}\r\n{headers}Connection: close\r\n\r\n");
    if method == "HEAD" {
        return;
    }
    if behavior == Behavior::Stalled && path.contains("onnx") {
        thread::sleep(Duration::from_secs(60));
    }
    let mut rest = body.as_slice();
    if let Behavior::CutOff(most) = behavior
        && !path.starts_with("/api/")
    {
        rest = &rest[..rest.len().min(most)];
    }
    for block in rest.chunks(64 << 10) {
        if let Behavior::Slow(pause) = behavior {
            thread::sleep(pause);
        }
        if stream.write_all(block).is_err() {
            return;
        }
    }
}

type Answer = (&'static str, String, Vec<u8>);

struct Request<'a> {
    path: &'a str,
    host: String,
    range: Option<String>,
    key: Option<String>,
    /// How many times this method and path were requested, this time included.
    times: u32,
}

fn answer(state: &State, request: &Request) -> Answer {
    let Request { path, host, .. } = request;
    if path.contains("/old/model") || path.contains("/models/old/") {
        let place = path.replacen("old/model", "small/model", 1);
        return ("307 Temporary Redirect", format!("Location: {place}\r\nContent-Length: 0\r\n"), Vec::new());
    }
    let is_elsewhere = path.starts_with("/elsewhere/");
    let error = |status| (status, "Content-Length: 0\r\n".to_owned(), Vec::new());
    match state.behavior {
        Behavior::Private if !is_elsewhere && request.key != Some(format!("Bearer {TOKEN}")) => {
            return error("401 Unauthorized");
        }
        Behavior::Busy(seconds) if request.times <= 2 => return busy(seconds),
        Behavior::BusyAtTokenizer if request.times == 1 && path.ends_with("tokenizer.json") => {
            return busy(1);
        }
        _ => {}
    }
    if *path == "/api/models/small/model/revision/main" || path.ends_with(&format!("/revision/{COMMIT}")) {
        let files: Vec<_> = state.files.keys().map(|name| serde_json::json!({"rfilename": name})).collect();
        let mut body = serde_json::json!({"sha": COMMIT, "siblings": files}).to_string();
        if state.behavior == Behavior::HalfList && request.times <= 2 {
            // The first time, the length of the response shows that half of it is missing.
            let length = if request.times == 1 { body.len() } else { body.len() / 2 };
            body.truncate(body.len() / 2);
            return ("200 OK", format!("Content-Length: {length}\r\n"), body.into_bytes());
        }
        return ("200 OK", format!("Content-Length: {}\r\n", body.len()), body.into_bytes());
    }
    let name = path.strip_prefix("/small/model/resolve/").or_else(|| path.strip_prefix("/elsewhere/"));
    let name = name.and_then(|path| path.split_once('/'));
    let name = name.filter(|(revision, _)| ["main", COMMIT].contains(revision)).map(|(_, name)| name);
    let Some(file) = name.and_then(|name| state.files.get(name)) else { return error("404 Not Found") };
    let is_large = name.is_some_and(|name| name.contains("onnx") || name.contains("safetensors"));
    let etag = if is_large {
        hex(&Sha256::digest(file))
    } else {
        hex(&Sha1::digest([format!("blob {}\0", file.len()).as_bytes(), file].concat()))
    };
    // As on the real hub, another path serves the large files.
    if is_large && !is_elsewhere {
        let size = file.len();
        let place = format!("http://{host}/elsewhere/{COMMIT}/{}", name.unwrap_or_default());
        let headers = format!(
            "Location: {place}\r\nX-Repo-Commit: {COMMIT}\r\nETag: \"other\"\r\nX-Linked-ETag: \"{etag}\"\r\nX-Linked-Size: {size}\r\nContent-Length: 0\r\n"
        );
        return ("302 Found", headers, Vec::new());
    }
    let mut body = file.clone();
    if state.behavior == Behavior::Wrong && is_large {
        body[0] ^= 1;
    }
    let range = request.range.as_deref();
    let start =
        range.filter(|_| state.behavior != Behavior::NoRanges).map_or(0, |range| range.parse().unwrap());
    let rest = body.split_off(start);
    let status = if start > 0 { "206 Partial Content" } else { "200 OK" };
    (
        status,
        format!("ETag: \"{etag}\"\r\nX-Repo-Commit: {COMMIT}\r\nContent-Length: {}\r\n", rest.len()),
        rest,
    )
}

fn busy(seconds: u64) -> Answer {
    let headers = format!("Retry-After: {seconds}\r\nContent-Length: 0\r\n");
    ("429 Too Many Requests", headers, Vec::new())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns a command of the binary with an empty cache and this hub.
pub fn command(playground: &Playground, hub: &HubServer, arguments: &[&str]) -> Command {
    let mut command = playground.command(arguments);
    command
        .env_remove("QWEN3_INDEX_MODEL")
        .env("HF_HOME", playground.path("hf"))
        .env("HF_ENDPOINT", &hub.url);
    for name in [
        "HF_TOKEN",
        "HF_TOKEN_PATH",
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
        "HF_ASSETS_CACHE",
        "HF_HUB_OFFLINE",
    ] {
        command.env_remove(name);
    }
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command
}

pub fn run(playground: &Playground, hub: &HubServer, arguments: &[&str]) -> Ran {
    playground.output(&mut command(playground, hub, arguments), "")
}

fn snapshot(playground: &Playground) -> PathBuf {
    playground.path(&format!("hf/hub/models--small--model/snapshots/{COMMIT}"))
}

fn assert_whole(playground: &Playground, names: &[&str]) {
    for name in names {
        let (here, there) = (snapshot(playground).join(name), repository("fixtures/qwen3-tiny").join(name));
        assert!(fs::read(here).unwrap() == fs::read(there).unwrap(), "{name}");
    }
    let blobs = fs::read_dir(playground.path("hf/hub/models--small--model/blobs")).unwrap();
    assert!(blobs.map(|blob| blob.unwrap().path()).all(|blob| blob.extension().is_none()));
}

/// A proxy (CONNECT and SOCKS 5) that connects port 80 of every host to the hub and refuses other ports.
struct ProxyServer {
    address: String,
    /// Every host and port that was requested, with the credentials.
    requests: Arc<Mutex<Vec<String>>>,
}

impl ProxyServer {
    fn start(hub: &HubServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (shared, hub) = (requests.clone(), hub.url.trim_start_matches("http://").to_owned());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (requests, hub) = (shared.clone(), hub.clone());
                thread::spawn(move || relay(stream.unwrap(), &hub, &requests));
            }
        });
        ProxyServer { address, requests }
    }

    /// Returns the requests since the last call.
    fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

fn relay(mut stream: TcpStream, hub: &str, requests: &Mutex<Vec<String>>) {
    let mut first = [0; 1];
    stream.read_exact(&mut first).unwrap();
    let request = if first == [5] { read_socks(&mut stream) } else { read_connect(&mut stream) };
    requests.lock().unwrap().push(request.clone());
    if !request.contains(":80") {
        let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
        return;
    }
    let yes: &[u8] = if first == [5] { &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0] } else { b"HTTP/1.1 200 OK\r\n\r\n" };
    stream.write_all(yes).unwrap();
    let (mut from, mut to) = (stream.try_clone().unwrap(), TcpStream::connect(hub).unwrap());
    let mut hub = to.try_clone().unwrap();
    thread::spawn(move || io::copy(&mut from, &mut to));
    let _ = io::copy(&mut hub, &mut stream);
    let _ = stream.shutdown(Shutdown::Both);
}

/// Reads a CONNECT request after its first byte, `C`.
fn read_connect(stream: &mut TcpStream) -> String {
    let head = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
    let head: Vec<String> = head.take_while(|line| !line.is_empty()).collect();
    let place = head[0].strip_prefix("ONNECT ").unwrap().split(' ').next().unwrap();
    let key = head.iter().find_map(|line| line.strip_prefix("Proxy-Authorization: "));
    format!("{place} {}", key.unwrap_or_default()).trim().to_owned()
}

/// Reads a SOCKS 5 request (RFC 1928) with a host name, after the version.
fn read_socks(stream: &mut TcpStream) -> String {
    let read = |mut stream: &TcpStream, length: u8| {
        let mut bytes = vec![0; length.into()];
        stream.read_exact(&mut bytes).unwrap();
        bytes
    };
    let methods = read(stream, 1)[0];
    assert!(read(stream, methods).contains(&0));
    stream.write_all(&[5, 0]).unwrap();
    let head = read(stream, 5);
    assert_eq!(head[..4], [5, 1, 0, 3]);
    let (name, port) = (read(stream, head[4]), read(stream, 2));
    format!("{}:{} by SOCKS", String::from_utf8(name).unwrap(), u16::from_be_bytes([port[0], port[1]]))
}

const BUILD: [&str; 6] = ["build", "in.jsonl", "-o", "out.parquet", "--model", "small/model"];

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_model_is_downloaded_once_by_its_name() {
    let (playground, hub) = (Playground::new(), HubServer::with_tiny_model());
    playground.write("in.jsonl", jsonl(["hello"]));
    let wanted = ["config.json", "tokenizer.json", "1_Pooling/config.json", "onnx/model.onnx"];
    let ran = run(&playground, &hub, &BUILD).expect(0);
    ran.says("downloading onnx/model.onnx, ");
    assert_whole(&playground, &wanted);
    assert_eq!(hub.downloads(), wanted.len(), "only what is needed: {:?}", hub.requests());
    let vectors = util::rows(&playground.path("out.parquet"));
    assert_eq!(vectors, Playground::new().with("in.jsonl", jsonl(["hello"])).build("in.jsonl", &[]));

    // The second run uses the cache: it sends no request, and works offline.
    hub.set(Behavior::Good);
    run(&playground, &hub, &[&BUILD[..], &["--rebuild"]].concat()).expect(0);
    run(&playground, &hub, &[&BUILD[..], &["--rebuild", "--offline", "-q"]].concat()).expect(0);
    assert_eq!(hub.requests(), Vec::<String>::new());
    // Another graph of the same model: only the graph and its data are downloaded.
    let external = ["--model-file", "model_external.onnx", "--rebuild", "-q"];
    let ran = run(&playground, &hub, &[&BUILD[..], &external].concat()).expect(0);
    assert_eq!(ran.stderr, "");
    assert_whole(&playground, &["onnx/model_external.onnx", "onnx/model_external.onnx_data"]);
    assert_eq!(hub.downloads(), 2, "{:?}", hub.requests());

    let path = snapshot(&playground).display().to_string();
    for arguments in [
        &["model", "pull", "small/model"][..],
        &["model", "where", "small/model"],
        &["model", "where", &format!("small/model@{COMMIT}")],
    ] {
        assert_eq!(run(&playground, &hub, arguments).expect(0).stdout.trim(), path);
    }
    let json = |arguments: &[&str]| -> serde_json::Value {
        let ran = run(&playground, &hub, &[arguments, &["--json"]].concat()).expect(0);
        serde_json::from_str(&ran.stdout).unwrap()
    };
    assert_eq!(json(&["model", "where", "small/model"])["folder"], path.as_str());
    let listed = &json(&["model", "list"])[0];
    assert_eq!([&listed["kind"], &listed["id"], &listed["commit"]], ["model", "small/model", COMMIT]);
    let ran = run(&playground, &hub, &["model", "list"]).expect(0);
    assert!(
        ran.stdout.starts_with("small/model@main  ")
            && ran.stdout.contains("onnx/model.onnx, onnx/model_external.onnx"),
        "{}",
        ran.story
    );
}

/// The layers after the pooling have files of their own. Files of other formats stay at the hub.
#[test]
#[ignore = "needs what scripts/test installs"]
fn dense_modules_are_downloaded_with_their_model() {
    let mut files = HashMap::new();
    for name in ["config.json", "tokenizer.json", "1_Pooling/config.json", "onnx/model.onnx"] {
        files.insert(name.to_owned(), fs::read(repository("fixtures/bert-tiny").join(name)).unwrap());
    }
    for name in ["modules.json", "2_Dense/config.json", "2_Dense/model.safetensors"] {
        files.insert(name.to_owned(), fs::read(repository("fixtures/bert-dense").join(name)).unwrap());
    }
    let wanted = files.len();
    files.insert("2_Dense/pytorch_model.bin".to_owned(), b"not wanted".to_vec());
    let (playground, hub) = (Playground::new(), HubServer::start(files));
    playground.write("in.jsonl", jsonl(["hello"]));
    run(&playground, &hub, &BUILD).expect(0);
    assert_eq!(hub.downloads(), wanted, "{:?}", hub.requests());
    assert_eq!(util::rows(&playground.path("out.parquet"))[0].vector.len(), 32);
}

#[test]
fn a_download_resumes_after_network_errors() {
    let hub = HubServer::with_tiny_model();
    let pull = |playground: &Playground| run(playground, &hub, &["model", "pull", "small/model"]);
    for behavior in [
        Behavior::CutOff(150_000),
        Behavior::Busy(0),
        Behavior::Slow(Duration::from_millis(20)),
        Behavior::NoRanges,
    ] {
        hub.set(behavior);
        let playground = Playground::new();
        pull(&playground).expect(0);
        assert_whole(&playground, &["onnx/model.onnx", "tokenizer.json"]);
    }
    // The cache has the start of the file from a killed run, or bytes of another file.
    for (start, requests) in [
        (&fs::read(repository("fixtures/qwen3-tiny/onnx/model.onnx")).unwrap()[..100_000], 1),
        (&[0; 100_000][..], 2),
    ] {
        hub.set(Behavior::Good);
        let playground = Playground::new();
        let etag = hex(&Sha256::digest(fs::read(repository("fixtures/qwen3-tiny/onnx/model.onnx")).unwrap()));
        playground.write(&format!("hf/hub/models--small--model/blobs/{etag}.incomplete"), start);
        pull(&playground).expect(0);
        assert_whole(&playground, &["onnx/model.onnx"]);
        let of_graph: Vec<String> = hub
            .requests()
            .into_iter()
            .filter(|request| request.starts_with("GET /small") && request.contains("model.onnx"))
            .collect();
        assert!(of_graph[0].ends_with(" 100000") && of_graph.len() == requests, "{of_graph:?}");
    }
}

#[test]
fn a_response_that_is_cut_off_is_requested_again() {
    let (playground, hub) = (Playground::new(), HubServer::with_tiny_model());
    hub.set(Behavior::HalfList);
    let ran = run(&playground, &hub, &["model", "pull", "small/model"]).expect(0);
    assert_eq!(ran.stderr.matches("/revision/main: the response is cut off: ").count(), 2, "{}", ran.story);
    assert_whole(&playground, &["onnx/model.onnx", "tokenizer.json"]);
}

/// The run waits for the network, for another program or before a retry when the signal arrives.
#[test]
fn ctrl_c_during_a_download_is_heard_at_once() {
    let hub = HubServer::with_tiny_model();
    for (behavior, last_words) in [
        (Behavior::Stalled, "downloading onnx/model.onnx"),
        (Behavior::Busy(60), "trying again in 60 s"),
        (Behavior::Good, "waiting for another program"),
    ] {
        let playground = Playground::new();
        playground.write("in.jsonl", jsonl(["hello"]));
        hub.set(behavior);
        let lock = playground.path("hf/hub/.locks/models--small--model");
        fs::create_dir_all(&lock).unwrap();
        let config = fs::read(repository("fixtures/qwen3-tiny/config.json")).unwrap();
        let etag = hex(&Sha1::digest([format!("blob {}\0", config.len()).as_bytes(), &config].concat()));
        let other = fs::File::create(lock.join(format!("{etag}.lock"))).unwrap();
        if behavior == Behavior::Good {
            other.lock().unwrap();
        }
        let mut child = command(&playground, &hub, &BUILD).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.contains(last_words)), "{last_words}");
        // The run may not yet wait when it says so.
        thread::sleep(Duration::from_millis(300));
        let started = Instant::now();
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let rest: Vec<String> = lines.collect();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
        assert!(started.elapsed() < Duration::from_secs(2), "{last_words}: {:?}", started.elapsed());
        let message = "qwen3-index: error: interrupted; finished work is kept, and the next run resumes";
        assert_eq!(rest, [message], "{last_words}");
        assert_eq!(playground.listing(), ["hf", "in.jsonl"], "the lock on the output is gone");
    }
}

#[test]
fn no_bar_is_shown_while_a_download_waits() {
    let (playground, hub) = (Playground::new(), HubServer::with_tiny_model());
    for behavior in [Behavior::BusyAtTokenizer, Behavior::HalfList] {
        hub.set(behavior);
        let screen = screen(&mut command(&playground, &hub, &["model", "pull", "small/model"]), 160);
        assert_eq!(screen.code, Some(0), "{}", screen.last());
        let while_waiting = screen.frames.iter().find(|frame| frame.contains("trying again in 1 s")).unwrap();
        assert!(!while_waiting.contains('%'), "{while_waiting}");
        assert!(screen.frames.iter().any(|frame| frame.contains('%')), "{:?}", screen.frames);
        fs::remove_dir_all(playground.path("hf")).unwrap();
    }
}

#[test]
fn two_runs_at_once_do_not_disturb_each_other() {
    let (playground, hub) = (Playground::new(), HubServer::with_tiny_model());
    hub.set(Behavior::Slow(Duration::from_millis(50)));
    let pull = || command(&playground, &hub, &["model", "pull", "small/model"]).output().unwrap();
    let (one, other) = thread::scope(|scope| {
        let one = scope.spawn(pull);
        (pull(), one.join().unwrap())
    });
    assert!(one.status.success() && other.status.success(), "{one:?}\n{other:?}");
    assert_whole(&playground, &["onnx/model.onnx", "tokenizer.json", "config.json"]);
    assert_eq!(hub.downloads(), 4, "each file once: {:?}", hub.requests());
}

#[test]
fn failed_downloads_are_explained_in_one_line() {
    let (playground, hub) = (Playground::new(), HubServer::with_tiny_model());
    let refused = |ran: Ran, says: &[&str]| {
        let ran = ran.expect(1);
        let line = ran.stderr.lines().last().unwrap();
        assert!(says.iter().all(|part| line.contains(part)), "{says:?}{}", ran.story);
        assert!(!ran.stderr.contains(TOKEN));
    };
    let pull = |name: &str, more: &[&str]| run(&playground, &hub, &[&["model", "pull", name], more].concat());
    // A renamed repository is downloaded by its old name too.
    pull("old/model", &[]).expect(0);
    fs::remove_dir_all(playground.path("hf")).unwrap();
    refused(
        pull("small/other", &[]),
        &["model small/other: ", "404", "the model or file does not exist; check the name"],
    );
    refused(
        pull("small/model", &["--model-file", "x.onnx"]),
        &["has no x.onnx; choose one with --model-file: ", "onnx/model.onnx"],
    );
    hub.set(Behavior::Private);
    refused(pull("small/model", &[]), &["401", "needs a token", "HF_TOKEN"]);
    let mut with_token = command(&playground, &hub, &["model", "pull", "small/model"]);
    playground.output(with_token.env("HF_TOKEN", TOKEN), "").expect(0);
    fs::remove_dir_all(playground.path("hf")).unwrap();
    hub.set(Behavior::Wrong);
    refused(
        pull("small/model", &[]),
        &[
            "model small/model: onnx/model.onnx: the downloaded file does not have the digest that the hub announced",
        ],
    );
    refused(
        run(&playground, &hub, &["model", "where", "small/model"]),
        &["the model is not in the cache; download it with `qwen3-index model pull small/model`"],
    );
    // The files that did arrive are not used as a model.
    hub.set(Behavior::Good);
    playground.write("in.jsonl", jsonl(["hello"]));
    refused(
        run(&playground, &hub, &[&BUILD[..], &["--offline"]].concat()),
        &["is offline; download it with `qwen3-index model pull small/model`"],
    );
    let mut offline = command(&playground, &hub, &BUILD);
    refused(playground.output(offline.env("HF_HUB_OFFLINE", "1"), ""), &["is offline"]);
    let unknown = ["build", "in.jsonl", "-o", "out.parquet", "--model", "models/qwen"];
    refused(
        run(&playground, &hub, &unknown),
        &["--model models/qwen: is not a local folder or file, and cannot be fetched from the hub: ", "404"],
    );
    // Foreign files in the cache are ignored.
    playground.write("hf/hub/models--a--b/snapshots/.DS_Store", "");
    run(&playground, &hub, &["model", "list"]).expect(0);
    let mut with_bad_cache = command(&playground, &hub, &["model", "pull", "small/model"]);
    refused(
        playground.output(with_bad_cache.env("HF_HUB_CACHE", playground.path("in.jsonl")), ""),
        &["model small/model: config.json: cache ", "in.jsonl: cannot be written: ", "; check the disk, and"],
    );
    let mut nobody = command(&playground, &hub, &BUILD);
    refused(
        playground.output(nobody.env("HF_ENDPOINT", "http://127.0.0.1:9"), ""),
        &["http://127.0.0.1:9 cannot be reached", "--model", "--offline"],
    );
    // Without a network, no name has an address.
    let mut no_network = command(&playground, &hub, &BUILD);
    let ran = playground.output(no_network.env("HF_ENDPOINT", "http://hub.invalid"), "");
    assert!(!ran.stderr.contains("trying again"), "{}", ran.story);
    refused(ran, &["http://hub.invalid cannot be reached", "check the network", "--offline"]);
    let mut offline = command(&playground, &hub, &["model", "pull", "small/model"]);
    refused(
        playground.output(offline.env("HF_HUB_OFFLINE", "1"), ""),
        &["model small/model: cannot be downloaded, because this run is offline; unset HF_HUB_OFFLINE"],
    );
    for command in ["pull", "where"] {
        let ran = run(&playground, &hub, &["model", command, "small"]).expect(2);
        ran.says("neither a file or folder here nor a name on the hub (owner/name); name a model of the hub");
    }
    run(&playground, &hub, &["build", "in.jsonl", "-o", "out.parquet", "--model", "./nothing/here"])
        .expect(1)
        .says("is neither a file or folder here nor a name on the hub");
}

#[test]
fn proxies_are_used_as_the_environment_says() {
    let hub = HubServer::with_tiny_model();
    let proxy = ProxyServer::start(&hub);
    let pull = |endpoint: &str, variables: &[(&str, &str)]| {
        let playground = Playground::new();
        hub.set(Behavior::Good);
        let mut command = command(&playground, &hub, &["model", "pull", "small/model"]);
        command.env("HF_ENDPOINT", endpoint).envs(variables.iter().copied());
        let ran = playground.output(&mut command, "");
        if ran.code == Some(0) {
            assert_whole(&playground, &["onnx/model.onnx", "tokenizer.json"]);
        }
        ran
    };
    let (http, socks) = (format!("http://{}", proxy.address), format!("socks5h://{}", proxy.address));
    let (http, socks, dead) = (http.as_str(), socks.as_str(), "http://127.0.0.1:9");
    // Only the proxy can resolve this host.
    let far = "http://hub.invalid";
    for (variables, place) in [
        (&[("HTTP_PROXY", http)][..], "hub.invalid:80"),
        (&[("http_proxy", http), ("HTTP_PROXY", dead)], "hub.invalid:80"),
        (&[("ALL_PROXY", http), ("HTTPS_PROXY", dead)], "hub.invalid:80"),
        // A machine where one proxy serves HTTP and SOCKS.
        (&[("http_proxy", http), ("https_proxy", http), ("all_proxy", socks)], "hub.invalid:80"),
        (&[("all_proxy", socks), ("http_proxy", "")], "hub.invalid:80 by SOCKS"),
        (&[("HTTP_PROXY", http), ("NO_PROXY", "localhost, 127.0.0.1,id,b.invalid")], "hub.invalid:80"),
    ] {
        pull(far, variables).expect(0);
        // One connection per request.
        assert_eq!(proxy.take_requests(), vec![place; hub.requests().len()], "{variables:?}");
    }
    let with_name = http.replace("//", "//me:p%40ss@");
    pull(far, &[("HTTP_PROXY", &with_name)]).expect(0);
    assert_eq!(proxy.take_requests()[0], "hub.invalid:80 Basic bWU6cEBzcw==");

    // Exceptions match the whole host or its end; the host here is an IP address.
    for hosts in ["127.0.0.1", "localhost, 127.0.0.1", "*", "127.*", "0.0.1", ".0.0.1", "*.0.0.1"] {
        pull(&hub.url, &[("HTTP_PROXY", http), ("NO_PROXY", hosts)]).expect(0);
    }
    pull(&hub.url, &[("no_proxy", "127.0.0.1"), ("NO_PROXY", "other"), ("ALL_PROXY", http)]).expect(0);
    pull(&hub.url, &[("HTTPS_PROXY", http)]).expect(0);
    assert_eq!(proxy.take_requests(), Vec::<String>::new());

    for (endpoint, variables, says) in [
        (
            far,
            &[("HTTP_PROXY", with_name.as_str())][..],
            format!("the proxy {} of HTTP_PROXY", proxy.address),
        ),
        (
            &hub.url,
            &[("HTTP_PROXY", http), ("NO_PROXY", "127.0.0.1")],
            "but NO_PROXY lists this host".to_owned(),
        ),
        (
            &hub.url,
            &[],
            "no proxy, because http_proxy, HTTP_PROXY, all_proxy, ALL_PROXY are not set".to_owned(),
        ),
    ] {
        let playground = Playground::new();
        let mut command = command(&playground, &hub, &["model", "pull", "small/model", "-v"]);
        command.env("HF_ENDPOINT", endpoint).envs(variables.iter().copied());
        let ran = playground.output(&mut command, "").expect(0);
        let line = ran.stderr.lines().find(|line| line.contains("debug: requests to http://"));
        assert!(line.is_some_and(|line| line.ends_with(&says)), "{says}{}", ran.story);
    }
    proxy.take_requests();

    // A proxy that cannot be reached, one that refuses, and a value that is no proxy's address.
    let refused = |endpoint: &str, variables: &[(&str, &str)], says: &str| {
        let ran = pull(endpoint, variables).expect(1);
        assert!(ran.stderr.lines().count() == 1 && ran.stderr.contains(says), "{says}{}", ran.story);
        assert!(!ran.stderr.contains("p%40ss"), "{}", ran.story);
    };
    refused(
        far,
        &[("http_proxy", &dead.replace("//", "//me:p%40ss@"))],
        "http://hub.invalid cannot be reached through the proxy 127.0.0.1:9 of http_proxy: ",
    );
    refused(far, &[("ALL_PROXY", dead)], "check the network, ALL_PROXY and HF_ENDPOINT");
    refused(
        "https://hub.invalid",
        &[("HTTPS_PROXY", http), ("ALL_PROXY", dead)],
        "of HTTPS_PROXY: CONNECT proxy failed: proxy server responded 403",
    );
    assert_eq!(proxy.take_requests(), ["hub.invalid:443"]);
    refused(far, &[("HTTP_PROXY", "ftp://me:p%40ss@127.0.0.1")], "HTTP_PROXY: is not the address of a proxy");
}

/// Each finds in the cache what the other downloaded.
#[test]
#[ignore = "needs what scripts/test installs"]
fn the_cache_is_shared_with_hugging_faces_own_tools() {
    const SCRIPT: &str = r#"
import sys
from huggingface_hub import hf_hub_download, snapshot_download, scan_cache_dir
if sys.argv[1] == "find":
    print(snapshot_download("small/model", local_files_only=True))
    [repo] = scan_cache_dir().repos
    assert repo.repo_id == "small/model" and not scan_cache_dir().warnings, scan_cache_dir()
else:
    for name in ["config.json", "tokenizer.json", "onnx/model.onnx"]:
        hf_hub_download("small/model", name)
"#;
    let hub = HubServer::with_tiny_model();
    let python = |playground: &Playground, what: &str| {
        let mut python = util::python("hub");
        python.arg("-c").arg(SCRIPT).arg(what).current_dir(playground.path(""));
        python
            .env("HF_HOME", playground.path("hf"))
            .env("HF_ENDPOINT", &hub.url)
            .env("HF_HUB_DISABLE_XET", "1");
        playground.output(&mut python, "").expect(0).stdout.trim().to_owned()
    };
    let playground = Playground::new();
    run(&playground, &hub, &["model", "pull", "small/model"]).expect(0);
    assert_eq!(Path::new(&python(&playground, "find")), snapshot(&playground));
    let playground = Playground::new();
    python(&playground, "get");
    hub.set(Behavior::Good);
    let ran = run(&playground, &hub, &["model", "where", "small/model"]).expect(0);
    assert_eq!((Path::new(ran.stdout.trim()), hub.requests()), (snapshot(&playground).as_path(), Vec::new()));
}

/// A machine with only the bundle: no network, no other runtime, no other model.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_bundle_works_without_a_network() {
    let playground = Playground::new();
    playground.write("in.jsonl", jsonl(["hello", "电池能用多久？"]));
    for file in ["model_external.onnx", "model.onnx"] {
        let arguments = ["model", "bundle", "there", "--device", "cpu", "--model-file", file];
        playground.run(&arguments).expect(0);
        assert!(playground.listing().iter().all(|name| !name.starts_with('.')));
        let sums = |folder: &str| {
            let mut command = Command::new("sha256sum");
            playground.output(
                command.args(["--quiet", "-c", "SHA256SUMS"]).current_dir(playground.path(folder)),
                "",
            )
        };
        sums("there").expect(0);
        playground.run(&arguments).expect(1).says("there: exists already");

        let in_bundle = |arguments: &[&str]| {
            let no_network =
                Command::new("unshare").args(["-rn", "true"]).status().is_ok_and(|status| status.success());
            let mut command = Command::new(if no_network { "unshare" } else { "env" });
            if no_network {
                command.arg("-rn");
            } else {
                println!("with a network: this machine allows no network namespace");
            }
            command.arg(playground.path("there/qwen3-index")).args(arguments);
            command
                .env_clear()
                .env("HOME", "/nonexistent")
                .env("PATH", "/usr/bin:/bin")
                .current_dir(playground.path(""));
            playground.output(&mut command, "")
        };
        in_bundle(&["build", "in.jsonl", "-o", "out.parquet", "--rebuild"]).expect(0);
        let rows = util::rows(&playground.path("out.parquet"));
        in_bundle(&["search", "out.parquet", "hello"]).expect(0);
        in_bundle(&["doctor"]).expect(0);
        assert_eq!(rows, playground.build("in.jsonl", &["--model-file", file]));

        let library = playground.path("there/libonnxruntime.so");
        assert_eq!(fs::metadata(playground.path("there")).unwrap().permissions().mode() & 0o022, 0);
        let mut bytes = fs::read(&library).unwrap();
        bytes[1000] ^= 1;
        fs::write(&library, bytes).unwrap();
        sums("there").expect(1);
        fs::remove_dir_all(playground.path("there")).unwrap();
    }
}

/// A bundle is passed on, so it must not contain a file that only a symlink leads to. The symlinks of the cache are fine.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_bundle_has_only_files_of_the_model() {
    let (playground, hub) =
        (Playground::new().with("secret", "of nobody else"), HubServer::with_tiny_model());
    let bundle = |model: &str| {
        let arguments = ["model", "bundle", "there", "--device", "cpu", "--model", model];
        run(&playground, &hub, &[&arguments[..], &["--model-file", "model_external.onnx"]].concat())
    };
    bundle("small/model").expect(0);
    let bundled = fs::symlink_metadata(playground.path("there/model/model_external.onnx_data")).unwrap();
    assert!(bundled.is_file() && bundled.len() > 100_000);
    fs::remove_dir_all(playground.path("there")).unwrap();

    for name in ["config.json", "tokenizer.json", "onnx/model_external.onnx", "onnx/model_external.onnx_data"]
    {
        playground
            .write(&format!("mine/{name}"), fs::read(repository("fixtures/qwen3-tiny").join(name)).unwrap());
    }
    // A link to the model folder, and a link inside it, are the user's own order.
    symlink(playground.path("mine"), playground.path("link")).unwrap();
    fs::rename(playground.path("mine/config.json"), playground.path("mine/real.json")).unwrap();
    symlink("real.json", playground.path("mine/config.json")).unwrap();
    bundle("link").expect(0);
    fs::remove_dir_all(playground.path("there")).unwrap();
    for (name, target) in
        [("sentence_bert_config.json", "../secret"), ("onnx/model_external.onnx_data", "../../secret")]
    {
        let path = playground.path("mine").join(name);
        _ = fs::remove_file(&path);
        symlink(target, &path).unwrap();
        let refused = bundle("mine").expect(1);
        refused.says(name).says(&format!("is a symlink to {}", playground.path("secret").display()));
        assert!(!playground.path("there").exists());
        assert!(playground.listing().iter().all(|name| !name.starts_with('.')), "{}", refused.story);
        fs::remove_file(&path).unwrap();
    }
}

/// Otherwise anyone who owns the name on the hub could put a model in the place of a folder that is missing.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_path_that_exists_in_part_is_not_asked_for_at_the_hub() {
    let (playground, hub) = (Playground::new(), HubServer::with_tiny_model());
    playground.write("in.jsonl", jsonl(["hello"]));
    playground.write("small/other/readme", "");
    for arguments in [
        &BUILD[..],
        &["embed", "hello", "--model", "small/model"],
        &["model", "bundle", "there", "--model", "small/model"],
        &["model", "pull", "small/model"],
        &["model", "where", "small/model"],
        &["model", "export", "small/model", "there"],
    ] {
        let ran = run(&playground, &hub, arguments);
        assert!(ran.code.is_some_and(|code| code > 0), "{}", ran.story);
        ran.says("small/model: does not exist, but the folder small does; ").says("hf:small/model");
    }
    let ran = run(&playground, &hub, &["doctor", "--model", "small/model"]).expect(1);
    assert!(ran.stdout.contains("hf:small/model"), "{}", ran.story);
    assert_eq!(hub.requests(), Vec::<String>::new());
    assert!(!playground.path("hf").exists());

    // With `hf:`, the name is one of the hub, even if a folder has it.
    fs::create_dir(playground.path("small/model")).unwrap();
    let of_hub = [&BUILD[..5], &["hf:small/model"]].concat();
    run(&playground, &hub, &of_hub).expect(0);
    assert!(hub.downloads() > 0);
    for command in ["pull", "where"] {
        let ran = run(&playground, &hub, &["model", command, "hf:small/model@main"]).expect(0);
        assert_eq!(Path::new(ran.stdout.trim()), snapshot(&playground), "{}", ran.story);
    }
    run(&playground, &hub, &["embed", "hello", "--model", "small/model"]).expect(1).says("no model.onnx");
    run(&playground, &hub, &["embed", "hello", "--model", "hf:small"]).expect(1).says("owner/name");
}
