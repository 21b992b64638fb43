//! `starling kernel build`: cargo for Rust, clang for C, and a look at what came out.

use super::check::{described, look};
use crate::error::Error;
use crate::output::Output;
use program::shell::word;
use serde_json::json;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TARGET: &str = "wasm32-unknown-unknown";

pub(super) fn run(path: &Path, output: Output) -> Result<(), Error> {
    let wasm = if path.extension().is_some_and(|extension| extension == "c") {
        c(path)?
    } else {
        rust(path)?
    };
    let content = std::fs::read(&wasm).map_err(Error::file("read", &wasm))?;
    let summary = look(&wasm.display().to_string(), &content)?;
    output.answer(&json!({ "wasm": wasm, "kernel": summary }), || {
        format!(
            "{}\n{}\nnext: starling kernel check {}",
            wasm.display(),
            described(&summary),
            word(&wasm)
        )
    })?;
    Ok(())
}

fn rust(folder: &Path) -> Result<PathBuf, Error> {
    let manifest = folder.join("Cargo.toml");
    if !manifest.is_file() {
        let message = format!(
            "{} is neither a folder with a Cargo.toml nor a .c file: make one with starling kernel new NAME",
            folder.display()
        );
        return Err(Error::Usage(message));
    }
    let mut cargo = Command::new("cargo");
    cargo.args([
        "build",
        "--release",
        "--lib",
        "--target",
        TARGET,
        "--message-format",
        "json-render-diagnostics",
    ]);
    cargo.arg("--manifest-path").arg(&manifest).stdin(Stdio::null()).stderr(Stdio::inherit());
    let built = cargo
        .output()
        .map_err(|error| missing("cargo", "install Rust: https://rustup.rs", &error))?;
    if !built.status.success() {
        let message = format!(
            "cargo did not build {}; if it misses the target, say: rustup target add {TARGET}",
            manifest.display()
        );
        return Err(Error::Failed(message));
    }
    let messages = String::from_utf8_lossy(&built.stdout);
    let artifact = messages.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let files = message.get("filenames")?.as_array()?.clone();
        files
            .iter()
            .filter_map(|file| file.as_str())
            .find(|file| file.ends_with(".wasm"))
            .map(PathBuf::from)
    });
    artifact.ok_or_else(|| {
        Error::Failed(format!(
            "{} builds no module: it needs [lib] crate-type = [\"cdylib\", \"rlib\"]",
            manifest.display()
        ))
    })
}

fn c(source: &Path) -> Result<PathBuf, Error> {
    let wasm = source.with_extension("wasm");
    let mut clang = Command::new("clang");
    clang.args(["--target=wasm32-wasi", "-O2", "-Wl,--strip-all", "-o"]).arg(&wasm).arg(source);
    if Path::new("/usr/include/wasm32-wasi").exists() {
        clang.arg("--sysroot=/usr");
    }
    let hint = "install clang, lld and a WASI libc (Debian: apt-get install clang lld wasi-libc libclang-rt-14-dev-wasm32)";
    let status =
        clang.stdin(Stdio::null()).status().map_err(|error| missing("clang", hint, &error))?;
    if status.success() {
        Ok(wasm)
    } else {
        Err(Error::Failed(format!(
            "clang did not build {}; if it misses files, {hint}",
            source.display()
        )))
    }
}

fn missing(program: &str, hint: &str, error: &std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => {
            Error::Failed(format!("there is no {program} on this machine: {hint}"))
        }
        _ => Error::Failed(format!("{program} could not be started: {error}")),
    }
}
