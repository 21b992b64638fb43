//! What this machine lets the worker use: what there is, and what the container or the session that it runs in leaves of it.
//!
//! Cores are the standard library's to count, which knows quotas and sets of them. For memory there is no library that
//! looks at both kinds of control groups and at all groups above one's own, so that is read here.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::path::{Path, PathBuf};

/// Least memory that can be lent, bytes: a kernel is compiled in as much, and small units run in it.
pub(crate) const MEMORY_MIN: u64 = sandbox::COMPILE_MEMORY_MIN;
/// Address space of a unit's process, bytes: 4 GiB are reserved for the kernel's memory and never used, the rest is guards,
/// the program and its buffers.
const SPACE_MIN: u64 = 6 << 30;
/// Open files of the worker itself: its folder, the coordinator, some peers.
const FILES: u64 = 128;
/// Open files for each slot: three pipes, a bell, the files of a compilation.
const FILES_PER_SLOT: u64 = 12;
/// Threads and processes of the worker itself.
const TASKS: u64 = 48;
/// Threads and processes for each slot: its own thread, its child with two, and one that compiles.
const TASKS_PER_SLOT: u64 = 4;
/// Longest file of the system that is read here, bytes: a machine has hundreds of mounts at most.
const FILE_BYTES_MAX: usize = 1 << 20;
/// A limit of control groups of the first version that is none: the largest number of pages there is, in bytes.
const NO_LIMIT: u64 = 1 << 60;

/// The least of several limits, and what sets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) value: u64,
    /// For people: "memory.max of /sys/fs/cgroup/x".
    pub(crate) from: String,
}

impl Limit {
    fn new(value: u64, from: impl Into<String>) -> Self {
        Self { value, from: from.into() }
    }
}

/// Memory that may be used here, bytes; none where the system does not tell.
pub(crate) fn memory() -> Option<Limit> {
    let machine = machine_memory().map(|bytes| Limit::new(bytes, "the machine's memory"));
    let groups = Group::all("memory").into_iter().flat_map(|group| group.memory());
    let data = soft(Resource::Data).map(|bytes| Limit::new(bytes, "the limit of data (ulimit -d)"));
    machine.into_iter().chain(groups).chain(data).min_by_key(|limit| limit.value)
}

/// Units at the same time where nothing else is asked for: as many as there are cores for this process.
pub(crate) fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}

/// Lets the worker open as many files as the system lets it; the usual soft limit is lower.
pub(crate) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused, what there is is looked at like everything else.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Whether so many slots with so much memory can work within the limits of this process and its container; why not, and what
/// to raise.
pub(crate) fn check(slots: u32, memory_bytes: u64) -> Result<(), String> {
    check_memory(memory_bytes, memory().as_ref())?;
    if let Some(space) = soft(Resource::As) {
        check_space(space)?;
    }
    let files =
        soft(Resource::Nofile).map(|n| Limit::new(n, "the limit of open files (ulimit -n)"));
    check_count("open files", files, FILES + FILES_PER_SLOT * u64::from(slots), slots)?;
    let own = soft(Resource::Nproc).filter(|_| !rustix::process::geteuid().is_root());
    let own = own.map(|n| Limit::new(n, "the limit of processes (ulimit -u)"));
    let groups = Group::all("pids").into_iter().flat_map(|group| group.tasks());
    let tasks = own.into_iter().chain(groups).min_by_key(|limit| limit.value);
    check_count("processes and threads", tasks, TASKS + TASKS_PER_SLOT * u64::from(slots), slots)
}

fn check_memory(lent: u64, there: Option<&Limit>) -> Result<(), String> {
    let mib = |bytes: u64| bytes >> 20;
    if let Some(Limit { value, from }) = there
        && *value < lent
    {
        let (lent, value) = (mib(lent), mib(*value));
        return Err(format!(
            "{lent} MiB of memory are to be lent and {value} MiB are there ({from}): lend less with --memory, or raise that limit"
        ));
    }
    if lent < MEMORY_MIN {
        let there =
            there.map(|Limit { value, from }| format!(" ({} MiB are there: {from})", mib(*value)));
        return Err(format!(
            "{} MiB of memory are lent{}, and a worker needs {} MiB: lend more with --memory, or raise the limit",
            mib(lent),
            there.unwrap_or_default(),
            mib(MEMORY_MIN)
        ));
    }
    Ok(())
}

