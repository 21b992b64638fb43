//! What several tests need.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system, mounted for a test.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    pub(crate) path: PathBuf,
}

/// Mounts a file system of `kib` KiB; `None`, said loudly, where the machine does not allow it.
pub(crate) fn small_disk(home: &Path, kib: u32) -> Option<SmallDisk> {
    let path = home.join("small");
    fs::create_dir_all(&path).ok()?;
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"]).arg(&path);
    if mount.output().is_ok_and(|output| output.status.success()) {
        return Some(SmallDisk { path });
    }
    eprintln!(
        "SKIPPED: no small disk can be mounted here, so a full one was NOT tested; run the tests as root"
    );
    None
}

impl SmallDisk {
    /// Takes all room; gives the path of the file to remove.
    pub(crate) fn fill(&self) -> PathBuf {
        let path = self.path.join("filler");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[1; 512]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
