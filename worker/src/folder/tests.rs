use super::*;
use proto::id::UnitId;
use proto::join::Join;
use proto::{Digest, JobId, ProjectKey, UnitIndex};
use std::os::unix::fs::PermissionsExt;

fn project(number: u8) -> Project {
    let join = Join {
        address: "grid.example.org:7700".into(),
        project: ProjectKey([number; 32]),
        ca: Digest([2; 32]),
        invitation: None,
    };
    Project { join, name: "laptop".into(), account_name: "ada".into() }
}

#[test]
fn what_was_joined_is_read_again_with_the_same_keys() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("a/worker");
    let keys = Folder::take(&path).unwrap().join(&project(1)).unwrap();
    let folder = Folder::take(&path).unwrap();
    assert_eq!(folder.project().unwrap(), project(1));
    let again = folder.identity().unwrap();
    assert_eq!((keys.account, keys.worker), (again.account, again.worker));
    for name in [ACCOUNT_KEY, WORKER_KEY, PROJECT, LOCK] {
        let mode = fs::metadata(path.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn keys_that_the_project_knows_are_neither_made_anew_nor_taken_for_others() {
    for name in [ACCOUNT_KEY, WORKER_KEY] {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::take(home.path()).unwrap();
        folder.join(&project(1)).unwrap();
        let path = home.path().join(name);
        let whole = fs::read(&path).unwrap();
        let mut other = whole.clone();
        other[5] = if other[5] == b'0' { b'1' } else { b'0' };
        for content in [other.as_slice(), &whole[..10], b"", &[0xff; 65]] {
            fs::write(&path, content).unwrap();
            let error = folder.identity().unwrap_err();
            assert!(
                matches!(&error, Error::Damaged { path, .. } if path.ends_with(name)),
                "{error}"
            );
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(folder.identity(), Err(Error::Lost(_))));
        fs::write(&path, whole).unwrap();
        folder.identity().unwrap();
    }
}

#[test]
fn a_damaged_project_is_told_and_an_older_one_is_completed() {
    let home = tempfile::tempdir().unwrap();
    let folder = Folder::take(home.path()).unwrap();
    folder.join(&project(1)).unwrap();
    let path = home.path().join(PROJECT);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("laptop", "Laptop")).unwrap();
    assert!(matches!(folder.project(), Err(Error::Damaged { .. })));
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    for field in ["keys", "check"] {
        value.as_object_mut().unwrap().remove(field);
    }
    fs::write(&path, value.to_string()).unwrap();
    folder.note_keys().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn one_process_and_one_project_for_each_folder() {
    let home = tempfile::tempdir().unwrap();
    let folder = Folder::take(home.path()).unwrap();
    assert!(matches!(Folder::take(home.path()), Err(Error::Locked(_))));
    assert!(matches!(folder.project(), Err(Error::NotJoined(_))));
    folder.join(&project(1)).unwrap();
    folder.join(&project(1)).unwrap();
    assert!(matches!(folder.join(&project(2)), Err(Error::OtherProject { .. })));
    folder.leave(false).unwrap();
    folder.join(&project(2)).unwrap();
}

#[test]
fn an_account_goes_to_another_machine_before_it_joins() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = Folder::take(one.path()).unwrap().join(&project(1)).unwrap();
    let folder = Folder::take(two.path()).unwrap();
    assert!(matches!(folder.import_account("12ab"), Err(Error::NoKey)));
    folder.import_account(&format!(" {}\n", first.export_account())).unwrap();
    let second = folder.join(&project(1)).unwrap();
    assert_eq!(first.account, second.account);
    assert_ne!(first.worker, second.worker);
    assert!(matches!(folder.import_account(&first.export_account()), Err(Error::Joined(_))));
    folder.leave(true).unwrap();
    assert_ne!(folder.identity().unwrap().account, second.account);
}

#[test]
fn files_are_named_after_units() {
    let id = UnitId { job: JobId(7), unit: UnitIndex(12) };
    assert_eq!(unit_of(&unit_name(id)), Some(id));
    assert_eq!(unit_of("j7-u12.in"), Some(id));
    assert_eq!(unit_of("j7-u12.part"), Some(id));
    assert_eq!(unit_of("control.sock"), None);
}
