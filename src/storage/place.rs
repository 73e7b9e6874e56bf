//! Replaces a file atomically: a reader sees the whole old file or the whole new file.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{anyhow, ensure};
use rustix::fs::OFlags;
use tempfile::NamedTempFile;

use super::found::is_absent;

/// The number of random characters in the name of a temporary file.
const RANDOM_CHARS: usize = 12;

/// The end of the name of a temporary file.
const TEMPORARY: &str = ".tmp";

/// The end of the name of a backup. The name of a backup is the name of the damaged file, followed by this text. A
/// number follows if a backup with this name exists already.
const BACKUP: &str = ".damaged";

/// The kind of file that will be written.
#[derive(Debug)]
pub struct FileKind {
    /// The name of the format in messages, as in "a Parquet file".
    pub name: &'static str,
    /// The first bytes of every file of this kind.
    pub magic: &'static [u8],
    /// `true` if a damaged file may be replaced too. The run backs up the damaged file first.
    pub replaces_damaged: bool,
}

/// A checked path to write a file to, and the metadata of the file that was there at the time of the check.
#[derive(Debug, Clone)]
pub struct Place {
    /// The name of the place in messages.
    name: String,
    /// The name of the place in messages about the disk.
    name_on_disk: String,
    path: PathBuf,
    /// The metadata of the file that was there when the place was checked; `None` if there was no file.
    old: Option<Metadata>,
    backs_up_old: bool,
}

/// A file that is in place.
#[derive(Debug, Default)]
pub struct Published {
    /// What could not be done for the file.
    pub warnings: Vec<String>,
    /// Whether a person should look at the warnings before the next run, because the disk failed.
    pub needs_attention: bool,
}

impl Published {
    /// Adds the warnings of another file.
    #[must_use]
    pub fn and(mut self, other: Published) -> Self {
        self.warnings.extend(other.warnings);
        Published { needs_attention: self.needs_attention || other.needs_attention, ..self }
    }
}

impl Place {
    /// Checks `path`, or the target if `path` is a symlink. A file that is already there must start with the first bytes of
    /// `kind`, so that a typing error in the path cannot overwrite another file or a device. In messages, the name of the place
    /// is `what`, followed by the path.
    ///
    /// # Errors
    /// The path is a folder, a device, a broken symlink or a file of another kind.
    pub fn new(what: &str, path: &Path, kind: &FileKind) -> anyhow::Result<Self> {
        let name = format!("{what} {}", path.display());
        let refuse = |why: &str| anyhow!("{name}: {why}; name a new file or a {} file", kind.name);
        let unreadable = |e: &io::Error| {
            anyhow!("{name}: cannot be read: {e}; check the disk and the permissions (the file is untouched)")
        };
        if path.file_name().is_none() || path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.is_dir()
        {
            return Err(refuse("is a folder"));
        }
        let (path, old) = match path.symlink_metadata() {
            Err(e) if is_absent(&e) => (path.to_owned(), None),
            Err(e) => return Err(unreadable(&e)),
            Ok(_) => {
                let path = path.canonicalize().map_err(|e| match is_absent(&e) {
                    true => refuse(&format!("is a broken symlink ({e})")),
                    false => unreadable(&e),
                })?;
                let metadata = path.metadata().map_err(|e| unreadable(&e))?;
                (path, Some(metadata))
            }
        };
        if let Some(old) = &old {
            ensure!(old.is_file(), refuse("is not a regular file"));
            let [start, end] = ends(&path, kind.magic.len()).map_err(|e| unreadable(&e))?;
            // A power failure can leave a file of zeros.
            let may_be_damaged =
                end == kind.magic || kind.magic.starts_with(&start) || start.iter().all(|&byte| byte == 0);
            ensure!(
                start == kind.magic || start.is_empty() || kind.replaces_damaged && may_be_damaged,
                refuse(&format!("is not a {} file and would be lost", kind.name))
            );
        }
        Ok(Place { name_on_disk: name.clone(), name, path, old, backs_up_old: false })
    }

    /// Sets the name of the place in messages, for a local copy of an object. Messages about the disk add the path of the local
    /// file.
    pub fn with_name(mut self, name: String) -> Self {
        self.name_on_disk = format!("{name}: {}", self.path.display());
        self.name = name;
        self
    }

    /// Returns the path, with symlinks resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether a file was there when the place was checked.
    pub fn is_taken(&self) -> bool {
        self.old.is_some()
    }

    /// Returns the path of a hidden file in the same folder: `.NAME.end`.
    pub fn sibling(&self, end: &str) -> PathBuf {
        let mut name = self.sibling_prefix();
        name.push(end);
        self.folder().join(name)
    }

    /// Returns the options for making a file at a path from [`Place::sibling`]. Users who may not read the old file may not read
    /// the new file either.
    pub fn sibling_options(&self) -> OpenOptions {
        let mut options = OpenOptions::new();
        // Opening must not follow a symlink: another user with access to the folder could have made a symlink with this name.
        options.mode(self.temporary_mode().mode()).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        options
    }

