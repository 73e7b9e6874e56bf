//! Passwords, tokens and signatures in URLs appear neither in a message nor in a file.

use std::fs;
use std::process::Command;

use walkdir::WalkDir;

use crate::hub::{self, HubServer};
use crate::util::{Playground, cpu_library, jsonl};

/// The part that all secrets of these tests have.
const SECRET: &str = "s3cr3t";

/// Secrets as people write them into a URL. A `/` or `@` ought to be percent-encoded, but often is not.
const SECRETS: [&str; 3] = ["s3cr3t", "s3c/s3cr3t", "s3c@s3cr3t"];

const OUTPUTS: [&str; 4] = ["-o", "out.parquet", "--report", "report.json"];

/// Runs a command that fails, with both formats of messages, and checks what it wrote to the terminal and into files.
#[track_caller]
fn expect_no_secret(playground: &Playground, make: impl Fn() -> Command) {
    for format in ["text", "json"] {
        let mut command = make();
        command.args(["-vv", "--log-format", format]).env("XDG_CACHE_HOME", playground.path("cache"));
        command
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("AWS_REGION", "here");
        command.env("AZURE_STORAGE_ACCOUNT_NAME", "account").env("AZURE_STORAGE_ACCOUNT_KEY", "a2V5");
        let ran = playground.output(&mut command, "");
        assert!(matches!(ran.code, Some(1 | 2)), "{}", ran.story);
        assert!(!ran.stderr.contains(SECRET) && !ran.stdout.contains(SECRET), "{}", ran.story);
        assert!(!ran.stderr.is_empty() || !ran.stdout.is_empty(), "{}", ran.story);
        expect_no_secret_in_files(playground);
    }
}

#[track_caller]
fn expect_no_secret_in_files(playground: &Playground) {
    for entry in WalkDir::new(playground.path("")) {
        let entry = entry.unwrap();
        let path = entry.path();
        assert!(!path.to_string_lossy().contains(SECRET), "{}", path.display());
        if entry.file_type().is_file() {
            let content = fs::read(path).unwrap();
            let has_secret = content.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
            assert!(!has_secret, "{}", path.display());
        }
    }
}

#[test]
fn endpoints_are_shown_without_a_secret() {
    let hub = HubServer::start([].into());
    for secret in SECRETS {
        let playground = Playground::new();
        for endpoint in [
            format!("http://user:{secret}@127.0.0.1:1"),
            format!("user:{secret}@127.0.0.1:1"),
            format!("http://user:{secret}@no host"),
            format!("http://127.0.0.1:1/?token={secret}"),
            format!("http://127.0.0.1:1/?a=b&X-Amz-Signature={secret}#c"),
        ] {
            let build = [&["build", "s3://bucket/docs"], &OUTPUTS[..]].concat();
            expect_no_secret(&playground, || {
                let mut command = playground.command(&build);
                command.args(["--endpoint", &endpoint]);
                command
            });
            expect_no_secret(&playground, || {
                let mut command = playground.command(&build);
                command.env("AWS_ENDPOINT_URL", &endpoint);
                command
            });
            for arguments in [&["model", "pull", "small/model"][..], &["doctor", "--model", "small/model"]] {
                expect_no_secret(&playground, || {
                    let mut command = hub::command(&playground, &hub, arguments);
                    command.env("HF_ENDPOINT", &endpoint);
                    command
                });
            }
        }
        // This hub answers, but does not have the model.
        let answers = hub.url().replace("//", &format!("//user:{}@", secret.replace('/', "%2F")));
        expect_no_secret(&playground, || {
            let mut command = hub::command(&playground, &hub, &["model", "pull", "none/model"]);
            command.env("HF_ENDPOINT", &answers);
            command
        });
    }
}

#[test]
fn urls_of_inputs_outputs_and_models_are_shown_without_a_secret() {
    for secret in SECRETS {
        let playground = Playground::new().with("a.txt", "text");
        for url in [
            format!("https://user:{secret}@127.0.0.1:1/docs.txt"),
            format!("https://host/docs.txt?X-Amz-Credential=me&X-Amz-Signature={secret}"),
            format!("s3://user:{secret}@bucket/docs.txt"),
            format!("s3://bucket/docs.txt?X-Amz-Security-Token={secret}"),
            format!("gs://bucket/docs.txt?X-Goog-Signature={secret}&a=b"),
            format!("az://container/docs.txt?sv=2024&sig={secret}"),
        ] {
            for arguments in [
                &[&["build", &url], &OUTPUTS[..]].concat()[..],
                &["build", "a.txt", "-o", &url],
                &[&["build", "a.txt", "--delta", &url], &OUTPUTS[..]].concat(),
                &["build", "a.txt", "-o", "out.parquet", "--report", &url],
                &["read", &url],
                &["search", &url, "question"],
                &["inspect", &url],
                &["merge", &url, "-o", "out.parquet"],
                &["embed", "text", "--model", &url],
                &["doctor", "--model", &url],
                &["model", "pull", &url],
            ] {
                expect_no_secret(&playground, || playground.command(arguments));
            }
        }
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn an_index_and_a_cache_do_not_have_the_password_of_the_hub() {
    let (playground, hub) = (Playground::new(), HubServer::with_tiny_model());
    playground.write("in.jsonl", jsonl(["hello"]));
    let arguments = [&["build", "in.jsonl", "--model", "small/model"], &OUTPUTS[..]].concat();
    let mut command = hub::command(&playground, &hub, &arguments);
    command.env("HF_ENDPOINT", hub.url().replace("//", &format!("//user:{SECRET}@")));
    let ran = playground.output(&mut command, "").expect(0);
    assert!(!ran.stderr.contains(SECRET), "{}", ran.story);
    expect_no_secret_in_files(&playground);
}

/// The id of a document may be a URL, and without its query nobody would find the document.
#[test]
fn a_url_without_a_secret_is_shown_whole() {
    let playground = Playground::new();
    let url = "https://example.org/page?id=3&lang=de#part";
    let ran = playground.run(&["build", url, "-o", "out.parquet"]).expect(1);
    ran.says(&format!("input {url}: cannot be read"));
}

/// ONNX Runtime for Linux has a client of Microsoft's telemetry, which stores events in the user's cache and sends them.
#[test]
#[ignore = "needs what scripts/test installs"]
fn the_library_keeps_no_events_of_the_run() {
    let playground = Playground::new().with("in.jsonl", jsonl(["a text"]));
    let mut build = playground.command(&["build", "in.jsonl", "-o", "out.parquet"]);
    build.env("HOME", playground.path("home")).env("XDG_CACHE_HOME", playground.path("cache"));
    build.env("ORT_DYLIB_PATH", cpu_library()).env_remove("ORT_DISABLE_TELEMETRY");
    playground.output(&mut build, "").expect(0);
    let files = WalkDir::new(playground.path("")).into_iter();
    let mut paths = files.map(|entry| entry.unwrap().path().display().to_string());
    assert_eq!(paths.find(|path| path.contains("Microsoft") || path.contains("onnxruntime")), None);
}
