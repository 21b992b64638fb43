//! `job.toml`: what a researcher writes, read into what is submitted.

mod cut;
mod fields;
mod files;
mod pattern;
mod set;
mod text;

use proto::Digest;
use proto::job::{CONTRACT, Input, JobSpec, Limits, Merge, Nan, Numbers, VERSION, success};
use std::path::Path;
use toml::de::DeTable;

pub use files::{Blob, Content};
pub use text::Mistake;

use fields::{Fields, Places, suggest};
use files::Files;
use text::Text;

/// Largest job file, bytes: no larger than what it becomes.
const FILE_BYTES_MAX: usize = proto::bounds::SPEC_BYTES_MAX;
/// Two reports that agree show a right answer unless two accounts lie together.
const COPIES: u32 = 2;
/// Time between two signs of life of a worker, generously.
const LEASE_S: u64 = 3_600;
/// Enough for a unit to be unlucky several times.
const ATTEMPTS_MAX: u32 = 8;
/// About an hour on one core.
const FUEL: u64 = 100_000_000_000_000;
/// Far above what the default fuel takes on a slow machine.
const TIME_S: u64 = 24 * 3_600;
/// Small enough for any volunteer's machine.
const MEMORY_BYTES: u64 = 256 << 20;
/// A result, not data.
const OUTPUT_BYTES: u64 = 16 << 20;
/// A page or two of lines.
const LOG_BYTES: u64 = 64 << 10;
/// A tree of three levels merges 4096 outputs.
const FAN_IN: u32 = 16;

const NAMES: [&str; 16] = [
    "name",
    "kernel",
    "params",
    "inputs",
    "cut",
    "copies",
    "confidence",
    "lease",
    "attempts",
    "priority",
    "nan",
    "exit_codes",
    "seed",
    "trace",
    "limits",
    "merge",
];
const LIMITS: [&str; 5] = ["memory", "fuel", "output", "log", "time"];
const MERGE: [&str; 2] = ["fan_in", "kernel"];
const INPUT: [&str; 2] = ["path", "name"];

/// A job, ready to be submitted or tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The specification; it holds.
    pub spec: JobSpec,
    /// The content that the specification names: kernels, inputs, lines, files of a list.
    pub blobs: Vec<Blob>,
    /// What was left out or is unusual, for people.
    pub notes: Vec<String>,
}

/// Reads the job file at `path`, with `set` (`NAME=VALUE`) over it, and the files that it names.
///
/// # Errors
/// [`Mistake`], which tells the line, the field and what is allowed.
pub fn read(path: &Path, set: &[String]) -> Result<Job, Mistake> {
    let name = path.display().to_string();
    let whole = |message: String| Text::new(&name, "").mistake(&(0..0), "", message);
    let bytes = std::fs::read(path).map_err(|error| whole(format!("cannot be read: {error}")))?;
    if FILE_BYTES_MAX < bytes.len() {
        return Err(whole(format!(
            "it has {} bytes: at most {FILE_BYTES_MAX} are allowed",
            bytes.len()
        )));
    }
    let content =
        String::from_utf8(bytes).map_err(|_| whole("it is not text in UTF-8".to_owned()))?;
    parse(&name, &content, set, path.parent().unwrap_or_else(|| Path::new("")))
}

/// Reads `content`, which names files relative to `folder`.
///
/// # Errors
/// As for [`read`].
pub fn parse(name: &str, content: &str, set: &[String], folder: &Path) -> Result<Job, Mistake> {
    let mut text = Text::new(name, content);
    let root = DeTable::parse(content).map_err(|error| {
        let message = format!("this is not TOML: {}", error.message().trim());
        text.mistake(&error.span().unwrap_or(0..0), "", message)
    })?;
    let mut table = root.into_inner();
    for setting in set {
        set::apply(&mut table, setting, &mut text)?;
    }
    let places = Places::new(text);
    let root = Fields::new("", &(0..0), table, &NAMES, &places)?;
    build(root, &places, Files::new(folder))
}

