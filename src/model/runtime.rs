//! Finds the library of ONNX Runtime for a device, and loads the library once per process.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{self, Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{anyhow, bail, ensure};
use ort::environment::Environment;
use ort::logging::LogLevel;

use super::cuda;
use super::device::{Device, DeviceError};
use crate::console::debug;
use crate::environment;
use crate::storage::found::is_file;

/// The folders of the system in which a dynamic linker searches for libraries.
const SYSTEM: [&str; 6] = [
    "/usr/local/lib",
    "/usr/lib",
    "/usr/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/opt/homebrew/lib",
];

/// The loaded ONNX Runtime.
pub struct Runtime {
    pub environment: Environment,
    /// The file that ONNX Runtime was loaded from.
    pub library: PathBuf,
}

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// Loads the library that [`find`] has found for the device. Later calls return the library that the first call loaded, even if
/// the later calls name another device.
///
/// # Errors
/// The library is too old, was not built for the device, or needs another library that cannot be loaded.
pub fn load(device: &Device, library: &Path) -> anyhow::Result<&'static Runtime> {
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    // The dynamic linker would search for a name without `/` in other folders.
    let file = path::absolute(library)?;
    if let Device::Cuda(_) = device {
        cuda::load_libraries(&file).map_err(|e| device.unusable(e.to_string()))?;
    }
    let environment = ort::init_from(file)
        .map_err(|e| {
            device.unusable(format!("{e}; ONNX Runtime 1.{} or newer is required", ort::MINOR_VERSION))
        })?
        .with_name("qwen3-index")
        .with_telemetry(false)
        .build()
        .map_err(|e| device.unusable(format!("ONNX Runtime {}: cannot start: {e}", library.display())))?;
    // ONNX Runtime's warnings help only authors of exporters, and this tool reports errors itself.
    environment.set_log_level(LogLevel::Fatal);
    debug(|| format!("ONNX Runtime {}: {}", library.display(), origin(device, library)));
    let runtime = RUNTIME.get_or_init(|| Runtime { environment, library: library.to_owned() });
    // The library may be from another package that `pip install` has installed over the library for this device.
    ensure!(
        device.is_built_in()?,
        DeviceError::Replaced {
            device: device.clone(),
            library: library.display().to_string(),
            provider: device.provider_library().unwrap_or_default(),
        }
    );
    Ok(runtime)
}

/// Finds the library for a device. Searches in this order: `ORT_DYLIB_PATH`, the folder of this program, the Python
/// environment that this program was installed into, the folder of `scripts/setup`, the active Python environment,
/// `LD_LIBRARY_PATH`, the folders of the system. Except in `ORT_DYLIB_PATH`, relative paths in environment variables are ignored.
///
/// # Errors
/// There is no library for the device. The message lists the searched folders.
pub fn find(device: &Device) -> anyhow::Result<PathBuf> {
    if let Some(path) = env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!(device.unusable(format!("ORT_DYLIB_PATH names {}, which is not a file", path.display())));
        }
        if let Some(library) = device.provider_library()
            && !path.with_file_name(library).is_file()
        {
            let cause = format!("{}: was not built for {device}: no {library} beside it", path.display());
            bail!(device.unusable(cause));
        }
        return Ok(path);
    }
    let folders = folders(device);
    let is_for_device =
        |folder: &Path| device.provider_library().is_none_or(|library| folder.join(library).is_file());
    let mut fitting = folders.iter().filter(|(folder, _)| is_for_device(folder));
    fitting.find_map(|(folder, _)| library_in(folder)).ok_or_else(|| {
        let searched: Vec<String> = folders.iter().map(|(folder, _)| folder.display().to_string()).collect();
        let library = device.provider_library().unwrap_or(PREFIX);
        let cause = format!("ONNX Runtime is not installed: no {library} in {}", searched.join(", "));
        device.unusable(cause).into()
    })
}

/// Says where [`find`] has found a library.
fn origin(device: &Device, library: &Path) -> &'static str {
    if env::var_os("ORT_DYLIB_PATH").is_some_and(|path| !path.is_empty()) {
        return "ORT_DYLIB_PATH names it";
    }
    let folders = folders(device);
    let found = folders.iter().find(|(folder, _)| library.parent() == Some(folder));
    found.map_or("it was found", |(_, origin)| origin)
}

/// The file name of the library without a version. Every file name of the library, with or without a version, begins with
/// [`PREFIX`].
#[cfg(target_os = "macos")]
pub const LIBRARY: &str = "libonnxruntime.dylib";
#[cfg(target_os = "macos")]
const PREFIX: &str = "libonnxruntime.";
#[cfg(not(target_os = "macos"))]
pub const LIBRARY: &str = "libonnxruntime.so";
#[cfg(not(target_os = "macos"))]
const PREFIX: &str = LIBRARY;

