//! A run that fails prints one line with the file and what to do, exits with the right code and leaves the old output
//! untouched.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::util::{Playground, Ran, limited, repository};

/// A run that must fail, with its exit code and parts of its error message.
struct Case {
    name: &'static str,
    set_up: fn(&Playground),
    arguments: &'static [&'static str],
    code: i32,
    says: &'static [&'static str],
}

const NOTHING: fn(&Playground) = |_| {};

/// The content of the old output. Without Parquet's magic number at its start, the tool refuses to replace it.
const OLD: &str = "PAR1 the old file";

const CASES: &[Case] = &[
    Case {
        name: "no such input",
        set_up: NOTHING,
        arguments: &["build", "nope", "-o", "out.parquet"],
        code: 1,
        says: &["input nope", "check that it exists", "No such file"],
    },
    Case {
        name: "input of an unknown format",
        set_up: |p| p.write("a.xyz", "text"),
        arguments: &["build", "a.xyz", "-o", "out.parquet"],
        code: 2,
        says: &["input a.xyz", "unknown format", ".txt", ".jsonl"],
    },
    Case {
        name: "standard input twice",
        set_up: NOTHING,
        arguments: &["build", "-", "-", "-o", "out.parquet"],
        code: 2,
        says: &["given twice"],
    },
    Case {
        name: "no such model",
        set_up: NOTHING,
        arguments: &["build", "a.txt", "-o", "out.parquet", "--model", "nope"],
        code: 1,
        says: &["model nope", "--model"],
    },
    Case {
        name: "a model folder without a plain graph",
        set_up: |p| {
            p.write("m/onnx/model_q4.onnx", "");
            p.write("m/model_f16.onnx", "");
        },
        arguments: &["build", "a.txt", "-o", "out.parquet", "--model", "m"],
        code: 1,
        says: &["model m", "no model.onnx", "--model-file", "model_f16.onnx, onnx/model_q4.onnx"],
    },
    Case {
        name: "a model folder with nothing",
        set_up: |p| p.write("m/readme", ""),
        arguments: &["build", "a.txt", "-o", "out.parquet", "--model", "m"],
        code: 1,
        says: &["model m", "no model.onnx", "name a folder with an ONNX file or with the"],
    },
    Case {
        name: "--model-file with a file",
        set_up: |p| p.write("m.onnx", ""),
        arguments: &["build", "a.txt", "-o", "out.parquet", "--model", "m.onnx", "--model-file", "n.onnx"],
        code: 2,
        says: &["m.onnx", "--model-file", "folder"],
    },
    Case {
        name: "no tokenizer.json",
        set_up: |p| p.write("m/onnx/model.onnx", ""),
        arguments: &["build", "a.txt", "-o", "out.parquet", "--model", "m"],
        code: 1,
        says: &["no tokenizer.json in m/onnx or m;", "copy it"],
    },
    Case {
        name: "a tokenizer.json that is none",
        set_up: |p| {
            model(p);
            p.write("m/tokenizer.json", "{}");
        },
        arguments: &["build", "a.txt", "-o", "out.parquet", "--model", "m"],
        code: 1,
        says: &["tokenizer m/tokenizer.json", "repository"],
    },
    Case {
        name: "no config.json",
        set_up: |p| {
            model(p);
            fs::remove_file(p.path("m/config.json")).unwrap();
        },
        arguments: &["build", "a.txt", "-o", "out.parquet", "--model", "m"],
        code: 1,
        says: &["no config.json in m/onnx or m;", "copy it"],
    },
    Case {
        name: "a config.json that is none",
        set_up: |p| {
            model(p);
            p.write("m/config.json", "[]");
        },
        arguments: &["build", "a.txt", "-o", "out.parquet", "--model", "m"],
        code: 1,
        says: &["m/config.json", "cannot be parsed", "repository"],
    },
    Case {
        name: "a config.json of another width",
        set_up: |p| {
            model(p);
            p.write("m/config.json", r#"{"model_type": "qwen3", "hidden_size": 1024}"#);
        },
        arguments: &["build", "a.txt", "-o", "out.parquet", "--model", "m"],
        code: 1,
        says: &["m/onnx/model.onnx", "64 dimensions", "1024", "config.json"],
    },
    Case {
        name: "another architecture without a pooling file",
        set_up: |p| {
            model(p);
            p.write("m/config.json", r#"{"model_type": "bert", "hidden_size": 64}"#);
        },
        arguments: &["build", "a.txt", "-o", "out.parquet", "--model", "m"],
        code: 1,
        says: &["m/onnx/model.onnx", "model m/onnx/model.onnx: no 1_Pooling/config.json", "copy the file"],
    },
    Case {
        name: "a module that is not run",
        set_up: |p| {
            model(p);
            p.write("m/config.json", r#"{"model_type": "bert", "hidden_size": 64}"#);
            p.write("m/modules.json", r#"[{"type": "sentence_transformers.models.Dense"}]"#);
        },
        arguments: &["build", "a.txt", "-o", "out.parquet", "--model", "m"],
        code: 1,
        says: &["m/modules.json", "Dense"],
    },
    Case {
        name: "not an ONNX file",
        set_up: |p| {
            model(p);
            p.write("m/onnx/model.onnx", "this is no graph");
        },
        arguments: &["build", "a.txt", "-o", "out.parquet", "--model", "m"],
        code: 1,
        says: &["m/onnx/model.onnx", "cannot be loaded", "ONNX file is complete"],
    },
    Case {
        name: "half an ONNX file",
        set_up: |p| {
            model(p);
            let whole = fs::read(repository("fixtures/qwen3-tiny/onnx/model.onnx")).unwrap();
            p.write("m/onnx/model.onnx", &whole[..whole.len() / 2]);
        },
        arguments: &["build", "a.txt", "-o", "out.parquet", "--model", "m"],
        code: 1,
        says: &["m/onnx/model.onnx", "cannot be loaded", "ONNX file is complete"],
    },
    Case {
        name: "external data missing",
        set_up: |p| {
            model(p);
            let graph = repository("fixtures/qwen3-tiny/onnx/model_external.onnx");
            p.write("m/onnx/model.onnx", fs::read(graph).unwrap());
        },
        arguments: &["build", "a.txt", "-o", "out.parquet", "--model", "m"],
        code: 1,
        says: &[
            "m/onnx/model.onnx",
            "m/onnx/model_external.onnx_data",
            "does not exist",
            "data files are beside it",
        ],
    },
    Case {
        name: "quantised output",
        set_up: NOTHING,
        arguments: &["build", "a.txt", "-o", "out.parquet", "--model-file", "model_uint8.onnx"],
        code: 1,
        says: &["model_uint8.onnx", "output `sentence_embedding` has the type u8", "float output"],
    },
    Case {
        name: "a dimension over the model's",
        set_up: NOTHING,
        arguments: &["build", "a.txt", "-o", "out.parquet", "--dim", "4096"],
        code: 2,
        says: &["--dim 4096", "64 dimensions", "32 to 64"],
    },
    Case {
        name: "a dimension below the smallest",
        set_up: NOTHING,
        arguments: &["build", "a.txt", "-o", "out.parquet", "--dim", "31"],
        code: 2,
        says: &["--dim 31", "32 to 64"],
    },
    Case {
        name: "more tokens than the model takes",
        set_up: NOTHING,
        arguments: &["build", "a.txt", "-o", "out.parquet", "--max-tokens", "99999"],
        code: 2,
        says: &["--max-tokens 99999", "32768"],
    },
    Case {
        name: "no room beside the instruction",
        set_up: NOTHING,
        arguments: &[
            "build",
            "a.txt",
            "-o",
            "out.parquet",
            "--max-tokens",
            "30",
            "--instruction",
            "Find what answers the question",
        ],
        code: 2,
        says: &["--max-tokens 30: is too small", "--instruction"],
    },
    Case {
        name: "a tokenizer without the end token",
        set_up: |p| {
            model(p);
            fs::copy(repository("fixtures/bert-tiny/tokenizer.json"), p.path("m/tokenizer.json")).unwrap();
        },
        arguments: &["build", "a.txt", "-o", "out.parquet", "--model", "m"],
        code: 1,
        says: &["tokenizer m/tokenizer.json", "no token <|endoftext|>", "repository"],
    },
    Case {
        name: "a tokenizer with more tokens than the model",
        set_up: |p| {
            model(p);
            p.write("m/config.json", r#"{"model_type": "qwen3", "hidden_size": 64, "vocab_size": 500}"#);
        },
        arguments: &["build", "a.txt", "-o", "out.parquet", "--model", "m"],
        code: 1,
        says: &["tokenizer m/tokenizer.json", "560", "500", "repository"],
    },
    Case {
        name: "a field that no line has",
        set_up: |p| p.write("a.jsonl", "{\"text\": \"one\"}\n{\"text\": \"two\"}"),
        arguments: &["build", "a.jsonl", "-o", "out.parquet", "--text-field", "body"],
        code: 1,
        says: &["no document could be embedded", "2 failed", "out.parquet is untouched"],
    },
    Case {
        name: "an output that is an input",
        set_up: NOTHING,
        arguments: &["build", "a.txt", "-o", "a.txt"],
        code: 2,
        says: &["input a.txt", "is also the output", "-o"],
    },
    Case {
        name: "an output that is a device",
        set_up: NOTHING,
        arguments: &["build", "a.txt", "-o", "/dev/null"],
        code: 1,
        says: &["output /dev/null", "is not a regular file"],
    },
    Case {
        name: "an output that ends like a folder",
        set_up: NOTHING,
        arguments: &["build", "a.txt", "-o", "new.parquet/"],
        code: 1,
        says: &["output new.parquet/", "is a folder"],
    },
    Case {
        name: "no output folder",
        set_up: NOTHING,
        arguments: &["build", "a.txt", "-o", "nope/out.parquet"],
        code: 1,
        says: &["output nope/out.parquet", "folder must exist"],
    },
    Case {
        name: "no folder for the report",
        set_up: NOTHING,
        arguments: &["build", "a.txt", "-o", "out.parquet", "--report", "nope/report.json"],
        code: 1,
        says: &["--report nope/report.json", "folder must exist"],
    },
    Case {
        name: "a folder for the delta that cannot be written",
        set_up: NOTHING,
        arguments: &["build", "a.txt", "-o", "out.parquet", "--delta", "/proc/delta.parquet"],
        code: 1,
        says: &["--delta /proc/delta.parquet", "writable"],
    },
    Case {
        name: "an output folder that cannot be written",
        set_up: NOTHING,
        arguments: &["build", "a.txt", "-o", "/proc/out.parquet"],
        code: 1,
        says: &["output /proc/out.parquet", "writable"],
    },
    Case {
        name: "an output that is a folder",
        set_up: NOTHING,
        arguments: &["build", "a.txt", "-o", "."],
        code: 1,
        says: &["output .", "is a folder"],
    },
];

/// Copies the tiny model with `model.onnx` as its only graph.
fn model(playground: &Playground) {
    for name in ["config.json", "tokenizer.json", "onnx/model.onnx"] {
        let file = repository("fixtures/qwen3-tiny").join(name);
        playground.write(&format!("m/{name}"), fs::read(file).unwrap());
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn each_error_is_one_line_with_advice_and_leaves_the_old_output() {
    for case in CASES {
        let playground = Playground::new();
        playground.write("a.txt", "text");
        playground.write("out.parquet", OLD);
        (case.set_up)(&playground);
        let before = playground.listing();
        // The old output is damaged, and does not say how many rows it had.
        let allowed: &[&str] = if case.arguments[0] == "build" { &["--allow-shrink"] } else { &[] };
        let ran = playground.run(&[case.arguments, allowed].concat());
        check_error(&ran, case.code, case.says, case.name);
        assert_eq!(playground.listing(), before, "{}: other files are left{}", case.name, ran.story);
        assert_eq!(fs::read(playground.path("out.parquet")).unwrap(), OLD.as_bytes(), "{}", case.name);
    }
}

fn check_error(ran: &Ran, code: i32, says: &[&str], name: &str) {
    assert_eq!(ran.code, Some(code), "{name}{}", ran.story);
    let errors: Vec<&str> =
        ran.stderr.lines().filter(|line| line.starts_with("qwen3-index: error: ")).collect();
    assert_eq!(errors.len(), 1, "{name}{}", ran.story);
    assert_eq!(ran.stderr.lines().last(), Some(errors[0]), "{name}: the error is the last line{}", ran.story);
    for part in says {
        assert!(errors[0].contains(part), "{name}: not said: {part:?}{}", ran.story);
    }
}

/// The limit sends SIGXFSZ too, which ends a process that does not handle it.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_full_disk_leaves_the_old_output() {
    let playground = Playground::new();
    let lines: String = (0..3000).map(|n| format!("{{\"text\":\"Document {n}\"}}\n")).collect();
    playground.write("in.jsonl", lines);
    playground.write("out.parquet", OLD);
    let mut shell =
        limited(64, &playground.command(&["build", "in.jsonl", "-o", "out.parquet", "--allow-shrink"]));
    let ran = playground.output(&mut shell, "");
    check_error(&ran, 1, &[".out.parquet.journal", "File too large", "make room"], "full disk");
    assert_eq!(fs::read(playground.path("out.parquet")).unwrap(), OLD.as_bytes());
    assert_eq!(playground.listing(), [".out.parquet.journal", "in.jsonl", "out.parquet"]);
}

/// Such characters reorder or break the lines of a terminal.
#[test]
fn directions_and_line_separators_in_names_are_shown_escaped() {
    let playground = Playground::new();
    let name = "a\u{202e}b\u{2066}c\u{200f}d\u{61c}e\u{2028}f\u{2029}g\u{85}.md";
    let ran = playground.run(&["build", name, "-o", "out.parquet"]).expect(1);
    let shown = r"a\u{202e}b\u{2066}c\u{200f}d\u{61c}e\u{2028}f\u{2029}g\u{85}.md";
    check_error(&ran, 1, &[shown], "characters");
}

/// A producer that never closes its output must not delay the error.
#[test]
fn an_error_is_reported_while_standard_input_is_open() {
    let playground = Playground::new();
    let command = playground.command(&["build", "-", "-o", "out.parquet", "--batch-tokens", "64"]);
    let mut shell = limited(64, &command);
    let mut child = shell.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Several windows of texts that do not compress. Then nothing more comes, and the input stays open.
    let lines: String = (0..6000u64)
        .map(|n| format!("{{\"text\":\"{:x}\"}}\n", n.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
        .collect();
    let _ = stdin.write_all(lines.as_bytes());
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_missing_runtime_is_reported_with_the_searched_places_and_what_to_do() {
    let playground = Playground::new();
    playground.write("a.txt", "text");
    // A copy, since the library may lie beside the binary.
    fs::copy(env!("CARGO_BIN_EXE_qwen3-index"), playground.path("tool")).unwrap();
    let mut command = Command::new(playground.path("tool"));
    command.args(["build", "a.txt", "-o", "out.parquet", "--model"]).arg(repository("fixtures/qwen3-tiny"));
    command.current_dir(playground.path("")).env_clear().env("XDG_DATA_HOME", playground.path("data"));
    command.env("VIRTUAL_ENV", playground.path("venv"));
    playground.write("venv/lib/python3.12/site-packages/onnxruntime/capi/readme", "no library");
    let looked = playground.path("").display().to_string();
    let ran = playground.output(&mut command, "");
    let says = [
        "ONNX Runtime is not installed",
        &looked,
        "data/qwen3-index/lib",
        "python3.12/site-packages/onnxruntime/capi",
        "/usr/lib",
        "scripts/setup",
        "ORT_DYLIB_PATH",
    ];
    check_error(&ran, 1, &says, "no runtime");

    command.env("ORT_DYLIB_PATH", "nope.so");
    check_error(
        &playground.output(&mut command, ""),
        1,
        &["ORT_DYLIB_PATH names nope.so", "scripts/setup"],
        "wrong path",
    );

    playground.write("fake.so", "no library");
    command.env("ORT_DYLIB_PATH", playground.path("fake.so"));
    check_error(
        &playground.output(&mut command, ""),
        1,
        &["fake.so", "1.23 or newer", "scripts/setup"],
        "no library",
    );

    // Each place takes precedence over those before it in this list, so its broken file is the one in the error.
    command.env_remove("ORT_DYLIB_PATH");
    for place in ["venv/lib/python3.12/site-packages/onnxruntime/capi", "data/qwen3-index/lib", "."] {
        let name = format!("{place}/libonnxruntime.so.9");
        playground.write(&name, "no library");
        let ran = playground.output(&mut command, "");
        check_error(&ran, 1, &[name.trim_start_matches("./"), "1.23 or newer"], place);
    }
}

/// Whoever may write into the current folder could run code as this user.
#[test]
fn no_relative_folder_of_the_environment_has_the_runtime() {
    let playground = Playground::new();
    playground.write("here/a.txt", "text");
    fs::copy(env!("CARGO_BIN_EXE_qwen3-index"), playground.path("tool")).unwrap();
    for place in [
        ".",
        "qwen3-index/lib",
        "data/qwen3-index/lib",
        ".local/share/qwen3-index/lib",
        "lib/python3.12/site-packages/onnxruntime/capi",
        ".local/lib/python3.12/site-packages/onnxruntime/capi",
    ] {
        playground.write(&format!("here/{place}/libonnxruntime.so"), "no library");
    }
    playground.write("here/bin/python3", "");
    for (name, value) in [
        ("VIRTUAL_ENV", ""),
        ("VIRTUAL_ENV", "."),
        ("CONDA_PREFIX", ""),
        ("CONDA_PREFIX", "../here"),
        ("PATH", "bin"),
        ("PATH", "./bin:/usr/bin"),
        ("LD_LIBRARY_PATH", "."),
        ("LD_LIBRARY_PATH", ":qwen3-index/lib"),
        ("XDG_DATA_HOME", "data"),
        ("XDG_DATA_HOME", "."),
        ("HOME", ""),
        ("HOME", "."),
    ] {
        let mut command = Command::new(playground.path("tool"));
        command.args(["build", "a.txt", "-o", "out.parquet", "--model"]);
        command.arg(repository("fixtures/qwen3-tiny")).current_dir(playground.path("here"));
        let ran = playground.output(command.env_clear().env(name, value), "");
        check_error(&ran, 1, &["ONNX Runtime is not installed"], &format!("{name}={value}"));
    }
    // No model comes from such a folder either.
    for (name, value) in [("HOME", "."), ("XDG_CACHE_HOME", "cache"), ("XDG_CACHE_HOME", ".")] {
        let mut command = Command::new(playground.path("tool"));
        command.args(["model", "list"]).current_dir(playground.path("here"));
        let ran = playground.output(command.env_clear().env(name, value), "");
        check_error(&ran, 1, &["there is no cache for models", "HF_HOME"], &format!("{name}={value}"));
    }
}

#[test]
fn help_of_build_has_an_example_and_wrong_arguments_are_usage_errors() {
    let playground = Playground::new();
    let ran = playground.run(&["build", "--help"]).expect(0);
    assert!(ran.stdout.contains("qwen3-index build ./docs -o vectors.parquet"), "{}", ran.story);
    playground.run(&["build"]).expect(2);
    playground.run(&["nope"]).expect(2);
}
