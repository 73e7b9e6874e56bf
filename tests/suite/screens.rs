//! What a person sees in terminals of 60, 80 and 200 columns. The snapshots are in `snapshots/`; after a change of wording,
//! `INSTA_UPDATE=always` in the environment of the test writes them anew, and the difference is for review.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use regex::Regex;
use serde_json::json;

use crate::screen::{Screen, screen};
use crate::util::{Playground, cpu_library, repository};

const WIDTHS: [u16; 3] = [60, 80, 200];

const TEXTS: [(&str, &str); 6] = [
    (
        "en/returns.md",
        "# Returns\n\nStations may be returned within thirty days. Return a station in the box that it came in, with its power supply; we pay for the parcel if the station is broken, and you pay for it if you have changed your mind.",
    ),
    (
        "en/battery.md",
        "The battery of the display lasts about a year. Replace it when the display grows pale.",
    ),
    ("en/warranty.md", "The warranty covers two years from the day of purchase."),
    (
        "zh/安装说明.md",
        "# 气象站安装说明\n\n请先给显示屏装上电池，等它显示时间以后，再给室外机装电池。按住室外机底部的按钮三秒钟，蓝灯开始闪烁，表示两台设备正在互相寻找。\n\n室外机应当安装在离地两米左右的开阔处，下面最好是草地。不要靠近墙壁、空调外机和烟囱，否则下午的温度会偏高。\n\n雨量筒必须保持水平。盖子里有一个水平气泡，请先撕掉保护膜。倾斜五度会少测大约十分之一的雨量。",
    ),
    ("zh/退货.md", "三十天内可以退货。"),
    ("ja/返品.md", "返品は三十日以内にお願いします。"),
];

/// Makes a folder with an index, the model and the runtime below short names, since paths are parts of what is shown.
fn playground() -> Playground {
    let playground = Playground::new();
    symlink(repository("fixtures/qwen3-toy"), playground.path("model")).unwrap();
    symlink(cpu_library(), playground.path("libonnxruntime.so")).unwrap();
    let lines: String =
        TEXTS.iter().map(|(id, text)| format!("{}\n", json!({"id": id, "text": text}))).collect();
    playground.write("in.jsonl", lines);
    let mut build = command(&playground, &["build", "in.jsonl", "-o", "vectors.parquet", "--device", "cpu"]);
    playground.output(&mut build, "").expect(0);
    playground
}

fn command(playground: &Playground, arguments: &[&str]) -> Command {
    let mut command = playground.command(arguments);
    command.env("QWEN3_INDEX_MODEL", "model").env("ORT_DYLIB_PATH", "./libonnxruntime.so");
    command
}

/// Masks times, versions, sizes and the speed. Masks are as long as most of what they stand for, so that lines break alike.
fn masked(screen: &str) -> String {
    let masks = [
        (r"\d+\.\d\d s\b", "#.## s"),
        (r"qwen3-index \d+\.\d+\.\d+", "qwen3-index #.#.#"),
        (r"\d+\.\d\d [kM]B", "#.## kB"),
        (r"(?s)( speed +)\d.*?\n\n", "$1[masked]\n\n"),
    ];
    masks.iter().fold(screen.to_owned(), |screen, (pattern, mask)| {
        Regex::new(pattern).unwrap().replace_all(&screen, *mask).into_owned()
    })
}

#[track_caller]
fn screens(playground: &Playground, arguments: &[&str], code: i32) -> String {
    let mut shown = String::new();
    for columns in WIDTHS {
        let screen = screen(&mut command(playground, arguments), columns);
        assert_eq!(screen.code, Some(code), "{}", screen.last());
        write!(shown, "{columns:-<columns$}\n{}", masked(screen.last()), columns = usize::from(columns))
            .unwrap();
    }
    shown
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn the_screens_of_search() {
    let playground = playground();
    playground.write("questions.txt", "How do I return a station?\n显示屏怎么装电池？\n");
    let search = ["search", "vectors.parquet", "--questions", "questions.txt", "-k", "3"];
    insta::assert_snapshot!("search", screens(&playground, &search, 0));
    let search = ["search", "vectors.parquet", "How long does the battery last?", "-k", "1"];
    insta::assert_snapshot!("search_one_question", screens(&playground, &search, 0));
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn words_of_the_question_are_bold_on_a_terminal_only() {
    let playground = playground();
    let arguments = ["search", "vectors.parquet", "How long does the battery last?", "-k", "1"];
    let written = |command: &mut Command| {
        let Screen { written, .. } = screen(command, 200);
        written
    };
    let bold = written(&mut command(&playground, &arguments));
    assert!(bold.contains("\x1b[1mThe\x1b[0m \x1b[1mbattery\x1b[0m of"), "{bold}");
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        // `screen` sets both for the command, so the shell has the last word.
        let mut command =
            crate::util::after(&format!("export {name}={value}"), &command(&playground, &arguments));
        let plain = written(&mut command);
        assert!(plain.contains("The battery of") && !plain.contains('\x1b'), "{plain}");
    }
    let piped = playground.output(&mut command(&playground, &arguments), "").expect(0);
    assert_eq!(piped.stdout.lines().count(), 2, "{}", piped.story);
    assert!(!piped.stdout.contains('\x1b') && piped.stderr.is_empty(), "{}", piped.story);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn the_screen_of_inspect() {
    let playground = playground();
    insta::assert_snapshot!("inspect", screens(&playground, &["inspect", "vectors.parquet", "--verify"], 0));
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn the_screens_of_doctor() {
    let playground = playground();
    let doctor = ["doctor", "--device", "cpu", "--threads", "2"];
    insta::assert_snapshot!("doctor", screens(&playground, &doctor, 0));
    let broken = ["doctor", "--device", "cpu", "--model-file", "model_int4.onnx"];
    insta::assert_snapshot!("doctor_not_ready", screens(&playground, &broken, 1));
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn the_screens_of_errors() {
    let playground = playground();
    let index = fs::read(playground.path("vectors.parquet")).unwrap();
    playground.write("damaged.parquet", &index[..index.len() - 100]);
    let missing = ["build", "documents", "-o", "new.parquet"];
    insta::assert_snapshot!("error_missing_input", screens(&playground, &missing, 1));
    let model = ["search", "vectors.parquet", "battery", "--model", "models/qwen3/onnx"];
    insta::assert_snapshot!("error_wrong_model", screens(&playground, &model, 1));
    let damaged = ["search", "damaged.parquet", "battery"];
    insta::assert_snapshot!("error_damaged_index", screens(&playground, &damaged, 1));
}
