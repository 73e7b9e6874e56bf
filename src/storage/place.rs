//! Where a file is to be put, in the place of what may be there. A reader sees the old file or the new one, never a
//! part.

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

/// Random characters in the name of a temporary file.
const RANDOM: usize = 12;
const TEMPORARY: &str = ".tmp";

/// What is added to the name of a file that is damaged and kept.
const DAMAGED: &str = ".damaged";

/// What is put there.
#[derive(Debug)]
pub struct FileKind {
    /// As people call it.
    pub name: &'static str,
    /// Its first bytes.
    pub magic: &'static [u8],
    /// Whether what is damaged there is kept beside it.
    pub is_kept: bool,
}

/// A path that has been checked, and what was there.
#[derive(Debug)]
pub struct Place {
    /// As the user named it, for messages.
    named: String,
    /// The same for what has to do with the disk that it lies on.
    file: String,
    path: PathBuf,
    before: Option<Metadata>,
    /// Whether what is there is to be kept under another name.
    is_kept: bool,
}

impl Place {
    /// Looks at what `path` is, or is a link to. What is there must be of the kind that is going to be put there, by
    /// its first bytes: a slip of the hand must not cost a document or a device. `what` is what messages call it.
    ///
    /// # Errors
    /// It is a folder, a device or a file of another kind; its folder is not there.
    pub fn new(what: &str, path: &Path, kind: &FileKind) -> anyhow::Result<Self> {
        let named = format!("{what} {}", path.display());
        let refuse = |why: &str| anyhow!("{named}: {why}; name a file that is new or {}", kind.name);
        if path.file_name().is_none() || path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.is_dir()
        {
            return Err(refuse("is a folder"));
        }
        let (path, before) = match path.symlink_metadata() {
            Err(_) => (path.to_owned(), None),
            Ok(_) => {
                let path = path.canonicalize().map_err(|e| refuse(&format!("is a broken link ({e})")))?;
                let metadata = path.metadata().map_err(|e| refuse(&format!("cannot be read ({e})")))?;
                (path, Some(metadata))
            }
        };
        if let Some(before) = &before {
            ensure!(before.is_file(), refuse("is no regular file"));
            let [start, end] =
                ends(&path, kind.magic.len()).map_err(|e| refuse(&format!("cannot be read ({e})")))?;
            // Zeros are what a loss of power can leave.
            let may_be_damaged =
                end == kind.magic || kind.magic.starts_with(&start) || start.iter().all(|&byte| byte == 0);
            ensure!(
                start == kind.magic || start.is_empty() || kind.is_kept && may_be_damaged,
                refuse(&format!("is no {} file and would be lost", kind.name))
            );
        }
        Ok(Place { file: named.clone(), named, path, before, is_kept: false })
    }

    /// The same, called something else in messages.
    pub fn called(mut self, name: String) -> Self {
        self.file = format!("{name}: {}", self.path.display());
        self.named = name;
        self
    }

    /// The path, links followed.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a file is there.
    pub fn is_taken(&self) -> bool {
        self.before.is_some()
    }

    /// A hidden name beside it.
    pub fn beside(&self, end: &str) -> PathBuf {
        let mut name = self.prefix();
        name.push(end);
        self.folder().join(name)
    }

    /// How to make a file beside it: who may not read the old file may not read that either.
    pub fn options(&self) -> OpenOptions {
        let mut options = OpenOptions::new();
        // In a folder that others may write, a link of that name leads where they want.
        options.mode(self.mode_at_work().mode()).custom_flags(OFlags::NOFOLLOW.bits() as i32);
        options
    }

    /// A file in the same folder, since a rename is atomic within one file system only; gone when dropped. Who may
    /// not read the old file may not read it either.
    ///
    /// # Errors
    /// The folder does not exist or cannot be written.
    pub fn temporary(&self) -> anyhow::Result<NamedTempFile> {
        let prefix = self.prefix();
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(TEMPORARY).rand_bytes(RANDOM);
        builder.permissions(self.mode_at_work());
        builder.tempfile_in(self.folder()).map_err(|e| self.not_writable(&e))
    }

