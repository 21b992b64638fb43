//! Compiles the kernels of this workspace to WASM with a cargo of its own, so that a plain `cargo build` has them.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const TARGET: &str = "wasm32-unknown-unknown";

struct Kernel {
    name: &'static str,
    /// What it gains from beyond plain WASM; all of it admissible by the contract.
    features: &'static str,
}

const KERNELS: [Kernel; 3] = [
    // Without simd128: vectorised, the number-theoretic transform is slower.
    Kernel { name: "mersenne", features: "+wide-arithmetic" },
    Kernel { name: "pulsar", features: "+simd128" },
    Kernel { name: "seti", features: "+simd128" },
];

fn main() -> Result<(), Box<dyn Error>> {
    let workspace = fs::canonicalize(Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../.."))?;
    for path in [
        "Cargo.lock",
        "rust-toolchain.toml",
        "workloads/shipped/build.rs",
        "workloads/collatz/collatz.wasm",
    ] {
        println!("cargo::rerun-if-changed={}", workspace.join(path).display());
    }
    for package in ["sdk", "mersenne", "pulsar", "seti"] {
        for part in ["src", "Cargo.toml"] {
            println!(
                "cargo::rerun-if-changed={}",
                workspace.join("workloads").join(package).join(part).display()
            );
        }
    }
    require_target()?;
    for kernel in KERNELS {
        let wasm = build(&workspace, &kernel)?;
        println!("cargo::rustc-env={}_WASM={}", kernel.name.to_uppercase(), wasm.display());
    }
    Ok(())
}

/// Builds one kernel in its own target folder, and returns the path of the module.
fn build(workspace: &Path, kernel: &Kernel) -> Result<PathBuf, Box<dyn Error>> {
    let target = Path::new(&env::var("OUT_DIR")?).join(kernel.name);
    let mut cargo = Command::new(env::var("CARGO")?);
    scrub(&mut cargo)
        .current_dir(workspace)
        .args([
            "build",
            "--release",
            "--locked",
            "--quiet",
            "--lib",
            "--package",
            kernel.name,
            "--target",
            TARGET,
        ])
        .arg("--target-dir")
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(workspace, kernel)?.join("\u{1f}"))
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3")
        .env("CARGO_PROFILE_RELEASE_LTO", "fat")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_STRIP", "true")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false");
    if !cargo.status()?.success() {
        return Err(format!(
            "the kernel {} does not compile to WASM; what failed stands above",
            kernel.name
        )
        .into());
    }
    Ok(target.join(TARGET).join("release").join(format!("{}.wasm", kernel.name)))
}

/// Flags that make the module a function of the sources alone: no path of this machine is left in it.
fn flags(workspace: &Path, kernel: &Kernel) -> Result<Vec<String>, Box<dyn Error>> {
    let rustc =
        scrub(&mut Command::new(env::var("RUSTC")?)).args(["--print", "sysroot"]).output()?;
    let sysroot = String::from_utf8(rustc.stdout)?;
    let cargo_home = match env::var("CARGO_HOME") {
        Ok(home) => PathBuf::from(home),
        Err(_) => env::home_dir().ok_or("no home folder: set CARGO_HOME")?.join(".cargo"),
    };
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    Ok(vec![
        format!("-Ctarget-feature={}", kernel.features),
        remap(&cargo_home, "/cargo"),
        remap(Path::new(sysroot.trim()), "/rust"),
        remap(workspace, "/starling"),
    ])
}

/// Takes away what the outer cargo, clippy or rustdoc set for their own compilation.
fn scrub(command: &mut Command) -> &mut Command {
    let outer = |name: &str| {
        let kept = [
            "CARGO_HOME",
            "CARGO_NET_OFFLINE",
            "CARGO_HTTP_",
            "CARGO_REGISTRIES_",
            "CARGO_SOURCE_",
        ];
        (name.starts_with("CARGO") && !kept.iter().any(|prefix| name.starts_with(prefix)))
            || name.starts_with("CLIPPY_")
            || [
                "RUSTFLAGS",
                "RUSTDOCFLAGS",
                "RUSTC_WRAPPER",
                "RUSTC_WORKSPACE_WRAPPER",
                "RUSTC_LINKER",
            ]
            .contains(&name)
    };
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(outer) {
            command.env_remove(name);
        }
    }
    command
}

/// Makes sure that the standard library for WASM is here.
fn require_target() -> Result<(), Box<dyn Error>> {
    let libdir = || -> Result<PathBuf, Box<dyn Error>> {
        let mut rustc = Command::new(env::var("RUSTC")?);
        let output =
            scrub(&mut rustc).args(["--print", "target-libdir", "--target", TARGET]).output()?;
        Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
    };
    if libdir()?.is_dir() {
        return Ok(());
    }
    let added = scrub(&mut Command::new("rustup")).args(["target", "add", TARGET]).status();
    if added.is_ok_and(|status| status.success()) && libdir()?.is_dir() {
        return Ok(());
    }
    Err(format!(
        "the Rust target {TARGET} is missing and `rustup target add {TARGET}` failed: \
         run that command where there is a network, or install your system's package of the target, and build again"
    )
    .into())
}
