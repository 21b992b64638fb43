//! A researcher at a command line: a home of one's own, and the program `starling`.

use crate::grid::{Coordinator, Profile, Program, program};
use anyhow::{Context, Result, ensure};
use proto::join::Join;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Somebody who is logged in.
#[derive(Debug)]
pub struct Researcher {
    home: TempDir,
    profile: Profile,
}

impl Researcher {
    /// Logs in at a coordinator with its operator's token.
    ///
    /// # Errors
    /// When the program refuses.
    pub fn login(profile: Profile, coordinator: &Coordinator) -> Result<Self> {
        Self::login_at(profile, &coordinator.join, &coordinator.token)
    }

    /// Logs in wherever `join` leads.
    ///
    /// # Errors
    /// When the program refuses.
    pub fn login_at(profile: Profile, join: &Join, token: &str) -> Result<Self> {
        let researcher = Self { home: TempDir::new()?, profile };
        researcher.ok(&["login", &join.to_string(), "--token", token])?;
        Ok(researcher)
    }

    /// A file or folder of the home.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A call that is not made yet.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program(self.profile, "starling"));
        command.args(arguments).current_dir(self.home.path()).env("HOME", self.home.path());
        command.env("STARLING_PROFILE", self.path("profile.json"));
        command
    }

    /// Starts a call; what it prints goes into a file of the home.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, arguments: &[&str]) -> Result<Program> {
        Program::start(&mut self.command(arguments), &self.path("log"))
    }

    /// Makes a call and waits for its end; what it printed.
    ///
    /// # Errors
    /// With its words, when it fails.
    pub fn ok(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments).output()?;
        ensure!(
            output.status.success(),
            "{arguments:?} ended with {}: {}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Makes a call with `--output json`; the last object.
    ///
    /// # Errors
    /// With its words, when it fails.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.ok(&[&["--output", "json"], arguments].concat())?;
        let last = text.lines().last().context("it printed nothing")?;
        Ok(serde_json::from_str(last)?)
    }
}

/// The lines of a folder of results.
///
/// # Errors
/// When it is none.
pub fn lines(folder: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(folder.join("results.jsonl"))?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}
