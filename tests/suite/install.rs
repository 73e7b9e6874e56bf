//! The parts of an installation: the wheel, which finds ONNX Runtime by itself, completions and man pages.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::checkpoints;
use crate::util::{self, Playground, Ran, has_dot_products, repository, rows, skip};

fn run(playground: &Playground, program: &Path, arguments: &[&str]) -> Ran {
    playground.output(Command::new(program).args(arguments).current_dir(playground.path("")), "")
}

/// Makes a Python environment with only pip.
fn environment(playground: &Playground) -> PathBuf {
    let mut virtualenv = util::python("install");
    virtualenv.args(["-m", "virtualenv", "--quiet", "environment"]).current_dir(playground.path(""));
    playground.output(&mut virtualenv, "").expect(0);
    playground.path("environment")
}

/// Returns the path of the wheel that `scripts/test` has built.
fn wheel() -> PathBuf {
    let wheels =
        fs::read_dir(repository("target/wheels")).map(|files| files.map(|file| file.unwrap().path()));
    let wheel = wheels
        .ok()
        .and_then(|mut wheels| wheels.find(|path| path.extension().is_some_and(|end| end == "whl")));
    wheel.unwrap_or_else(|| panic!("no wheel in target/wheels: run the tests by scripts/test"))
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn the_wheel_alone_downloads_exports_and_builds() {
    let playground = Playground::new();
    let environment = environment(&playground);
    let pip = environment.join("bin/pip");
    let index = run(&playground, &pip, &["index", "versions", "onnxruntime", "--retries", "1"]);
    if index.code != Some(0) {
        return skip("the index of Python packages cannot be reached");
    }
    let wheel = wheel();
    run(&playground, &pip, &["install", "--quiet", wheel.to_str().unwrap()]).expect(0);

    // pipx and uv put such a link on the path.
    symlink(environment.join("bin/qwen3-index"), playground.path("qwen3-index")).unwrap();
    playground.write("docs/hello.txt", "Hello.");
    let hub = checkpoints::hub();
    let precision = if has_dot_products() { "int8" } else { "q8" };
    let build = |program: &Path| {
        let mut command = Command::new(program);
        command.args(["build", "docs", "-o", "out.parquet", "--rebuild"]);
        command.args(["--model", "small/model", "--precision", precision]).current_dir(playground.path(""));
        // Without other variables, only the wheel can lead to the library.
        command.env_clear().env("HOME", playground.path("home")).env("HF_ENDPOINT", hub.url());
        playground.output(&mut command, "")
    };
    // The first run downloads the weights and exports them; the second run uses the export.
    let first = build(&environment.join("bin/qwen3-index")).expect(0);
    first.says("downloading model.safetensors, ").says(&format!("exported small/model to {precision}, "));
    let second = build(&playground.path("qwen3-index")).expect(0);
    assert!(!second.stderr.contains("export"), "{}", second.story);
    assert_eq!(rows(&playground.path("out.parquet"))[0].text, "Hello.");

    run(&playground, &pip, &["uninstall", "--quiet", "--yes", "onnxruntime"]).expect(0);
    let without = build(&environment.join("bin/qwen3-index"));
    assert!(without.code == Some(1), "it used another library than the uninstalled one{}", without.story);
}

/// Returns the commands that the help of the program, or of a command, lists.
fn commands(playground: &Playground, of: &[&str]) -> Vec<String> {
    let help = playground.run(&[of, &["--help"]].concat()).expect(0).stdout;
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines.take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn completions_offer_every_command_to_every_shell() {
    let playground = Playground::new();
    let commands = commands(&playground, &[]);
    assert!(commands.len() > 4, "{commands:?}");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = playground.run(&["completions", shell]).expect(0).stdout;
        for command in commands.iter().map(String::as_str).chain(["text-field"]) {
            assert!(script.contains(command), "{shell}: no {command}");
        }
        assert!(!script.contains("worker"), "{shell}: offers a hidden command");
        playground.write(shell, script);
    }
    let bash = |script: &str| run(&playground, Path::new("bash"), &["-c", script]).expect(0).stdout;
    bash("bash -n bash");
    let offered = bash(
        "source ./bash; COMP_WORDS=(qwen3-index ''); COMP_CWORD=1
        function=$(complete -p qwen3-index | sed 's/.* -F \\([^ ]*\\).*/\\1/')
        $function qwen3-index '' qwen3-index; echo \"${COMPREPLY[*]}\"",
    );
    for command in &commands {
        assert!(offered.split_whitespace().any(|word| word == command), "{command}: not in {offered}");
    }
}

#[test]
fn every_command_has_a_man_page() {
    let playground = Playground::new();
    playground.run(&["man", "share/man1"]).expect(0);
    let page = |name: &str| fs::read_to_string(playground.path(&format!("share/man1/{name}.1"))).unwrap();
    let main = page("qwen3-index");
    let commands = commands(&playground, &[]);
    for command in &commands {
        assert!(main.contains(&command.replace('-', "\\-")), "{main}");
        assert!(page(&format!("qwen3-index-{command}")).contains(".SH SYNOPSIS"));
    }
    let mut below = 0;
    for of in ["eval", "model", "push"] {
        let commands = self::commands(&playground, &[of]);
        commands.iter().for_each(|command| _ = page(&format!("qwen3-index-{of}-{command}")));
        below += commands.len();
    }
    let pages = fs::read_dir(playground.path("share/man1")).unwrap().count();
    assert_eq!(pages, 1 + commands.len() + below);

    playground.write("file", "");
    playground.run(&["man", "file/man1"]).expect(1).says("file/man1: man pages cannot be written: ");
}
