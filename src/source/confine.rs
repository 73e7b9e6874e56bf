//! Takes from a worker process the rights that reading a document does not need. A parser with a fault that lets a document
//! run code of its own must reach neither files nor the network. Only this module uses landlock and seccompiler.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

/// What confines a worker besides limits.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Confinement {
    /// Whether Landlock denies all paths.
    pub landlock: bool,
    /// Whether a seccomp filter denies all system calls but a few.
    pub seccomp: bool,
}

/// Confines this process, which must have only one thread. `memory` is the maximum address space, in bytes.
///
/// # Errors
/// A limit cannot be set. A kernel without Landlock or seccomp filters is no error.
pub fn confine(memory: u64) -> io::Result<Confinement> {
    system::prepare()?;
    limit(Resource::As, memory)?;
    // Damaged files crash workers from time to time, and core dumps would fill the disk.
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    system::restrict_thread()
}

/// Keeps this process from opening anything. What is open stays open.
fn limit_open_files() -> io::Result<()> {
    limit(Resource::Nofile, 0)
}

fn limit(resource: Resource, max: u64) -> io::Result<()> {
    let max = Some(getrlimit(resource).maximum.map_or(max, |hard| hard.min(max)));
    Ok(setrlimit(resource, Rlimit { current: max, maximum: max })?)
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;

    use crate::source::confine::{Confinement, limit_open_files};

    pub fn prepare() -> io::Result<()> {
        Ok(())
    }

    pub fn restrict_thread() -> io::Result<Confinement> {
        limit_open_files().map(|()| Confinement::default())
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::env::consts::ARCH;
    use std::{fs, io, process};

    use landlock::{
        ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetError, RulesetStatus, Scope,
    };
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    use rustix::thread::set_no_new_privs;
    use seccompiler::{
        BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
        SeccompFilter, SeccompRule, TargetArch, apply_filter,
    };

    use crate::source::confine::{Confinement, limit_open_files};

    /// The newest interface of Landlock that this module knows. An older kernel denies what it knows.
    const LANDLOCK: ABI = ABI::V6;

    /// System calls that a worker needs with any arguments: for memory, time, randomness and signal handlers, and to end.
    const ALLOWED: [i64; 18] = [
        libc::SYS_brk,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_fstat,
        libc::SYS_futex,
        libc::SYS_sched_yield,
        libc::SYS_clock_gettime,
        libc::SYS_getrandom,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_restart_syscall,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];

    /// Makes this process gain no privileges, makes its memory unreadable for others, and makes the kernel end it before the main
    /// process if memory is short.
    pub fn prepare() -> io::Result<()> {
        // The file is missing in some containers.
        let _ = fs::write("/proc/self/oom_score_adj", "1000");
        set_no_new_privs(true)?;
        Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
    }

    /// Takes from this thread the right to open files and sockets. Does what the kernel can do: it may be too old, and a
    /// container may refuse both Landlock and the filter.
    pub fn restrict_thread() -> io::Result<Confinement> {
        let landlock = restrict_paths().is_ok_and(|status| status != RulesetStatus::NotEnforced);
        // Landlock needs a descriptor until here.
        limit_open_files()?;
        Ok(Confinement { landlock, seccomp: restrict_system_calls().is_ok() })
    }

    pub fn restrict_paths() -> Result<RulesetStatus, RulesetError> {
        let rules = Ruleset::default()
            .handle_access(AccessFs::from_all(LANDLOCK))?
            .handle_access(AccessNet::from_all(LANDLOCK))?
            .scope(Scope::from_all(LANDLOCK))?;
        Ok(rules.create()?.restrict_self()?.ruleset)
    }

    pub fn restrict_system_calls() -> Result<(), Error> {
        let is = |argument, operator, value: i32| {
            SeccompCondition::new(
                argument,
                SeccompCmpArgLen::Dword,
                operator,
                u64::from(value.cast_unsigned()),
            )
        };
        let no_code = || is(2, SeccompCmpOp::MaskedEq(u64::from(libc::PROT_EXEC.cast_unsigned())), 0);
        // The main process, its libraries or a shell may have left other descriptors open.
        let limited: [(i64, Vec<Result<SeccompCondition, BackendError>>); 8] = [
            (libc::SYS_read, vec![is(0, SeccompCmpOp::Eq, libc::STDIN_FILENO)]),
            (libc::SYS_pread64, vec![is(0, SeccompCmpOp::Eq, libc::STDIN_FILENO)]),
            (libc::SYS_write, vec![is(0, SeccompCmpOp::Le, libc::STDERR_FILENO)]),
            (libc::SYS_writev, vec![is(0, SeccompCmpOp::Le, libc::STDERR_FILENO)]),
            (libc::SYS_mmap, vec![no_code(), is(4, SeccompCmpOp::Eq, -1)]),
            (libc::SYS_mprotect, vec![no_code()]),
            // Limits and signals of this process only, not of its parent.
            (libc::SYS_prlimit64, vec![is(0, SeccompCmpOp::Eq, 0)]),
            (libc::SYS_tgkill, vec![is(0, SeccompCmpOp::Eq, process::id().cast_signed())]),
        ];
        let mut rules: Vec<(i64, Vec<SeccompRule>)> = ALLOWED.map(|call| (call, Vec::new())).into();
        for (call, conditions) in limited {
            let conditions = conditions.into_iter().collect::<Result<_, _>>()?;
            rules.push((call, vec![SeccompRule::new(conditions)?]));
        }
        // The C library has a fallback for calls that a kernel does not have.
        let refused = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
        let arch = TargetArch::try_from(ARCH)?;
        let filter = SeccompFilter::new(rules.into_iter().collect(), refused, SeccompAction::Allow, arch)?;
        apply_filter(&BpfProgram::try_from(filter)?)
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::fs::{self, File, OpenOptions};
    use std::io::Read;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
    use std::process::Command;
    use std::thread;

    use super::*;

    /// Landlock and the filter apply to a thread, so a thread of this test stands for a worker. The limit on open files applies
    /// to the process and is left out.
    #[test]
    fn a_confined_thread_opens_neither_files_nor_sockets_and_starts_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (file, socket) = (folder.path().join("file"), folder.path().join("socket"));
        fs::write(&file, "text").unwrap();
        let (tcp, unix) = (TcpListener::bind("127.0.0.1:0").unwrap(), UnixListener::bind(&socket).unwrap());
        let address = tcp.local_addr().unwrap();
        let mut open = File::open(&file).unwrap();
        let confined = thread::spawn(move || {
            system::restrict_paths().unwrap();
            system::restrict_system_calls().unwrap();
            let done: Vec<(&str, bool)> = vec![
                ("opens a file", File::open(&file).is_ok()),
                ("opens a folder", fs::read_dir("/").is_ok()),
                ("asks for the size of a file", fs::metadata(&file).is_ok()),
                ("reads an open file", open.read(&mut [0]).is_ok()),
                ("copies a descriptor", open.try_clone().is_ok()),
                ("writes a file", OpenOptions::new().append(true).open(&file).is_ok()),
                ("makes a file", File::create(file.with_extension("new")).is_ok()),
                ("makes a folder", fs::create_dir(file.with_extension("folder")).is_ok()),
                ("makes a link", std::os::unix::fs::symlink("/", file.with_extension("link")).is_ok()),
                ("renames a file", fs::rename(&file, file.with_extension("moved")).is_ok()),
                ("removes a file", fs::remove_file(&file).is_ok()),
                ("connects by TCP", TcpStream::connect(address).is_ok()),
                ("listens by TCP", TcpListener::bind("127.0.0.1:0").is_ok()),
                ("has a UDP socket", UdpSocket::bind("127.0.0.1:0").is_ok()),
                ("connects to a Unix socket", UnixStream::connect(&socket).is_ok()),
                ("has a pair of Unix sockets", UnixStream::pair().is_ok()),
                ("has a Unix socket", UnixDatagram::unbound().is_ok()),
                ("has a pipe", io::pipe().is_ok()),
                ("starts a program", Command::new("/bin/true").spawn().is_ok()),
                ("starts a thread", thread::Builder::new().spawn(|| ()).is_ok()),
                (
                    "signals its parent",
                    rustix::process::test_kill_process(rustix::process::Pid::INIT).is_ok(),
                ),
            ];
            let can: Vec<&str> =
                done.into_iter().filter_map(|(what, is_done)| is_done.then_some(what)).collect();
            (can, vec![1_u8; 64 << 20].len())
        });
        let (can, _) = confined.join().unwrap();
        drop(unix);
        assert!(can.is_empty(), "{can:?}");
    }
}