    /// Nothing can be made in its folder.
    pub fn not_writable(&self, e: &io::Error) -> anyhow::Error {
        match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::FileTooLarge | io::ErrorKind::QuotaExceeded => {
                self.cannot_write(e)
            }
            _ => anyhow!("{}: {e}; its folder must exist and be writable", self.file),
        }
    }

    /// It could not be written to the end.
    pub fn cannot_write(&self, cause: &dyn std::fmt::Display) -> anyhow::Error {
        anyhow!(
            "{}: cannot be written: {cause}; make room or choose another place (the old file is untouched)",
            self.file
        )
    }

    /// What was written is not what is read.
    pub fn not_as_written(&self, why: &dyn fmt::Display) -> anyhow::Error {
        self.cannot_write(&format!("it does not read back as written ({why}); check the disk"))
    }

    /// What is there cannot be read any more.
    pub fn cannot_read_again(&self) -> String {
        format!("{}: could be read before and cannot now; check the disk and run again", self.named)
    }

    /// Removes what runs left that were killed. To be called by the one run that holds the place.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub fn clean(&self) -> anyhow::Result<()> {
        let prefix = self.prefix();
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

    /// Puts the file in place, with mode and owner of the old one; on disk when this returns. Gives back a warning
    /// where mode or owner could not be kept.
    ///
    /// # Errors
    /// It could not be moved, or what was there has been replaced in the meantime.
    pub fn put(&self, file: NamedTempFile) -> anyhow::Result<Option<String>> {
        let warning = self.keep_owner(file.as_file());
        file.as_file().sync_all().map_err(|e| self.cannot_write(&e))?;
        self.check_as_found()?;
        if self.is_kept {
            self.keep_now()?;
        }
        file.persist(&self.path).map_err(|e| self.cannot_write(&e.error))?;
        self.sync_folder()?;
        Ok(warning)
    }

    /// Has what is there kept when something is put in its place, and gives the name that it will have.
    pub fn keep(&mut self) -> PathBuf {
        self.is_kept = true;
        self.kept_name()
    }

    fn kept_name(&self) -> PathBuf {
        let name = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(DAMAGED);
            if number > 1 {
                name.push(format!("-{number}"));
            }
            PathBuf::from(name)
        };
        (1..).map(name).find(|name| name.symlink_metadata().is_err()).unwrap_or_default()
    }

    fn keep_now(&self) -> anyhow::Result<()> {
        let name = self.kept_name();
        fs::hard_link(&self.path, &name)
            // Some file systems have no links.
            .or_else(|_| fs::copy(&self.path, &name).map(drop))
            .map_err(|e| anyhow!("{}: cannot be kept as {}: {e}", self.named, name.display()))
    }

    /// A rename, and a new file, is on disk only when the folder is.
    ///
    /// # Errors
    /// The disk fails.
    pub fn sync_folder(&self) -> anyhow::Result<()> {
        File::open(self.folder()).and_then(|folder| folder.sync_all()).map_err(|e| {
            anyhow!("{}: its folder cannot be flushed to disk ({e}); check the disk", self.named)
        })
    }

    /// Whether what was there when the run began is there still.
    ///
    /// # Errors
    /// It has been replaced, removed or made in the meantime.
    pub fn check_as_found(&self) -> anyhow::Result<()> {
        let is_as_found = match (&self.before, self.path.symlink_metadata()) {
            (None, Err(_)) => true,
            (Some(before), Ok(now)) => stamp(before) == stamp(&now),
            _ => false,
        };
        ensure!(
            is_as_found,
            "{}: another program has written or removed it during this run, so it is left as it is now; run again, if it is to be replaced",
            self.named
        );
        Ok(())
    }

    fn folder(&self) -> &Path {
        self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// What the names of files that belong to it start with.
    fn prefix(&self) -> OsString {
        let mut prefix = OsString::from(".");
        prefix.push(self.path.file_name().unwrap_or_default());
        prefix.push(".");
        prefix
    }

    /// Of a file that is not in place yet. While it is not known whose the old one's group is, it is its owner's alone; a new
    /// one is as any file that a program makes: the umask takes from it.
    fn mode_at_work(&self) -> Permissions {
        Permissions::from_mode(if self.before.is_some() { 0o600 } else { 0o666 })
    }

    fn keep_owner(&self, file: &File) -> Option<String> {
        let before = self.before.as_ref()?;
        let now = file.metadata().ok()?;
        let mut mode = before.mode() & 0o777;
        let mut kept = Ok(());
        if now.gid() != before.gid() {
            kept = fchown(file, None, Some(before.gid()));
            if kept.is_err() {
                // What the one group may is not for another.
                mode &= !0o070;
            }
        }
        if now.uid() != before.uid() {
            // Only root may give a file away.
            kept = kept.and(fchown(file, Some(before.uid()), None));
        }
        // In this order: giving a file away takes bits from its mode.
        let kept = file.set_permissions(Permissions::from_mode(mode)).and(kept);
        kept.err().map(|e| format!("{}: its owner, group or mode could not be kept ({e})", self.named))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.named)
    }
}

/// By what a file is known to be the one that was there.
fn stamp(metadata: &Metadata) -> (u64, u64, u64, Option<SystemTime>) {
    (metadata.dev(), metadata.ino(), metadata.len(), metadata.modified().ok())
}

/// So many bytes from its start, and from its end.
fn ends(path: &Path, count: usize) -> io::Result<[Vec<u8>; 2]> {
    let mut file = File::open(path)?;
    let from_end = file.metadata()?.len().saturating_sub(count as u64);
    let mut ends = [Vec::new(), Vec::new()];
    file.by_ref().take(count as u64).read_to_end(&mut ends[0])?;
    file.seek(SeekFrom::Start(from_end))?;
    file.read_to_end(&mut ends[1])?;
    Ok(ends)
}

fn is_temporary(name: &[u8], prefix: &[u8]) -> bool {
    let random = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(TEMPORARY.as_bytes()));
    random.is_some_and(|random| random.len() == RANDOM && random.iter().all(u8::is_ascii_alphanumeric))
}
