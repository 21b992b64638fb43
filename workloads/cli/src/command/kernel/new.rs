//! `starling kernel new`: writes the project of a kernel, the SDK beside it.

use crate::error::Error;
use crate::output::Output;
use serde_json::json;
use std::fs;
use std::path::Path;

pub(super) fn run(name: &str, output: Output) -> Result<(), Error> {
    let proper = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
    if !proper || 64 < name.len() {
        let message = format!(
            "\"{name}\" is no name for a kernel: give at most 64 small letters, digits, - and _, a letter first"
        );
        return Err(Error::Usage(message));
    }
    let folder = Path::new(name);
    if folder.exists() {
        return Err(Error::Usage(format!(
            "{name} exists already: choose another name, or remove it"
        )));
    }
    for (path, content) in shipped::TEMPLATE {
        write(
            &folder.join(path),
            &content.replace("{{name}}", name).replace("{{crate}}", &name.replace('-', "_")),
        )?;
    }
    for (path, content) in shipped::SOURCES {
        write(&folder.join("sdk").join(path), content)?;
    }
    output.answer(&json!({ "folder": folder }), || {
        format!(
            "wrote the kernel's project to {name}: its work is in {name}/src/lib.rs\nnext: cd {name}, then: cargo test, starling kernel build, starling try job.toml"
        )
    })?;
    Ok(())
}

fn write(path: &Path, content: &str) -> Result<(), Error> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
    }
    fs::write(path, content).map_err(Error::file("write", path))
}
