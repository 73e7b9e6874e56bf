//! The rules of `ARCHITECTURE.md`: a module imports from the layers below its own, files do not import each other in
//! circles, a type's name has one meaning, and only `cli` and `command` name options.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use walkdir::WalkDir;

/// The layers, from the lowest to the highest.
const LAYERS: [&[&str]; 9] = [
    &["console", "digest", "environment", "error", "interrupt", "network", "shard"],
    &["text"],
    &["vector"],
    &["storage"],
    &["model"],
    &["index", "source"],
    &["eval", "pipeline", "push"],
    &["cli"],
    &["command"],
];

/// Files of Rust at the top of `src`, at most.
const ROOT_FILES_MAX: usize = 8;

type Module = Vec<String>;

/// Returns every file below `src`, with its code without tests and comments.
fn files() -> impl Iterator<Item = (PathBuf, String)> {
    let paths = WalkDir::new("src").into_iter().map(|entry| entry.unwrap().into_path());
    let with_code = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let code: String = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .map(|line| format!("{line}\n"))
            .collect();
        (path, code)
    };
    paths.filter(|path| path.extension().is_some_and(|end| end == "rs")).map(with_code)
}

/// Returns every module below `src` but the three that only name others, with its code without tests and comments. The code of
/// the generated module is left out.
fn modules() -> BTreeMap<Module, String> {
    let others = ["src/lib.rs", "src/main.rs", "src/storage/object/absent.rs"].map(Path::new);
    let module = |(path, code): (PathBuf, String)| {
        let code = if path == Path::new("src/model/export/schema.rs") { String::new() } else { code };
        let name = path.with_extension("").strip_prefix("src").unwrap().to_str().unwrap().to_owned();
        (name.trim_end_matches("/mod").split('/').map(str::to_owned).collect(), code)
    };
    files().filter(|(path, _)| !others.contains(&&**path)).map(module).collect()
}

/// Returns the modules that a module names by `crate::` and `super::`, and those below a folder that its `mod.rs` shows.
fn imports(module: &Module, code: &str, modules: &BTreeMap<Module, String>) -> BTreeSet<Module> {
    let path = Regex::new(r"\b(crate|super)::([\w:]*)(?:\{([^}]*)\})?").unwrap();
    let shown = Regex::new(r"(?m)^pub use (\w+)::()(?:\{([^}]*)\})?").unwrap();
    let is_folder = !Path::new("src").join(module.join("/")).with_extension("rs").exists();
    let mut found = BTreeSet::new();
    for capture in path.captures_iter(code).chain(shown.captures_iter(code)) {
        let mut start = match &capture[1] {
            "crate" => Vec::new(),
            "super" => module[..module.len() - 1].to_vec(),
            child if is_folder => [module.clone(), vec![child.to_owned()]].concat(),
            _ => continue,
        };
        for part in capture[2].split("::").filter(|part| !part.is_empty()) {
            if part == "super" { drop(start.pop()) } else { start.push(part.to_owned()) }
        }
        for name in capture.get(3).map_or("", |names| names.as_str()).split(',') {
            let mut target: Module =
                start.iter().cloned().chain(name.trim().split("::").map(str::to_owned)).collect();
            while !target.is_empty() && !modules.contains_key(&target) {
                target.pop();
            }
            if !target.is_empty() && target != *module {
                found.insert(target);
            }
        }
    }
    found
}

fn layer(module: &Module) -> usize {
    let is_in = |layer: &&[&str]| layer.contains(&module[0].as_str());
    LAYERS.iter().position(is_in).unwrap_or_else(|| panic!("{} has no layer", module.join("::")))
}

#[test]
fn modules_import_from_the_layers_below_their_own() {
    let modules = modules();
    let mut wrong = Vec::new();
    for (module, code) in &modules {
        for import in imports(module, code, &modules).iter().filter(|import| import[0] != module[0]) {
            if layer(import) >= layer(module) && layer(module) > 0 || layer(import) > layer(module) {
                wrong.push(format!("{} -> {}", module.join("::"), import.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "imports that lead up or sideways:\n{}", wrong.join("\n"));
    let root = fs::read_dir("src").unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file()).count();
    assert!(root <= ROOT_FILES_MAX, "{root} files at the top of src");
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let modules = modules();
    let mut left: BTreeMap<&Module, BTreeSet<Module>> =
        modules.iter().map(|(module, code)| (module, imports(module, code, &modules))).collect();
    // What imports nothing that is left is in no circle.
    loop {
        let free: Vec<Module> = left
            .iter()
            .filter(|(_, imports)| imports.is_empty())
            .map(|(module, _)| (*module).clone())
            .collect();
        if free.is_empty() {
            break;
        }
        left.retain(|module, _| !free.contains(module));
        left.values_mut().for_each(|imports| imports.retain(|import| !free.contains(import)));
    }
    let shown = left.iter().map(|(module, imports)| {
        let imports: Vec<String> = imports.iter().map(|import| import.join("::")).collect();
        format!("{} -> {}\n", module.join("::"), imports.join(", "))
    });
    assert!(left.is_empty(), "in a circle, or above one:\n{}", shown.collect::<String>());
}

#[test]
fn a_name_of_a_type_has_one_meaning() {
    let definition = Regex::new(r"(?m)^(?:pub(?:\([a-z]+\))? )?(?:struct|enum|trait|type) (\w+)").unwrap();
    let modules = modules();
    let mut places: HashMap<&str, Vec<String>> = HashMap::new();
    for (module, code) in &modules {
        for capture in definition.captures_iter(code) {
            places.entry(capture.get(1).unwrap().as_str()).or_default().push(module.join("::"));
        }
    }
    let mut twice: Vec<_> = places.into_iter().filter(|(_, places)| places.len() > 1).collect();
    twice.sort();
    assert!(twice.is_empty(), "{twice:?}");
}

/// The layers below do not know the command line. `command/advice.rs` adds advice that names options to their errors.
#[test]
fn only_cli_and_command_name_options() {
    let literal = Regex::new(r#""((?:[^"\\]|\\(?s:.))*)""#).unwrap();
    let option = Regex::new(r"--[a-z]").unwrap();
    let mut named = Vec::new();
    for (path, code) in
        files().filter(|(path, _)| !["src/cli", "src/command"].iter().any(|at| path.starts_with(at)))
    {
        // A quote as a character begins no literal.
        let code = code.replace("'\"'", "' '");
        let literals = literal.captures_iter(&code).map(|found| found[1].to_owned());
        named.extend(
            literals.filter(|text| option.is_match(text)).map(|text| format!("{}: {text}", path.display())),
        );
    }
    assert!(named.is_empty(), "options are named below `command`:\n{}", named.join("\n"));
}