/// Returns the files that ONNX Runtime requires for the device. Each pair is the path of a file, and the relative path of the
/// file's copy in a bundle.
///
/// # Errors
/// ONNX Runtime is not installed for the device, or is in a system folder together with unrelated libraries.
pub fn libraries(device: &Device) -> anyhow::Result<Vec<(PathBuf, PathBuf)>> {
    let library = find(device)?;
    let Some(folder) = library.parent().filter(|_| device.provider_library().is_some()) else {
        return Ok(vec![(library, PathBuf::from(LIBRARY))]);
    };
    ensure!(
        !SYSTEM.iter().any(|system| folder == Path::new(system)),
        device.unusable(format!(
            "{}: is a system folder with many libraries, but a bundle must contain only ONNX Runtime",
            folder.display()
        ))
    );
    let folders = match device {
        Device::Cuda(_) => cuda::folders(&library),
        Device::Cpu | Device::OpenVino => vec![folder.to_owned()],
    };
    let mut libraries = BTreeMap::new();
    for folder in folders {
        let cannot_list =
            |e| anyhow!("{}: cannot be listed: {e}; check that this user may read it", folder.display());
        for entry in fs::read_dir(&folder).map_err(cannot_list)? {
            let path = entry.map_err(cannot_list)?.path();
            let Some(name) = path.file_name().filter(|name| is_library_or_license(name)) else { continue };
            if is_file(&path).map_err(cannot_list)? {
                // If several folders have a library of this name, ONNX Runtime loads the library of the first of these folders.
                libraries.entry(PathBuf::from(name)).or_insert_with(|| path.clone());
            }
        }
    }
    Ok(libraries.into_iter().map(|(name, path)| (path, name)).collect())
}

/// Returns whether a file of a Python package is a library or a license.
fn is_library_or_license(name: &OsStr) -> bool {
    ["lib", "LICENSE", "ThirdParty"].iter().any(|start| name.to_string_lossy().starts_with(start))
}

/// Returns the folders to search, each with the words that say why a library there is found.
fn folders(device: &Device) -> Vec<(PathBuf, &'static str)> {
    // `canonicalize` follows symlinks, because pipx and uv put a symlink to the program into a folder of `PATH`.
    let program = env::current_exe().and_then(fs::canonicalize).unwrap_or_default();
    let mut above = program.ancestors().skip(1).map(Path::to_owned);
    let beside = above.next().into_iter().collect();
    // If this tool was installed from a wheel, the tool depends on the ONNX Runtime of the same Python environment. So this
    // environment is searched before all other Python environments.
    let own = above.next().map_or_else(Vec::new, |root| capi(&root.join("lib")));
    let data = environment::folder("XDG_DATA_HOME");
    let data = data.or_else(|| Some(environment::folder("HOME")?.join(".local/share")));
    let data = data.map(|data| data.join("qwen3-index"));
    let setup = data.iter().flat_map(|data| device.setup_folders().iter().map(|folder| data.join(folder)));
    let groups: [(Vec<PathBuf>, _); 6] = [
        (beside, "it is beside this program"),
        (own, "it is in the Python environment of this program"),
        (setup.collect(), "it is in the folder of scripts/setup"),
        (
            pythons().iter().flat_map(|root| capi(&root.join("lib"))).collect(),
            "it is in a Python environment",
        ),
        (environment::folders("LD_LIBRARY_PATH"), "LD_LIBRARY_PATH names its folder"),
        (SYSTEM.map(PathBuf::from).into(), "it is in a folder of the system"),
    ];
    groups.into_iter().flat_map(|(of, why)| of.into_iter().map(move |folder| (folder, why))).collect()
}

/// Returns the root folders of Python environments: the active environments, the environment of the first `python3` in `PATH`,
/// and `~/.local`.
fn pythons() -> Vec<PathBuf> {
    let active = ["VIRTUAL_ENV", "CONDA_PREFIX"].map(environment::folder).into_iter().flatten();
    let on_path = environment::folders("PATH").into_iter().find(|folder| folder.join("python3").exists());
    let on_path = on_path.and_then(|bin| Some(bin.parent()?.to_owned()));
    let user = environment::folder("HOME").map(|home| home.join(".local"));
    active.chain(on_path).chain(user).collect()
}

/// Returns the folders `onnxruntime/capi` below `lib`. Each version of Python may have such a folder, with the library of ONNX
/// Runtime.
fn capi(lib: &Path) -> Vec<PathBuf> {
    let pythons = fs::read_dir(lib).into_iter().flatten().flatten().map(|entry| entry.path());
    let pythons = pythons
        .filter(|path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"python3")));
    let packages = pythons.flat_map(|python| [python.join("site-packages"), python.join("dist-packages")]);
    packages.map(|packages| packages.join("onnxruntime/capi")).filter(|capi| capi.is_dir()).collect()
}

/// Returns the library of ONNX Runtime in a folder. If the folder has several files of the library, this function returns the
/// file with the shortest name, for example `libonnxruntime.so` and not `libonnxruntime.so.1.31.1`.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let names = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name());
    let is_library = |name: &OsStr| name.as_encoded_bytes().starts_with(PREFIX.as_bytes());
    let name = names.filter(|name| is_library(name)).min_by_key(|name| (name.len(), name.clone()))?;
    Some(folder.join(name))
}