fn check_space(space: u64) -> Result<(), String> {
    if SPACE_MIN <= space {
        return Ok(());
    }
    Err(format!(
        "the limit of address space (ulimit -v) is {} MiB, and a unit's process needs {} MiB, most of it reserved and never \
         used: raise or remove the limit (--memory bounds what is used)",
        space >> 20,
        SPACE_MIN >> 20
    ))
}

fn check_count(what: &str, limit: Option<Limit>, needed: u64, slots: u32) -> Result<(), String> {
    let Some(Limit { value, from }) = limit.filter(|limit| limit.value < needed) else {
        return Ok(());
    };
    Err(format!(
        "{from} allows {value} {what}, and {slots} units at the same time need {needed}: raise it, or run fewer with --cores"
    ))
}

fn soft(resource: Resource) -> Option<u64> {
    getrlimit(resource).current
}

fn read(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    (text.len() <= FILE_BYTES_MAX).then_some(text)
}

fn machine_memory() -> Option<u64> {
    let info = read(Path::new("/proc/meminfo"))?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// A control group that this process is in, or one above it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group(PathBuf);

impl Group {
    /// The groups of a controller, of both versions, from that of this process up to the root as far as it is shown here.
    fn all(controller: &str) -> Vec<Self> {
        let own = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
        let mounts = read(Path::new("/proc/self/mountinfo")).unwrap_or_default();
        groups(controller, &own, &mounts)
    }

    fn value(&self, file: &str) -> Option<Limit> {
        let path = self.0.join(file);
        // "max" is no number, and no limit.
        let value = read(&path)?.trim().parse().ok().filter(|value| *value < NO_LIMIT)?;
        Some(Limit::new(value, format!("{file} of {}", self.0.display())))
    }

    fn memory(&self) -> Vec<Limit> {
        let files = ["memory.max", "memory.high", "memory.limit_in_bytes"];
        files.iter().filter_map(|file| self.value(file)).collect()
    }

    fn tasks(&self) -> Option<Limit> {
        self.value("pids.max")
    }
}

/// The groups that `/proc/self/cgroup` and `/proc/self/mountinfo` tell.
fn groups(controller: &str, own: &str, mounts: &str) -> Vec<Group> {
    let mut groups = Vec::new();
    for mount in mounts.lines().filter_map(Mount::read) {
        let Some(path) = own.lines().find_map(|line| mount.group(controller, line)) else {
            continue;
        };
        // Seen from inside a container the mount shows only what is below its root.
        let below = path.strip_prefix(&mount.root).unwrap_or_else(|_| Path::new(""));
        let below = below.strip_prefix("/").unwrap_or(below);
        // Joined with nothing it would end with a slash.
        let group =
            if below == Path::new("") { mount.point.clone() } else { mount.point.join(below) };
        let shown = group.ancestors().take_while(|group| group.starts_with(&mount.point));
        groups.extend(shown.map(|group| Group(group.to_owned())));
    }
    groups
}

/// A mount of control groups.
#[derive(Debug)]
struct Mount {
    root: PathBuf,
    point: PathBuf,
    /// Names of its controllers; none for the second version, which has all.
    controllers: Option<Vec<String>>,
}

impl Mount {
    /// Reads a line of mountinfo: number, parent, device, root, mount point, options, optional fields, "-", type, source,
    /// options of the type.
    fn read(line: &str) -> Option<Self> {
        let (mount, kind) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (PathBuf::from(mount.next()?), PathBuf::from(mount.next()?));
        let mut kind = kind.split(' ');
        let controllers = match kind.next()? {
            "cgroup2" => None,
            "cgroup" => Some(kind.nth(1)?.split(',').map(str::to_owned).collect()),
            _ => return None,
        };
        Some(Self { root, point, controllers })
    }

    /// The path that a line of `/proc/self/cgroup` (number, controllers, path) tells of this process's group here.
    fn group<'a>(&self, controller: &str, line: &'a str) -> Option<&'a Path> {
        let mut fields = line.splitn(3, ':');
        let (number, names, path) = (fields.next()?, fields.next()?, fields.next()?);
        let here = match &self.controllers {
            None => number == "0" && names.is_empty(),
            Some(own) => {
                own.iter().any(|name| name == controller)
                    && names.split(',').any(|name| name == controller)
            }
        };
        here.then_some(Path::new(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(own: &str, mounts: &str) -> Vec<String> {
        let groups = groups("memory", own, mounts);
        groups.iter().map(|group| group.0.display().to_string()).collect()
    }

    const MOUNT_2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn all_groups_above_are_looked_at() {
        let own = "0::/user.slice/user-1000.slice/app.service\n";
        assert_eq!(
            paths(own, MOUNT_2),
            [
                "/sys/fs/cgroup/user.slice/user-1000.slice/app.service",
                "/sys/fs/cgroup/user.slice/user-1000.slice",
                "/sys/fs/cgroup/user.slice",
                "/sys/fs/cgroup"
            ]
        );
        // A container with a namespace of its own.
        assert_eq!(paths("0::/\n", MOUNT_2), ["/sys/fs/cgroup"]);
    }

    #[test]
    fn the_first_version_has_a_mount_for_each_controller() {
        let own = "8:pids:/x\n4:memory:/docker/abc\n0::/\n";
        let mounts = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
            39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(paths(own, mounts), ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"]);
        let whole = mounts.replace(" /docker/abc /", " / /");
        let above = ["/sys/fs/cgroup/memory/docker/abc", "/sys/fs/cgroup/memory/docker"];
        assert_eq!(paths(own, &whole)[..2], above);
    }

    #[test]
    fn lines_that_are_not_understood_are_passed_over() {
        let mounts = "nonsense\n1 2 3\n5 6 7:8 / /x rw - ext4 /dev/sda rw\n - cgroup2\n";
        assert!(paths("0::/\n4:memory\n\n", mounts).is_empty());
        assert!(paths("", MOUNT_2).is_empty());
    }

    #[test]
    fn a_group_tells_its_limits_and_no_limit_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let group = Group(folder.path().to_owned());
        fs::write(folder.path().join("memory.max"), "max\n").unwrap();
        fs::write(folder.path().join("memory.high"), "1073741824\n").unwrap();
        fs::write(folder.path().join("memory.limit_in_bytes"), "9223372036854771712\n").unwrap();
        let [limit] = &group.memory()[..] else { panic!() };
        assert_eq!(limit.value, 1 << 30);
        assert!(limit.from.starts_with("memory.high of /"), "{limit:?}");
    }

    #[test]
    fn what_is_too_low_is_told_with_what_to_raise() {
        let there = Limit::new(1 << 30, "memory.max of /sys/fs/cgroup/x");
        assert_eq!(check_memory(1 << 30, Some(&there)), Ok(()));
        assert_eq!(check_memory(1 << 40, None), Ok(()));
        let more = check_memory(2 << 30, Some(&there)).unwrap_err();
        assert!(more.contains("2048 MiB") && more.contains("memory.max of /sys"), "{more}");
        let little = check_memory(MEMORY_MIN - 1, Some(&there)).unwrap_err();
        assert!(little.contains("--memory"), "{little}");
        assert!(check_space(SPACE_MIN).is_ok());
        assert!(check_space(1 << 30).unwrap_err().contains("ulimit -v"));
        let files = Some(Limit::new(100, "the limit of open files (ulimit -n)"));
        assert!(check_count("open files", files.clone(), 100, 1).is_ok());
        let text = check_count("open files", files, 200, 6).unwrap_err();
        assert!(text.contains("allows 100") && text.contains("need 200"), "{text}");
    }

    #[test]
    fn this_machine_has_memory() {
        let memory = memory().unwrap();
        assert!(1 << 20 < memory.value, "{memory:?}");
    }
}
