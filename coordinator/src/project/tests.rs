//! The folder is made once, completed after a cut, and never quietly made anew.

use super::*;
use std::os::unix::fs::PermissionsExt;

fn check_lost(missing: &[&str], in_use: bool, expected: Option<&str>) {
    let dir = tempfile::tempdir().unwrap();
    let before = Folder::take(dir.path()).unwrap().identity().unwrap();
    if in_use {
        fs::create_dir(dir.path().join(names::STORE)).unwrap();
    }
    for name in missing {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    match (Folder::take(dir.path()).unwrap().identity(), expected) {
        (Ok(after), None) => assert_eq!(after.ca, before.ca, "{missing:?}"),
        (Err(error), Some(text)) => assert!(error.to_string().contains(text), "{error}"),
        (outcome, _) => panic!("without {missing:?}: {outcome:?}"),
    }
}

#[test]
fn a_second_start_finds_the_same_project() {
    let dir = tempfile::tempdir().unwrap();
    let first = Folder::take(dir.path()).unwrap().identity().unwrap();
    let second = Folder::take(dir.path()).unwrap().identity().unwrap();
    assert_eq!(first.join("h:1".into()), second.join("h:1".into()));
    assert_eq!((first.server, first.operator_token), (second.server, second.operator_token));
}

#[test]
fn keys_are_for_their_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    Folder::take(dir.path()).unwrap().identity().unwrap();
    for name in names::KEYS {
        let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert!(readable_by_others(dir.path()).unwrap().is_empty());
    fs::set_permissions(dir.path().join(names::CA_KEY), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(readable_by_others(dir.path()).unwrap(), [dir.path().join(names::CA_KEY)]);
}

#[test]
fn one_process_has_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let first = Folder::take(dir.path()).unwrap();
    assert!(matches!(Folder::take(dir.path()), Err(Error::Locked(_))));
    drop(first);
    assert!(Folder::take(dir.path()).is_ok());
}

#[test]
fn what_can_be_made_again_is_and_the_rest_is_asked_for() {
    check_lost(&[names::SERVER], true, None);
    check_lost(&[names::SERVER_KEY], false, None);
    check_lost(&[names::OPERATOR_TOKEN], true, None);
    check_lost(&[names::CA_KEY], true, None);
    check_lost(&[names::PROJECT_KEY], false, None);
    check_lost(&[names::PROJECT_KEY], true, Some("receipts are signed with it"));
    check_lost(&[names::CA], true, Some("carry its fingerprint"));
    check_lost(&[names::CA], false, Some("carry its fingerprint"));
    check_lost(&[names::CA_KEY, names::SERVER], true, Some("signed with it"));
}

#[test]
fn a_damaged_key_is_named() {
    for name in
        [names::PROJECT_KEY, names::CA, names::SERVER, names::SERVER_KEY, names::OPERATOR_TOKEN]
    {
        let dir = tempfile::tempdir().unwrap();
        Folder::take(dir.path()).unwrap().identity().unwrap();
        fs::write(dir.path().join(name), "x").unwrap();
        let error = Folder::take(dir.path()).unwrap().identity().unwrap_err();
        assert!(
            matches!(&error, Error::Damaged { path, .. } if path.ends_with(name)),
            "{name}: {error}"
        );
    }
}

#[test]
fn an_empty_folder_is_no_project() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Folder::take_existing(dir.path()), Err(Error::Absent(_))));
}
