//! `scripts/integrations/ray_build.py` and docs/engines.md. This module prepares folders; `tests/python/engines.py` checks.

use std::env;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::util::{self, Playground, repository};

fn check(name: &str, playground: &Playground) {
    symlink(repository("fixtures/corpus"), playground.path("docs")).unwrap();
    symlink(repository("fixtures/qwen3-tiny"), playground.path("model")).unwrap();
    let mut python = util::python("ray");
    // Ray's packages come first; the readers' packages run the blocks of pages.
    let sites = ["ray", "readers"].map(|set| repository(&format!("target/python/{set}")));
    python.env("PYTHONPATH", env::join_paths(sites).unwrap());
    let bin = Path::new(env!("CARGO_BIN_EXE_qwen3-index")).parent().unwrap().to_owned();
    let path = env::var_os("PATH").unwrap();
    python.env("PATH", env::join_paths([bin].into_iter().chain(env::split_paths(&path))).unwrap());
    python.env("QWEN3_INDEX_MODEL", playground.path("model")).env_remove("RAY_ADDRESS");
    python.env("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0").env("DO_NOT_TRACK", "1");
    python.arg(repository("tests/python/engines.py")).arg(name).current_dir(playground.path(""));
    print!("{}", playground.output(&mut python, "").expect(0).stdout);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_cluster_writes_the_rows_of_one_machine_even_if_processes_die() {
    check("cluster", &Playground::new());
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn the_code_of_the_page_on_engines_works() {
    let playground = Playground::new();
    playground.write("articles.jsonl", util::jsonl(["A text.", "", "Another text."]));
    for folder in ["scripts", "target"] {
        symlink(repository(folder), playground.path(folder)).unwrap();
    }
    check("page", &playground);
}