    /// Makes a temporary file in the same folder, because a rename is atomic only within one file system. Dropping the
    /// [`NamedTempFile`] removes the file. Users who may not read the old file may not read the temporary file either.
    ///
    /// # Errors
    /// The folder does not exist or cannot be written.
    pub fn temporary(&self) -> anyhow::Result<NamedTempFile> {
        let prefix = self.sibling_prefix();
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(TEMPORARY).rand_bytes(RANDOM_CHARS);
        builder.permissions(self.temporary_mode());
        builder.tempfile_in(self.folder()).map_err(|e| self.not_writable(&e))
    }

    /// Checks that the folder exists and can be written, before the work begins for which the file is the result.
    ///
    /// # Errors
    /// The folder does not exist or cannot be written.
    pub fn check_writable(&self) -> anyhow::Result<()> {
        self.temporary().map(drop)
    }

    /// Returns the error for a file that cannot be made in the folder.
    pub fn not_writable(&self, e: &io::Error) -> anyhow::Error {
        match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::FileTooLarge | io::ErrorKind::QuotaExceeded => {
                self.cannot_write(e)
            }
            _ => anyhow!("{}: {e}; its folder must exist and be writable", self.name_on_disk),
        }
    }

    /// Returns the error for a file that could not be written in full.
    pub fn cannot_write(&self, cause: &dyn fmt::Display) -> anyhow::Error {
        anyhow!(
            "{}: cannot be written: {cause}; make room or choose another place (the old file is untouched)",
            self.name_on_disk
        )
    }

    /// Returns the error for a written file that has other content when it is read again.
    pub fn not_as_written(&self, why: &dyn fmt::Display) -> anyhow::Error {
        self.cannot_write(&format!(
            "the file that was read back differs from the file that was written ({why}); check the disk"
        ))
    }

    /// Returns the error for a written file that cannot be read again.
    pub fn cannot_read_back(&self, why: &dyn fmt::Display) -> anyhow::Error {
        anyhow!(
            "{}: the new file cannot be read back: {why}; check the disk and run again (the old file is untouched)",
            self.name_on_disk
        )
    }

    /// Returns the error for a file or folder that cannot be read, so that the run does not know what is there.
    fn cannot_read(&self, e: &io::Error) -> anyhow::Error {
        anyhow!(
            "{}: cannot be read: {e}; check the disk and run again (the file is untouched)",
            self.name_on_disk
        )
    }

    /// Returns the message for a file that could be read earlier in this run, but not any more.
    pub fn cannot_read_again(&self) -> String {
        format!(
            "{}: could be read earlier in this run, but cannot be read any more; check the disk and run again",
            self.name
        )
    }

    /// Removes the temporary files of runs that were killed. Only the run that holds the lock may call this function.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub fn clean(&self) -> anyhow::Result<()> {
        let prefix = self.sibling_prefix();
        let clean = || -> io::Result<()> {
            for entry in fs::read_dir(self.folder())? {
                let entry = entry?;
                if is_temporary(entry.file_name().as_encoded_bytes(), prefix.as_encoded_bytes()) {
                    fs::remove_file(entry.path())?;
                }
            }
            Ok(())
        };
        clean().map_err(|e| self.not_writable(&e))
    }

    /// Moves a temporary file to this place, and gives it the mode and owner of the old file. Flushes the file and the folder to
    /// disk.
    ///
    /// # Errors
    /// The file cannot be moved; another program replaced the old file; the old file cannot be backed up. After an error, the old
    /// file is untouched.
    pub fn publish(&self, file: NamedTempFile) -> anyhow::Result<Published> {
        let mut warnings = Vec::from_iter(self.copy_owner_and_mode(file.as_file()));
        file.as_file().sync_all().map_err(|e| self.cannot_write(&e))?;
        self.check_unchanged()?;
        if self.backs_up_old {
            self.back_up_old()?;
        }
        file.persist(&self.path).map_err(|e| self.cannot_write(&e.error))?;
        // From here on the new file is in place, so nothing may be reported as an error that leaves the old file.
        let flushed = File::open(self.folder()).and_then(|folder| folder.sync_all());
        let needs_attention = flushed.is_err();
        warnings.extend(flushed.err().map(|e| {
            format!(
                "{}: is in place, but its folder cannot be flushed to disk ({e}), so a power failure may bring the old file back; check the disk",
                self.name
            )
        }));
        Ok(Published { warnings, needs_attention })
    }

    /// Removes the file that [`Place::publish`] has put in place. Does not report an error, because the caller has one already.
    pub fn retract(&self) {
        let _ = fs::remove_file(&self.path);
    }

    /// Makes [`Place::publish`] back up the old file before replacing it. Returns the path that the backup will have.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn plan_backup(&mut self) -> anyhow::Result<PathBuf> {
        self.backs_up_old = true;
        self.backup_path()
    }

    /// Returns the first unused path in the series `NAME.damaged`, `NAME.damaged-2` and so on.
    fn backup_path(&self) -> anyhow::Result<PathBuf> {
        let mut number = 1;
        loop {
            let mut path = self.path.clone().into_os_string();
            path.push(BACKUP);
            if number > 1 {
                path.push(format!("-{number}"));
            }
            let path = PathBuf::from(path);
            if is_free(&path).map_err(|e| self.cannot_read(&e))? {
                return Ok(path);
            }
            number += 1;
        }
    }

    fn back_up_old(&self) -> anyhow::Result<()> {
        let backup = self.backup_path()?;
        fs::hard_link(&self.path, &backup)
            // Some file systems have no hard links.
            .or_else(|_| copy_new(&self.path, &backup))
            .map_err(|e| {
                anyhow!(
                    "{}: the damaged file cannot be kept as {} ({e}); make room, or remove the file",
                    self.name,
                    backup.display()
                )
            })
    }

    /// Checks that the old file has not been changed or removed. If there was no old file, checks that there is still no file.
    ///
    /// # Errors
    /// Another program replaced, removed or made the file.
    pub fn check_unchanged(&self) -> anyhow::Result<()> {
        let is_unchanged = match (&self.old, self.path.symlink_metadata()) {
            (Some(old), Ok(now)) => identity(old) == identity(&now),
            (None, Ok(_)) => false,
            (old, Err(e)) if is_absent(&e) => old.is_none(),
            (_, Err(e)) => return Err(self.cannot_read(&e)),
        };
        ensure!(
            is_unchanged,
            "{}: another program wrote or removed this file during the run, so the run did not replace the file; run again to replace it",
            self.name
        );
        Ok(())
    }

    fn folder(&self) -> &Path {
        self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Returns the start of the names of all files that belong to this place: `.NAME.`.
    fn sibling_prefix(&self) -> OsString {
        let mut prefix = OsString::from(".");
        prefix.push(self.path.file_name().unwrap_or_default());
        prefix.push(".");
        prefix
    }

    /// Returns the mode of a temporary file. If there is an old file, only the owner may read the temporary file, until
    /// [`Place::publish`] gives the group and mode of the old file to the temporary file. If there is no old file, the temporary
    /// file has the usual mode of a new file, which the umask reduces.
    fn temporary_mode(&self) -> Permissions {
        Permissions::from_mode(if self.old.is_some() { 0o600 } else { 0o666 })
    }

    /// Gives a file the owner, group and mode of the old file. Returns a warning if that fails.
    fn copy_owner_and_mode(&self, file: &File) -> Option<String> {
        let old = self.old.as_ref()?;
        let new = file.metadata().ok()?;
        let mut mode = old.mode() & 0o777;
        let mut done = Ok(());
        if new.gid() != old.gid() {
            done = fchown(file, None, Some(old.gid()));
            if done.is_err() {
                // The rights of the old file's group must not go to another group.
                mode &= !0o070;
            }
        }
        if new.uid() != old.uid() {
            // Only root may change the owner of a file.
            done = done.and(fchown(file, Some(old.uid()), None));
        }
        // The mode is set last, because a change of owner clears some bits of the mode.
        let done = file.set_permissions(Permissions::from_mode(mode)).and(done);
        done.err().map(|e| format!("{}: its owner, group or mode could not be kept ({e})", self.name))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The device, inode, length and time of the last change of a file.
pub type Identity = (u64, u64, u64, Option<SystemTime>);

/// Returns four values that show whether the file at a path is still the same file.
pub fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino(), metadata.len(), metadata.modified().ok())
}

