//! The ways out.
#![expect(unsafe_code, reason = "strangers' machine code asks nobody")]

use super::inside::World;
use std::ffi::{CString, c_long, c_void};
use std::fs;
use std::io;
use std::net::{TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::path::Path;

/// One way out.
pub(super) struct Attempt {
    pub(super) name: &'static str,
    pub(super) attempt: fn(&World) -> io::Result<()>,
    /// Whether it succeeds without walls wherever these tests run.
    pub(super) free: bool,
    /// Whether Landlock alone refuses it, of the version that this kernel has.
    pub(super) landlock: Option<u32>,
}

const fn way(name: &'static str, attempt: fn(&World) -> io::Result<()>) -> Attempt {
    Attempt { name, attempt, free: true, landlock: None }
}

impl Attempt {
    /// Landlock refuses it too, from this version on.
    const fn landlock(self, version: u32) -> Self {
        Self { landlock: Some(version), ..self }
    }

    /// Some systems refuse it to everybody.
    const fn rare(self) -> Self {
        Self { free: false, ..self }
    }
}

pub(super) const ALL: &[Attempt] = &[
    way("read the account's key", |world| fs::read(world.home.join("key")).map(drop)).landlock(1),
    way("write over it", |world| {
        fs::OpenOptions::new().write(true).open(world.home.join("key")).map(drop)
    })
    .landlock(1),
    way("put a file beside it", |world| fs::write(world.home.join("new"), "x")).landlock(1),
    way("list the folder", |world| fs::read_dir(&world.home).map(drop)).landlock(1),
    way("remove the key", |world| fs::remove_file(world.home.join("gone"))).landlock(1),
    way("link to the key", |world| {
        std::os::unix::fs::symlink(world.home.join("key"), world.home.join("link"))
    })
    .landlock(1),
    way("learn that the key exists", |world| {
        let path = c_path(&world.home.join("key"));
        // SAFETY: a terminated path and room for the answer.
        ask(|| unsafe {
            let mut found: libc::stat = std::mem::zeroed();
            libc::syscall(libc::SYS_newfstatat, libc::AT_FDCWD, path.as_ptr(), &raw mut found, 0)
        })
    }),
    way("open the key to all", |world| {
        let path = c_path(&world.home.join("key"));
        // SAFETY: a terminated path.
        ask(|| unsafe { libc::syscall(libc::SYS_fchmodat, libc::AT_FDCWD, path.as_ptr(), 0o666) })
    }),
    way("read the parent's environment", |world| {
        fs::read(format!("/proc/{}/environ", world.parent)).map(drop)
    })
    .landlock(1),
    way("open the parent's memory", |world| {
        fs::File::open(format!("/proc/{}/mem", world.parent)).map(drop)
    })
    .rare()
    .landlock(1),
    way("read the parent's memory", |world| {
        let mut word = [0_u8; 8];
        let to = libc::iovec { iov_base: word.as_mut_ptr().cast(), iov_len: word.len() };
        let from = libc::iovec { iov_base: world.address as *mut c_void, iov_len: word.len() };
        // SAFETY: the system writes into the word, and checks the other address.
        ask(|| unsafe {
            libc::process_vm_readv(world.parent, &raw const to, 1, &raw const from, 1, 0) as c_long
        })
    })
    .rare(),
    way("trace the parent", |world| {
        // SAFETY: no pointer is used.
        ask(|| unsafe {
            libc::syscall(libc::SYS_ptrace, libc::PTRACE_SEIZE, world.parent, 0_usize, 0_usize)
        })
    })
    .rare(),
    way("signal the parent", |world| {
        // SAFETY: a signal that changes nothing for a process that runs.
        ask(|| unsafe { c_long::from(libc::kill(world.parent, libc::SIGCONT)) })
    })
    .landlock(6),
    way("signal a thread of the parent", |world| {
        // SAFETY: as before.
        ask(|| unsafe {
            libc::syscall(libc::SYS_tgkill, world.parent, world.parent, libc::SIGCONT)
        })
    })
    .landlock(6),
    way("slow the parent down", |world| {
        let who = world.parent.cast_unsigned();
        // SAFETY: numbers only; the niceness is the one that it has.
        ask(|| unsafe { c_long::from(libc::setpriority(libc::PRIO_PROCESS, who, 0)) })
    })
    .rare(),
    way("take the parent's files", |world| {
        // SAFETY: numbers only.
        let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, world.parent, 0) };
        if pidfd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: numbers only.
        ask(|| unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd, 1, 0) })
    })
    .rare(),
    way("connect to a port of this machine", |world| {
        TcpStream::connect(("127.0.0.1", world.port)).map(drop)
    })
    .landlock(4),
    way("send datagrams", |_| UdpSocket::bind("127.0.0.1:0").map(drop)),
    way("connect to the worker's socket", |world| {
        UnixStream::connect(world.home.join("socket")).map(drop)
    }),
    way("connect to an abstract socket", |world| {
        let name = format!("starling escape {}", world.parent);
        UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?).map(drop)
    })
    .landlock(6),
    way("make a socket of its own", |_| UnixDatagram::unbound().map(drop)),
    way("fork", |_| {
        // SAFETY: the new process ends at once.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: ends this process without anything else.
            unsafe { libc::_exit(0) }
        }
        ask(|| c_long::from(pid))
    }),
    way("start a thread", |_| {
        std::thread::Builder::new().spawn(|| {}).map(|thread| drop(thread.join()))
    }),
    way("become another program", |world| {
        let program = c_path(&world.home.join("true"));
        let arguments = [program.as_ptr(), std::ptr::null()];
        // SAFETY: terminated lists of terminated strings.
        ask(|| unsafe {
            c_long::from(libc::execve(
                program.as_ptr(),
                arguments.as_ptr(),
                &raw const arguments[1],
            ))
        })
    })
    .landlock(1),
    way("become a program from memory", |world| {
        // SAFETY: a terminated name.
        let file = unsafe { libc::syscall(libc::SYS_memfd_create, c"x".as_ptr(), 0) };
        let mut program = fs::read(world.home.join("true")).unwrap_or_default();
        let empty = std::ptr::null::<*const libc::c_char>();
        // SAFETY: as many bytes as there are, and a terminated empty name.
        unsafe {
            libc::write(i32::try_from(file).unwrap(), program.as_mut_ptr().cast(), program.len());
            let arguments = [c"x".as_ptr(), std::ptr::null()];
            ask(|| {
                let flags = libc::AT_EMPTY_PATH;
                libc::syscall(
                    libc::SYS_execveat,
                    file,
                    c"".as_ptr(),
                    arguments.as_ptr(),
                    empty,
                    flags,
                )
            })
        }
    }),
    way("leave its walls for namespaces of its own", |_| {
        // SAFETY: there is one thread.
        ask(|| unsafe { c_long::from(libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)) })
    })
    .rare(),
    way("mount a file system", |world| {
        let path = c_path(&world.home);
        // SAFETY: terminated strings.
        ask(|| unsafe {
            let kind = c"tmpfs".as_ptr();
            c_long::from(libc::mount(kind, path.as_ptr(), kind, libc::MS_RDONLY, std::ptr::null()))
        })
    })
    .rare()
    .landlock(1),
    way("share memory with others", |_| {
        // SAFETY: numbers only; it is private to this process and goes with its last user.
        ask(|| unsafe {
            let id = libc::shmget(libc::IPC_PRIVATE, 4096, 0o600);
            if 0 <= id {
                libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut());
            }
            c_long::from(id)
        })
    }),
    way("keep a key in the system", |_| {
        // SAFETY: terminated strings, and as many bytes as there are.
        ask(|| unsafe {
            let (kind, name) = (c"user".as_ptr(), c"escape".as_ptr());
            libc::syscall(libc::SYS_add_key, kind, name, c"x".as_ptr(), 1, -1)
        })
    })
    .rare(),
    way("load a program into the system", |_| {
        let mut asked = [0_u64; 16];
        asked[0] = 1 | 4 << 32;
        asked[1] = 4 | 1 << 32;
        // SAFETY: what is asked for is a map of one number.
        ask(|| unsafe { libc::syscall(libc::SYS_bpf, 0, asked.as_mut_ptr(), 72) })
    })
    .rare(),
    way("have calls made by a ring", |_| {
        let mut parameters = [0_u8; 256];
        // SAFETY: room for more than the parameters.
        ask(|| unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) })
    })
    .rare(),
    way("handle its own page faults", |_| {
        // SAFETY: numbers only.
        ask(|| unsafe { libc::syscall(libc::SYS_userfaultfd, 1) })
    })
    .rare(),
    way("watch the processor", |_| {
        let mut asked = [0_u64; 16];
        asked[0] = 1 | 128 << 32;
        // SAFETY: what is asked for is a counter of this process.
        ask(|| unsafe {
            libc::syscall(libc::SYS_perf_event_open, asked.as_mut_ptr(), 0, -1, -1, 0)
        })
    })
    .rare(),
    way("let others look into it", |_| {
        // SAFETY: numbers only.
        ask(|| unsafe { c_long::from(libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0)) })
    }),
    way("raise its limits", |_| {
        let most = libc::rlimit { rlim_cur: 4096, rlim_max: 4096 };
        // SAFETY: a whole limit.
        ask(|| unsafe { c_long::from(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const most)) })
    })
    .rare(),
    way("allow itself more calls", |_| {
        // SAFETY: an empty filter is asked for, which the system refuses in another way where it looks at it.
        let answer = unsafe { libc::syscall(libc::SYS_seccomp, 2, 0, &raw const ACTION) };
        ask(|| answer)
    }),
];

/// An action of a filter that every system with seccomp knows: to allow.
static ACTION: u32 = 0x7fff_0000;

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// What the system answered.
fn ask(call: impl FnOnce() -> c_long) -> io::Result<()> {
    if call() < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