fn build(mut root: Fields<'_>, places: &Places, mut files: Files) -> Result<Job, Mistake> {
    let name = root.string("name", "a name for people, as in \"primes below 10^6\"")?;
    let name = root.required("name", "a name for people", name)?;
    let kernel =
        root.string("kernel", "the name of a shipped kernel, or the path of a .wasm file")?;
    let kernel = root.required(
        "kernel",
        "the name of a shipped kernel, or the path of a .wasm file",
        kernel,
    )?;
    let kernel = files.kernel(&kernel).map_err(|message| root.wrong("kernel", message))?;
    let nan = nan(&mut root)?;
    let params = root.object("params")?.unwrap_or_default();
    let mut inputs = inputs(&mut root, places, &mut files)?;
    let cut = cut::read(&mut root, places, &mut files, &mut inputs)?;
    let merge = merge(&mut root, &mut files)?;
    let limits = limits(&mut root)?;
    let seed = seed(&mut root, &name)?;
    let confidence = root.number("confidence")?;
    // One report at least; the estimate says how many more.
    let copies = if confidence.is_some() { 1 } else { COPIES };
    let mut spec = JobSpec {
        version: VERSION,
        kernel,
        contract: CONTRACT,
        nan,
        numbers: Numbers::Binary,
        params,
        inputs,
        cut,
        merge,
        limits,
        copies: root.small_count("copies")?.unwrap_or(copies),
        confidence,
        lease_s: root.seconds("lease")?.unwrap_or(LEASE_S),
        attempts_max: root.small_count("attempts")?.unwrap_or(ATTEMPTS_MAX),
        priority: root.signed("priority")?.unwrap_or(0),
        exit_codes: root.codes("exit_codes")?.unwrap_or_else(success),
        seed,
        trace_fuel: root.count("trace")?.unwrap_or(proto::trace::SPACING),
        name,
    };
    keep_numbers(&mut spec, &files)
        .map_err(|(name, why)| places.wrong(&format!("params.{name}"), why))?;
    spec.normalise().map_err(|invalid| mistake(places, &invalid))?;
    spec.check().and_then(|()| spec.check_new()).map_err(|invalid| mistake(places, &invalid))?;
    files.check_lines(&spec).map_err(|message| {
        let at = spec.cut.iter().position(|axis| matches!(axis, proto::cut::Axis::Lines { .. }));
        places.wrong(&format!("cut[{}].lines", at.unwrap_or(0)), message)
    })?;
    let bytes = spec.encode().len();
    if proto::bounds::SPEC_BYTES_MAX < bytes {
        let message = format!(
            "the job takes {bytes} bytes as a specification, at most {} are allowed: put long lists of values into a file and cut by its lines",
            proto::bounds::SPEC_BYTES_MAX
        );
        return Err(places.text.mistake(&(0..0), "", message));
    }
    let (blobs, notes) = files.into_parts();
    Ok(Job { spec, blobs, notes })
}

/// Where a number would change if it were read as 64-bit integer or double, all reach their units as they are written.
/// Elsewhere they need not: workers that do not know the difference can run the job.
fn keep_numbers(spec: &mut JobSpec, files: &Files) -> Result<(), (String, String)> {
    let mut lossy = files.lines_are_lossy();
    for (name, value) in spec.values() {
        let looked = proto::json::look(value.get());
        lossy |= looked.map_err(|error| (name.to_owned(), error.to_string()))?.is_some();
    }
    if lossy {
        spec.numbers = Numbers::Written;
    }
    Ok(())
}

fn nan(root: &mut Fields<'_>) -> Result<Nan, Mistake> {
    const ALLOWED: &str = "\"canonical\" or \"unchecked\"";
    match root.string("nan", ALLOWED)?.as_deref() {
        None | Some("canonical") => Ok(Nan::Canonical),
        Some("unchecked") => Ok(Nan::Unchecked),
        Some(other) => Err(root.wrong("nan", format!("{other:?} is not allowed: give {ALLOWED}"))),
    }
}

