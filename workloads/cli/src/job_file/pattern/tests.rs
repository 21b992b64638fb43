use super::*;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;

/// A folder whose own name would be a pattern, with some files in it.
struct Place {
    _outer: tempfile::TempDir,
    folder: PathBuf,
}

impl Place {
    fn new(names: &[&str]) -> Self {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("run [1] *?");
        fs::create_dir(&folder).unwrap();
        let place = Self { _outer: outer, folder };
        names.iter().for_each(|name| place.write(name));
        place
    }

    fn write(&self, name: &str) {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }

    fn expand(&self, patterns: &[&str]) -> Result<(Vec<String>, Vec<String>), String> {
        let patterns: Vec<String> = patterns.iter().map(|text| (*text).to_owned()).collect();
        let found = expand(&self.folder, &patterns)?;
        for (name, path) in &found.files {
            assert_eq!(fs::read_to_string(path).unwrap(), name.as_str());
        }
        Ok((found.files.into_iter().map(|(name, _)| name).collect(), found.notes))
    }

    #[track_caller]
    fn check(&self, patterns: &[&str], names: &[&str], notes: &[&str]) {
        let (found, told) = self.expand(patterns).unwrap();
        assert_eq!(found, names);
        assert_eq!(told.len(), notes.len(), "{told:?}");
        for (told, note) in told.iter().zip(notes) {
            assert!(told.contains(note), "{told}");
        }
    }

    #[track_caller]
    fn refused(&self, patterns: &[&str], expected: &str) {
        let told = self.expand(patterns).unwrap_err();
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn patterns_name_files_in_alphabetical_order() {
    let place = Place::new(&["data/b.tim", "data/a.tim", "data/c.fil", "data/deep/a.tim", "z.tim"]);
    place.check(&["data/*.tim"], &["data/a.tim", "data/b.tim"], &[]);
    place.check(&["data/?.fil", "z.tim"], &["data/c.fil", "z.tim"], &[]);
    place.check(&["data/[ab].tim"], &["data/a.tim", "data/b.tim"], &[]);
    place.check(&["./data//a.tim"], &["data/a.tim"], &[]);
    place.check(&["**/*.tim"], &["z.tim", "data/a.tim", "data/b.tim", "data/deep/a.tim"], &[]);
    place.check(&["*/deep/*"], &["data/deep/a.tim"], &[]);
    let absolute = format!("{}/data/c.*", Pattern::escape(place.folder.to_str().unwrap()));
    assert_eq!(expand(Path::new(""), &[absolute]).unwrap().files.len(), 1);
}

#[test]
fn nothing_is_left_out_without_a_word() {
    let place = Place::new(&["a.tim", ".hidden.tim", "._a.tim", "sub/b.tim", ".git/c.tim"]);
    place.check(&["*.tim"], &["a.tim"], &["begin with a dot: ._a.tim, .hidden.tim"]);
    place.check(&[".*.tim"], &["._a.tim", ".hidden.tim"], &[]);
    place.check(&["[a.]*"], &["a.tim"], &["begin with a dot"]);
    place.check(
        &["*"],
        &["a.tim"],
        &["begin with a dot", "leaves out folders, which are no files: sub"],
    );
    place.check(
        &["**"],
        &["a.tim", "sub/b.tim"],
        &["begin with a dot: ._a.tim, .git, .git/ and 1 more", "folders"],
    );
    place.check(&["a.tim", "*.tim"], &["a.tim"], &["begin with a dot", "a file is named by more"]);
    symlink(place.folder.join("sub"), place.folder.join("link")).unwrap();
    place.check(
        &["**/b.tim"],
        &["sub/b.tim"],
        &["link is a link to a folder", "begin with a dot: .git/"],
    );
}

#[test]
fn what_cannot_be_sent_is_refused_and_can_be_left_out() {
    let place = Place::new(&["a.tim"]);
    let take_away = |name: &str| {
        place.check(&["*.tim", &format!("!{name}")], &["a.tim"], &[]);
        place.check(&["*", &format!("!{name}")], &["a.tim"], &[]);
    };
    let path = place.folder.join("broken.tim");
    symlink("nowhere", &path).unwrap();
    place.refused(&["*.tim"], "\"broken.tim\" cannot be sent: it is a link to what is not there; leave it out with a pattern \"!broken.tim\"");
    place.refused(&["broken.tim"], "it is a link to what is not there");
    take_away("broken.tim");
    fs::remove_file(&path).unwrap();

    let path = place.folder.join("pipe.tim");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    place.refused(&["*.tim"], "\"pipe.tim\" cannot be sent: it is a named pipe");
    take_away("pipe.tim");
    fs::remove_file(&path).unwrap();

    let path = place.folder.join("socket.tim");
    let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    place.refused(&["*.tim"], "\"socket.tim\" cannot be sent: it is a socket");
    fs::remove_file(&path).unwrap();

    let path = place.folder.join(OsString::from_vec(b"caf\xe9.tim".to_vec()));
    fs::write(&path, "x").unwrap();
    place.refused(&["*.tim"], "its name is not UTF-8; leave it out with a pattern \"!caf?.tim\"");
    take_away("caf?.tim");
    fs::remove_file(&path).unwrap();

    fs::write(place.folder.join("link.tim"), "link.tim").unwrap();
    symlink("link.tim", place.folder.join("other")).unwrap();
    assert_eq!(expand(&place.folder, &["other".to_owned()]).unwrap().files.len(), 1);
    place.refused(&["/dev/null"], "it is a device");
}

#[test]
fn a_pattern_that_names_nothing_is_told_with_what_there_is() {
    let place = Place::new(&["a[1].tim", ".b.fil", "sub/c.tim"]);
    place.refused(&["*.dat"], "no file is named \"*.dat\" (as seen from ");
    place.refused(&["a[1].tim"], "a file is called just that, and is named by \"a[[]1[]].tim\"");
    place.check(&["a[[]1[]].tim"], &["a[1].tim"], &[]);
    place.refused(&["*.fil"], "taken by a pattern that does: .b.fil");
    place.refused(&["sub"], "there are folders of that name (sub)");
    place.refused(&["a[.tim"], "is no pattern");
    place.refused(&["a**"], "is no pattern");
    place.refused(&["!a*"], "none names any");
    place.refused(&["*.tim", "!*.tim"], "no file is named \"*.tim\"");
}
