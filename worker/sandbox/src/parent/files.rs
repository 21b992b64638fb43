//! The files of a unit: its child says what it needs one for, and its parent, which alone knows paths, opens it and hands it
//! over. So a child that a stranger has taken over reaches the files of the units it was given and no others.

use crate::protocol::Need;
use crate::unit::{Begin, SnapshotPlan, Unit, Until};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Does what is needed for this unit, but for [`Need::Compiled`]; a file where the need is one.
pub(crate) fn meet(unit: &Unit, need: Need) -> io::Result<Option<File>> {
    let none = || io::Error::from(io::ErrorKind::NotFound);
    let snapshot = || unit.snapshot.as_ref().map(|plan| plan.path.as_path()).ok_or_else(none);
    let trace = || unit.trace.as_ref().ok_or_else(none);
    let file = match need {
        Need::Compiled => return Err(none()),
        Need::Input { input, segment } => {
            let input = unit.inputs.get(input as usize).ok_or_else(none)?;
            File::open(&input.segments.get(segment as usize).ok_or_else(none)?.path)?
        }
        Need::Snapshot => OpenOptions::new().read(true).write(true).open(snapshot()?)?,
        Need::NewSnapshot => program::file::create_anew(&part(snapshot()?))?,
        Need::Publish => {
            let path = snapshot()?;
            fs::rename(part(path), path)?;
            program::file::sync_folder_of(path)?;
            return Ok(None);
        }
        Need::Discard => {
            fs::remove_file(part(snapshot()?))?;
            return Ok(None);
        }
        Need::Begin => match &trace()?.begin {
            Begin::State { path, .. } | Begin::Archived(path) => File::open(path)?,
            Begin::Start => return Err(none()),
        },
        Need::Archive => {
            let plan = trace()?.archive.as_ref().ok_or_else(none)?;
            program::file::open_private(&plan.path)?
        }
        Need::Show => match &trace()?.until {
            Until::State { to, .. } => program::file::create_anew(to)?,
            Until::End | Until::NextPoint => return Err(none()),
        },
    };
    Ok(Some(file))
}

/// Removes what a kill in the middle of a snapshot left beside the file of a unit that has ended.
pub(crate) fn tidy(plan: &SnapshotPlan) {
    // Mostly there is none; where it cannot be removed it is only room lost.
    let _ = fs::remove_file(part(&plan.path));
}

/// The file that becomes the snapshot when it is whole.
pub(crate) fn part(path: &Path) -> PathBuf {
    let mut part = path.to_owned().into_os_string();
    part.push(".part");
    PathBuf::from(part)
}
