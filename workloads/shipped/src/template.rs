//! What `starling kernel new` writes: a project that builds and passes its test, and the SDK beside it.

/// The SDK's own files, by path inside its folder. It depends on serde and `serde_json` alone.
pub const SOURCES: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../template/sdk/Cargo.toml")),
    ("src/lib.rs", include_str!("../../sdk/src/lib.rs")),
    ("src/axes.rs", include_str!("../../sdk/src/axes.rs")),
    ("src/error.rs", include_str!("../../sdk/src/error.rs")),
    ("src/guest.rs", include_str!("../../sdk/src/guest.rs")),
    ("src/guest/imports.rs", include_str!("../../sdk/src/guest/imports.rs")),
    ("src/native.rs", include_str!("../../sdk/src/native.rs")),
    ("src/unit.rs", include_str!("../../sdk/src/unit.rs")),
];

/// The project's files, by path inside its folder; `{{name}}` stands for the kernel's name, and the SDK goes into the
/// folder `sdk`.
pub const TEMPLATE: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../template/Cargo.toml.in")),
    (".gitignore", include_str!("../template/gitignore")),
    ("README.md", include_str!("../template/README.md")),
    ("job.toml", include_str!("../template/job.toml")),
    ("src/lib.rs", include_str!("../template/src/lib.rs")),
];
