//! What a shipped kernel would say of its inputs, asked before anything is sent or computed: a recording that cannot be
//! searched as the job asks for is refused here, and what is passed over in it is told.

use crate::error::Error;
use crate::job_file::{Content, Job};
use crate::line_file::LineFile;
use program::error::chain;
use proto::cut::{self, Axis};
use proto::job::{Extra, Input, JobSpec, Segment, Unit, UnitInput};
use proto::{Digest, UnitIndex};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;

/// Units that are looked at: each opens a file or two, so that it is done in seconds.
const UNITS_MAX: usize = 1 << 16;
/// Values of an axis that are looked at.
const VALUES_MAX: u64 = 4096;
/// Warnings that are told.
const WARNINGS_MAX: usize = 20;

/// Looks at the inputs of a job of the kernels `pulsar` and `seti`; what is unusual about them.
pub(crate) fn look(job: &Job) -> Result<Vec<String>, Error> {
    let kernel = shipped::ALL.iter().find(|shipped| Digest::of(shipped.wasm) == job.spec.kernel);
    match kernel.map(|shipped| shipped.name) {
        Some("pulsar") => Preview::new(job)?.recordings(),
        Some("seti") => Preview::new(job)?.work_unit(),
        _ => Ok(Vec::new()),
    }
}

struct Preview<'a> {
    spec: &'a JobSpec,
    contents: BTreeMap<Digest, &'a Content>,
    lines: Option<RefCell<LineFile>>,
    /// The list of files, where it is not in a file.
    list: Vec<&'a str>,
}

impl<'a> Preview<'a> {
    fn new(job: &'a Job) -> Result<Self, Error> {
        let contents: BTreeMap<Digest, &Content> =
            job.blobs.iter().map(|blob| (blob.digest, &blob.content)).collect();
        let (mut lines, mut list) = (None, Vec::new());
        match job.spec.line_file().and_then(|(digest, ..)| contents.get(&digest)) {
            Some(Content::File(path)) => lines = Some(RefCell::new(LineFile::open(path)?)),
            Some(Content::Bytes(bytes)) => {
                list = std::str::from_utf8(bytes).unwrap_or_default().lines().collect();
            }
            None => {}
        }
        Ok(Self { spec: &job.spec, contents, lines, list })
    }

    /// What the kernel `pulsar` would say to the units at the ends of each axis and to each file.
    fn recordings(&self) -> Result<Vec<String>, Error> {
        let mut warnings = BTreeSet::new();
        let (units, all) = self.units();
        for index in units {
            let unit = self.unit(index)?;
            let Some(UnitInput::Segments(segments)) = unit.inputs.first() else { continue };
            let name = self.name(segments);
            let reader = self.reader(segments)?;
            let found = pulsar::check(&unit.params, BufReader::new(reader)).map_err(|error| {
                Error::Usage(format!("{index} ({name}) would fail everywhere: {error}"))
            })?;
            if warnings.len() <= WARNINGS_MAX {
                warnings.extend(found.into_iter().map(|warning| format!("{name}: {warning}")));
            }
        }
        let more = warnings.len().saturating_sub(WARNINGS_MAX);
        let mut warnings: Vec<String> = warnings.into_iter().take(WARNINGS_MAX).collect();
        if 0 < more {
            warnings.push("there are more such warnings".to_owned());
        }
        if !all {
            warnings.push(format!("only {UNITS_MAX} units were looked at before they are sent"));
        }
        Ok(warnings)
    }

    /// What the kernel `seti` would say to the work unit.
    fn work_unit(&self) -> Result<Vec<String>, Error> {
        let unit = self.unit(UnitIndex(0))?;
        let Some(UnitInput::Segments(segments)) = unit.inputs.first() else {
            return Ok(Vec::new());
        };
        let name = self.name(segments);
        let wrong = |error: &dyn std::error::Error| {
            Error::Usage(format!("{name} is no work unit that can be searched: {}", chain(error)))
        };
        let mut bytes = Vec::new();
        let mut reader = self.reader(segments)?.take(::seti::UNIT_BYTES_MAX);
        reader.read_to_end(&mut bytes).map_err(|error| wrong(&error))?;
        let header = ::seti::Header::read(&bytes).map_err(|error| wrong(&error))?;
        ::seti::Samples::read(&bytes, &header.setup).map_err(|error| wrong(&error))?;
        Ok(Vec::new())
    }