fn inputs(
    root: &mut Fields<'_>,
    places: &Places,
    files: &mut Files,
) -> Result<Vec<Input>, Mistake> {
    let mut inputs = Vec::new();
    for (at, span, table) in root.tables("inputs")? {
        let mut fields = Fields::new(&at, &span, table, &INPUT, places)?;
        let path = fields.string("path", "the path of a file")?;
        let path = fields.required("path", "the path of a file", path)?;
        let mut input = files.input(&path).map_err(|message| fields.wrong("path", message))?;
        if let Some(name) = fields.string("name", "a name for people")? {
            input.name = name;
        }
        inputs.push(input);
    }
    Ok(inputs)
}

fn merge(root: &mut Fields<'_>, files: &mut Files) -> Result<Option<Merge>, Mistake> {
    let Some(mut fields) = root.table("merge", &MERGE)? else { return Ok(None) };
    let kernel = match fields
        .string("kernel", "the name of a shipped kernel, or the path of a .wasm file")?
    {
        Some(kernel) => {
            Some(files.kernel(&kernel).map_err(|message| fields.wrong("kernel", message))?)
        }
        None => None,
    };
    Ok(Some(Merge { kernel, fan_in: fields.small_count("fan_in")?.unwrap_or(FAN_IN) }))
}

/// What a unit may use where a job does not say.
#[must_use]
pub fn standard_limits() -> Limits {
    Limits {
        memory_bytes: MEMORY_BYTES,
        fuel: FUEL,
        output_bytes: OUTPUT_BYTES,
        log_bytes: LOG_BYTES,
        time_s: TIME_S,
    }
}

fn limits(root: &mut Fields<'_>) -> Result<Limits, Mistake> {
    let standard = standard_limits();
    let Some(mut fields) = root.table("limits", &LIMITS)? else { return Ok(standard) };
    Ok(Limits {
        memory_bytes: fields.size("memory")?.unwrap_or(standard.memory_bytes),
        fuel: fields.count("fuel")?.unwrap_or(standard.fuel),
        output_bytes: fields.size("output")?.unwrap_or(standard.output_bytes),
        log_bytes: fields.size("log")?.unwrap_or(standard.log_bytes),
        time_s: fields.seconds("time")?.unwrap_or(standard.time_s),
    })
}

/// A digest as it is, any other text through its digest, the job's name when nothing is said.
fn seed(root: &mut Fields<'_>, name: &str) -> Result<Digest, Mistake> {
    let seed = root.string("seed", "any text, or 64 hexadecimal digits")?;
    let seed = seed.as_deref().unwrap_or(name);
    Ok(seed.parse().unwrap_or_else(|_| Digest::of(seed.as_bytes())))
}

/// What the specification's own check found, told in the words of the job file.
fn mistake(places: &Places, invalid: &proto::job::Invalid) -> Mistake {
    const WORDS: [(&str, &str, &str); 13] = [
        ("exit_codes (count)", "exit_codes", " (codes)"),
        ("trace_fuel", "trace", " (fuel)"),
        ("limits.memory_bytes", "limits.memory", " (bytes)"),
        ("limits.output_bytes", "limits.output", " (bytes)"),
        ("limits.log_bytes", "limits.log", " (bytes)"),
        ("limits.time_s", "limits.time", " (seconds)"),
        ("lease_s", "lease", " (seconds)"),
        ("attempts_max", "attempts", ""),
        ("name (bytes)", "name", " (bytes)"),
        ("inputs (count)", "inputs", " (files)"),
        ("cut (units)", "cut", " (units)"),
        (".record_bytes", ".record", " (bytes)"),
        (".header_bytes", ".header", " (bytes)"),
    ];
    let proto::job::Invalid::Field { field, allowed } = invalid else {
        return places.text.mistake(&(0..0), "", invalid.to_string());
    };
    if let Some(at) = field.strip_suffix(".name") {
        return Mistake { field: at.to_owned(), ..places.wrong(at, allowed) };
    }
    for (theirs, ours, unit) in WORDS {
        if let Some(before) = field.strip_suffix(theirs) {
            let ours = format!("{before}{ours}");
            return Mistake { field: format!("{ours}{unit}"), ..places.wrong(&ours, allowed) };
        }
    }
    places.wrong(field, allowed)
}

#[cfg(test)]
mod tests;
