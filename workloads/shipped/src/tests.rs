//! The modules are what they should be, and the C program does what its source says.

use crate::{ALL, COLLATZ, SOURCES, TEMPLATE, find};
use std::path::{Path, PathBuf};
use std::process::Command;

fn collatz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../collatz")
}

fn contains(wasm: &[u8], text: &str) -> bool {
    wasm.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn each_kernel_is_a_module_of_the_contract() {
    for shipped in ALL {
        assert!(shipped.wasm.starts_with(b"\0asm\x01\0\0\0"), "{}", shipped.name);
        let exports: &[&str] = match shipped.name {
            "collatz" => &["_start", "wasi_snapshot_preview1"],
            _ => &["starling_abi_1", "starling_start", "starling_step", "memory"],
        };
        assert!(exports.iter().all(|name| contains(shipped.wasm, name)), "{}", shipped.name);
        assert_eq!(find(shipped.name).map(|found| found.wasm), Some(shipped.wasm));
    }
    assert!(find("unknown").is_none());
}

#[test]
fn no_path_of_this_machine_is_left_in_a_module() {
    let home = std::env::home_dir().expect("tests run with a home folder");
    for shipped in ALL {
        for path in [
            env!("CARGO_MANIFEST_DIR").trim_end_matches("/workloads/shipped"),
            &home.display().to_string(),
        ] {
            assert!(!contains(shipped.wasm, path), "{} contains {path}", shipped.name);
        }
    }
}

/// The committed module is that of Debian 12's clang; another version may lay it out differently, but must compile it.
#[test]
fn the_c_program_is_the_one_that_its_source_compiles_to() {
    let version = Command::new("clang")
        .arg("--version")
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    let version = String::from_utf8_lossy(&version);
    if version.is_empty() || !Path::new("/usr/include/wasm32-wasi").exists() {
        eprintln!(
            "\n*** NOT TESTED: collatz.c against collatz.wasm: no clang with a WASI library on this machine ***\n"
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let built = folder.path().join("collatz.wasm");
    let status = Command::new("sh").arg(collatz().join("build.sh")).arg(&built).status().unwrap();
    assert!(status.success());
    let built = std::fs::read(built).unwrap();
    if version.contains("14.0.6") {
        assert!(
            built == COLLATZ,
            "collatz.wasm is not what collatz.c compiles to: run workloads/collatz/build.sh"
        );
    } else {
        eprintln!(
            "\n*** NOT COMPARED: collatz.wasm is of clang 14.0.6, and here is {version} ***\n"
        );
        assert!(contains(&built, "_start"));
    }
}

#[test]
fn the_c_program_finds_the_known_records() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("collatz");
    let compiled = Command::new("cc")
        .arg("-O2")
        .arg("-o")
        .arg(&program)
        .arg(collatz().join("collatz.c"))
        .status();
    if !compiled.is_ok_and(|status| status.success()) {
        eprintln!("\n*** NOT TESTED natively: collatz.c: no C compiler on this machine ***\n");
        return;
    }
    let run = |argument: &str| Command::new(&program).arg("kernel").arg(argument).output().unwrap();
    let output = run(r#"n={"end":1000,"first":1}"#);
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), include_str!("tests/collatz.txt"));
    for wrong in ["n=5", r#"n={"end":9,"first":0}"#, r#"n={"end":5,"first":6}"#] {
        let output = run(wrong);
        assert_eq!(output.status.code(), Some(1), "{wrong}");
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("cut the job along an axis n"),
            "{wrong}"
        );
    }
}

#[test]
fn a_new_project_builds_and_passes_its_tests() {
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("squares");
    let write = |path: PathBuf, content: &str| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(
            path,
            content.replace("{{name}}", "squares").replace("{{crate}}", "squares"),
        )
        .unwrap();
    };
    TEMPLATE.iter().for_each(|(path, content)| write(project.join(path), content));
    SOURCES.iter().for_each(|(path, content)| write(project.join("sdk").join(path), content));
    // The versions that this workspace has already, so that nothing is fetched.
    std::fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock"),
        project.join("Cargo.lock"),
    )
    .unwrap();
    let cargo = |arguments: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(&project).args(arguments).env("CARGO_TARGET_DIR", project.join("target"));
        assert!(cargo.env_remove("RUSTFLAGS").status().unwrap().success(), "cargo {arguments:?}");
    };
    cargo(&["test", "--offline", "--quiet"]);
    cargo(&["build", "--offline", "--quiet", "--release", "--target", "wasm32-unknown-unknown"]);
    let wasm =
        std::fs::read(project.join("target/wasm32-unknown-unknown/release/squares.wasm")).unwrap();
    assert!(contains(&wasm, "starling_step"));
}

/// Every file of the SDK is handed out: a new one must be listed.
#[test]
fn all_sources_of_the_sdk_are_listed() {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk");
    let mut folders = vec![sdk.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(&sdk).unwrap().to_str().unwrap().to_owned();
            let is_test = name.starts_with("src/tests");
            if path.is_dir() {
                folders.push(path);
            } else {
                assert!(
                    is_test || SOURCES.iter().any(|(listed, _)| *listed == name),
                    "{name} is not in SOURCES"
                );
            }
        }
    }
}
