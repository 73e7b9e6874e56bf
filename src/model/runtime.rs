//! Finds and loads the ONNX Runtime library, once a process.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, anyhow, bail, ensure};
use ort::environment::Environment;
use ort::logging::LogLevel;

use super::cuda;
use super::device::Device;

/// Folders of the system, as a dynamic linker knows them.
const SYSTEM: [&str; 6] = [
    "/usr/local/lib",
    "/usr/lib",
    "/usr/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/opt/homebrew/lib",
];

/// ONNX Runtime, once it is loaded.
pub struct Runtime {
    /// The one of the process.
    pub environment: Environment,
    /// Where it was loaded from.
    pub library: PathBuf,
}

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// Loads a library that [`find`] has found for the device, if no other has been loaded before.
///
/// # Errors
/// The library, or one that it needs, cannot be loaded or is too old.
pub fn load(device: &Device, library: &Path) -> anyhow::Result<&'static Runtime> {
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    if let Device::Cuda(_) = device {
        cuda::load_libraries(library).map_err(|e| anyhow!("{e}; {}", device.advice()))?;
    }
    let environment = ort::init_from(library)
        .map_err(|e| {
            anyhow!("{e}; ONNX Runtime 1.{} or newer is needed: {}", ort::MINOR_VERSION, device.advice())
        })?
        .with_name("qwen3-index")
        .with_telemetry(false)
        .build()
        .with_context(|| format!("ONNX Runtime {}", library.display()))?;
    // Its warnings are about graphs, for people who write exporters; errors come back as errors.
    environment.set_log_level(LogLevel::Fatal);
    let runtime = RUNTIME.get_or_init(|| Runtime { environment, library: library.to_owned() });
    // `pip install` may put the library of another package over it.
    ensure!(
        device.is_built_in()?,
        "{}: is not for {device}, though {} lies beside it: it is that of another package; `pip uninstall onnxruntime`, then `pip install --force-reinstall --no-deps {}`",
        library.display(),
        device.provider_library().unwrap_or_default(),
        device.package()
    );
    Ok(runtime)
}

/// The library, from the first of: `ORT_DYLIB_PATH`, the folder of this program, the Python environment that this program
/// was installed into, where `scripts/setup` puts it, the active Python environment, the system.
///
/// # Errors
/// There is none for the device, with where it was looked for.
pub fn find(device: &Device) -> anyhow::Result<PathBuf> {
    if let Some(path) = env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!("ORT_DYLIB_PATH names {}, which is no file; {}", path.display(), device.advice());
        }
        if let Some(library) = device.provider_library()
            && !path.with_file_name(library).is_file()
        {
            bail!("{}: is not for {device}: no {library} beside it; {}", path.display(), device.advice());
        }
        return Ok(path);
    }
    let folders = folders(device);
    let is_for_device =
        |folder: &Path| device.provider_library().is_none_or(|library| folder.join(library).is_file());
    let mut fitting = folders.iter().filter(|folder| is_for_device(folder));
    fitting.find_map(|folder| library_in(folder)).with_context(|| {
        let looked: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        let library = device.provider_library().unwrap_or(PREFIX);
        format!("ONNX Runtime is not installed: no {library} in {}; {}", looked.join(", "), device.advice())
    })
}

/// The plainest name that the library goes by, and what all its names begin with.
#[cfg(target_os = "macos")]
pub const LIBRARY: &str = "libonnxruntime.dylib";
#[cfg(target_os = "macos")]
const PREFIX: &str = "libonnxruntime.";
#[cfg(not(target_os = "macos"))]
pub const LIBRARY: &str = "libonnxruntime.so";
#[cfg(not(target_os = "macos"))]
const PREFIX: &str = LIBRARY;

/// Whether the system's own libraries lie in this folder.
pub fn is_of_system(folder: &Path) -> bool {
    SYSTEM.iter().any(|system| folder == Path::new(system))
}

fn folders(device: &Device) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    // Links followed: pipx and uv put one on the path.
    let program = env::current_exe().and_then(fs::canonicalize).unwrap_or_default();
    let mut above = program.ancestors().skip(1);
    folders.extend(above.next().map(Path::to_owned));
    // What a wheel was installed with goes before what else its user has: an update brings both.
    folders.extend(above.next().iter().flat_map(|root| capi(&root.join("lib"))));
    let data = env::var_os("XDG_DATA_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let data = data.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".local/share")));
    let data = data.map(|data| data.join("qwen3-index"));
    folders.extend(data.iter().flat_map(|data| device.folders().iter().map(|folder| data.join(folder))));
    folders.extend(pythons().iter().flat_map(|root| capi(&root.join("lib"))));
    folders.extend(
        env::split_paths(&env::var_os("LD_LIBRARY_PATH").unwrap_or_default())
            .filter(|path| !path.as_os_str().is_empty()),
    );
    folders.extend(SYSTEM.iter().map(PathBuf::from));
    folders
}

/// Where Python packages may be installed: the active environment, that of the first `python3` on the
/// path, and this user's.
fn pythons() -> Vec<PathBuf> {
    let active = ["VIRTUAL_ENV", "CONDA_PREFIX"].map(env::var_os).into_iter().flatten().map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).find(|folder| folder.join("python3").exists());
    let on_path = on_path.and_then(|bin| Some(bin.parent()?.to_owned()));
    let user = env::var_os("HOME").map(|home| PathBuf::from(home).join(".local"));
    active.chain(on_path).chain(user).collect()
}

/// Where the package `onnxruntime` keeps its library, in each Python below `lib/` that has it.
fn capi(lib: &Path) -> Vec<PathBuf> {
    let pythons = fs::read_dir(lib).into_iter().flatten().flatten().map(|entry| entry.path());
    let pythons = pythons
        .filter(|path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"python3")));
    let packages = pythons.flat_map(|python| [python.join("site-packages"), python.join("dist-packages")]);
    packages.map(|packages| packages.join("onnxruntime/capi")).filter(|capi| capi.is_dir()).collect()
}

/// The library with the plainest name: `libonnxruntime.so` before `libonnxruntime.so.1.31.1`.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let names = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name());
    let is_library = |name: &OsStr| name.as_encoded_bytes().starts_with(PREFIX.as_bytes());
    let name = names.filter(|name| is_library(name)).min_by_key(|name| (name.len(), name.clone()))?;
    Some(folder.join(name))
}