    /// Units that together have each file, and the ends of each other axis; whether they are all of those.
    fn units(&self) -> (Vec<UnitIndex>, bool) {
        let mut units = vec![0_u64];
        let mut all = true;
        for axis in &self.spec.cut {
            let len = axis.len(&self.spec.inputs);
            let positions: Vec<u64> = match axis {
                Axis::Files { .. } | Axis::Listed { .. } => (0..len).collect(),
                Axis::Values { .. } | Axis::Lines { .. } if len <= VALUES_MAX => (0..len).collect(),
                Axis::Range { .. } => vec![0],
                _ => BTreeSet::from([0, len - 1]).into_iter().collect(),
            };
            let longer =
                units.iter().flat_map(|unit| positions.iter().map(move |at| unit * len + at));
            let longer: Vec<u64> = longer.take(UNITS_MAX + 1).collect();
            all &= longer.len() <= UNITS_MAX;
            units = longer;
            units.truncate(UNITS_MAX);
        }
        (units.into_iter().map(UnitIndex).collect(), all)
    }

    fn unit(&self, index: UnitIndex) -> Result<Unit, Error> {
        let line = match cut::line(self.spec, index) {
            Some(line) => Some(self.line(line)?),
            None => None,
        };
        let extra = Extra { line, inputs: Vec::new() };
        self.spec.unit(index, &extra).map_err(|invalid| Error::Usage(format!("{index}: {invalid}")))
    }

    fn line(&self, index: u64) -> Result<String, Error> {
        if let Some(lines) = &self.lines {
            return lines.borrow_mut().line(index);
        }
        let line = usize::try_from(index).ok().and_then(|index| self.list.get(index));
        let line = line.ok_or_else(|| Error::Failed(format!("the job has no line {index}")))?;
        Ok((*line).to_owned())
    }

    /// What a file is called.
    fn name(&self, segments: &[Segment]) -> String {
        let Some(Segment { digest, .. }) = segments.first() else { return "its input".to_owned() };
        let named = self.spec.inputs.iter().find(|input| input.digest == *digest);
        if let Some(Input { name, .. }) = named {
            return name.clone();
        }
        match self.contents.get(digest) {
            Some(Content::File(path)) => path.display().to_string(),
            _ => digest.to_string(),
        }
    }

    fn reader(&self, segments: &[Segment]) -> Result<Segments, Error> {
        let mut parts = Vec::new();
        for segment in segments {
            let Some(Content::File(path)) = self.contents.get(&segment.digest) else {
                return Err(Error::Failed(format!("{} is in no file", segment.digest)));
            };
            parts.push((path.clone(), segment.offset, segment.len));
        }
        Ok(Segments { parts, at: 0, open: None })
    }
}

/// Stretches of files, read like their concatenation.
struct Segments {
    parts: Vec<(PathBuf, u64, u64)>,
    at: u64,
    open: Option<(usize, File)>,
}

impl Read for Segments {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        use std::os::unix::fs::FileExt;
        let mut before = 0;
        for (index, (path, offset, len)) in self.parts.iter().enumerate() {
            let end = before + len;
            if end <= self.at {
                before = end;
                continue;
            }
            if self.open.as_ref().is_none_or(|(open, _)| *open != index) {
                self.open = Some((index, File::open(path)?));
            }
            let Some((_, file)) = &self.open else { break };
            let most = usize::try_from(end - self.at).unwrap_or(usize::MAX).min(into.len());
            let count = file.read_at(&mut into[..most], offset + (self.at - before))?;
            self.at += count as u64;
            return Ok(count);
        }
        Ok(0)
    }
}

impl Seek for Segments {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let len: u64 = self.parts.iter().map(|(_, _, len)| len).sum();
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
