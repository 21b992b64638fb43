//! Reads the job that a command line names.

use crate::args::JobSource;
use crate::error::Error;
use crate::job_file::{self, Job};
use crate::output::Output;
use crate::preview;
use std::path::Path;

/// The kernel that cuts one file into many units.
const SETI: &str = "seti";

impl JobSource {
    /// Whether it is a search of a work unit of SETI@home, and all about it is known.
    pub(super) fn is_sky_search(&self) -> bool {
        self.kernel.as_deref() == Some(SETI)
    }

    /// The job of the job file, or of a kernel over files; what is unusual about it is told.
    pub(super) fn read(&self, output: Output) -> Result<Job, Error> {
        let job = self.parse()?;
        job.notes.iter().for_each(|note| output.warning(note));
        preview::look(&job)?.iter().for_each(|warning| output.warning(warning));
        Ok(job)
    }

    fn parse(&self) -> Result<Job, Error> {
        match (&self.kernel, self.files.as_slice()) {
            (Some(kernel), [file]) if kernel == SETI => {
                let text = sky_search(text(file)?);
                Ok(job_file::parse("the command line as a job file", &text, &self.set, Path::new(""))?)
            }
            (Some(kernel), _) if kernel == SETI => Err(Error::Usage(
                "the kernel seti searches one work unit: submit each by itself".into(),
            )),
            (Some(kernel), files) => {
                let names = files.iter().map(|file| Ok(escaped(text(file)?)));
                let text = written(kernel, &names.collect::<Result<Vec<_>, Error>>()?);
                Ok(job_file::parse("the command line as a job file", &text, &self.set, Path::new(""))?)
            }
            (None, [file]) => Ok(job_file::read(file, &self.set)?),
            (None, _) => Err(Error::Usage(
                "give one job file, or a kernel and its input files: starling submit --kernel NAME FILE...".into(),
            )),
        }
    }
}

/// The job that searches one work unit: what docs/seti.md gives, in units of about ten seconds for a unit of the
/// project's size.
pub(super) fn sky_search(file: &str) -> String {
    let name = Path::new(file).file_name().unwrap_or_default().to_string_lossy();
    let name = toml::Value::from(format!("signals in {name}"));
    include_str!("../../examples/seti.toml")
        .replace("\"signals in a work unit\"", &name.to_string())
        .replace("\"work_unit.sah\"", &toml::Value::from(file).to_string())
}

/// A file's name as a pattern that fits it alone.
fn escaped(name: &str) -> String {
    let pattern = glob::Pattern::escape(name);
    if pattern.starts_with('!') { format!("./{pattern}") } else { pattern }
}

/// A file's name, which travels as text.
fn text(file: &Path) -> Result<&str, Error> {
    file.to_str().ok_or_else(|| {
        Error::Usage(format!("{}: its name is not UTF-8: rename it", file.display()))
    })
}

/// The job file that somebody would write for a kernel over files.
fn written(kernel: &str, files: &[String]) -> String {
    let stem =
        Path::new(kernel).file_stem().map_or_else(|| kernel.into(), |stem| stem.to_string_lossy());
    let count = files.len();
    let plural = if count == 1 { "" } else { "s" };
    let name = toml::Value::from(format!("{stem} over {count} file{plural}"));
    let kernel = toml::Value::from(kernel);
    let files = toml::Value::from(files.to_vec());
    format!("name = {name}\nkernel = {kernel}\n[[cut]]\nfiles = {files}\n")
}