/// Returns the first `count` bytes and the final `count` bytes of a file.
fn ends(path: &Path, count: usize) -> io::Result<[Vec<u8>; 2]> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from_end = length.saturating_sub(count as u64);
    let mut ends = [Vec::new(), Vec::new()];
    file.by_ref().take(count as u64).read_to_end(&mut ends[0])?;
    file.seek(SeekFrom::Start(from_end))?;
    file.read_to_end(&mut ends[1])?;
    if ends.iter().any(|end| end.len() != usize::try_from(length).unwrap_or(count).min(count)) {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ended early"));
    }
    Ok(ends)
}

/// Returns whether there is no file at a path.
fn is_free(path: &Path) -> io::Result<bool> {
    match path.symlink_metadata() {
        Err(e) if is_absent(&e) => Ok(true),
        metadata => metadata.map(|_| false),
    }
}

/// Copies a file and its mode to a path where there is no file, and flushes the copy to disk. Removes the copy after an error.
fn copy_new(from: &Path, to: &Path) -> io::Result<()> {
    let mut old = File::open(from)?;
    let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let copied = io::copy(&mut old, &mut copy)
        .and_then(|_| copy.set_permissions(old.metadata()?.permissions()))
        .and_then(|()| copy.sync_all());
    copied.inspect_err(|_| drop(fs::remove_file(to)))
}

/// Returns whether `name` is the name of a temporary file that [`Place::temporary`] made with this prefix.
fn is_temporary(name: &[u8], prefix: &[u8]) -> bool {
    let random = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(TEMPORARY.as_bytes()));
    random.is_some_and(|random| random.len() == RANDOM_CHARS && random.iter().all(u8::is_ascii_alphanumeric))
}
