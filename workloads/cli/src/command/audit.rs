//! `starling audit`: the project's log against its signed head and against the head that was seen last; and all that it
//! says of one job, down to the signatures of the workers.

mod job;
mod rerun;
mod sums;

use self::job::Audited;
use self::sums::JobSums;
use super::Context;
use crate::args::Audit;
use crate::client::{Client, is_passing};
use crate::error::Error;
use crate::shown::{self, HeadsFile, KeptFile};
use program::error::chain;
use program::shell::word;
use proto::bounds::LOG_ENTRIES_MAX;
use proto::log::{Entry, Frontier, Head, Heads, consistent};
use proto::{Digest, JobId, ProjectKey, merkle, pb};
use serde_json::json;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// Bytes of entries that are read at once, about: few calls for a long log, and little memory.
const ENTRIES_BYTES: u32 = 4 << 20;
/// Connections that may be lost while the log is read, without an entry in between.
const LOST_MAX: u32 = 8;

pub(super) async fn run(args: Audit, context: &Context) -> Result<(), Error> {
    let client = context.connect().await?;
    let project = client.profile.join.project;
    let path = kept_path(&context.profile_path()?, &project);
    let kept = Kept::load(&path, &project)?;
    let mut job = match args.job {
        Some(id) => Some(Audited::begin(&client, id).await?),
        None => None,
    };
    let signed = head(&client).await?;
    let seen = Head::verify(&signed, &project).map_err(|error| unverified(&chain(&error)))?;
    let auditor = Auditor { client: &client, project, signed, head: seen, proof: &args.proof };
    if let Some(job) = &mut job {
        job.begun(&client).await?;
    }
    let read = auditor.log(kept.as_ref(), job.as_mut()).await?;
    shown::save(&path, &KeptFile::new(&auditor.signed, read.frontier.clone()))?;
    let found = match job {
        Some(mut job) => {
            job.results(&client).await?;
            let rerun = rerun::run(&job, args.rerun, context).await?;
            Some((job.found(), rerun))
        }
        None => None,
    };
    let answer = json!({
        "entries": read.entries, "size": seen.size, "root": seen.root,
        "continues": kept.as_ref().map(|kept| kept.head.size),
        "job": found.as_ref().map(|(found, _)| found),
        "rerun": found.as_ref().map(|(_, rerun)| rerun),
    });
    context.output.answer(&answer, || {
        let mut text = format!(
            "the log ({} entries, {} read now) is what the project signed",
            seen.size, read.entries
        );
        text.push_str(&match &kept {
            Some(kept) => format!("\nit begins with the {} seen before", kept.head.size),
            None => "\nit was not seen before: from now on it is held against this head".into(),
        });
        if let Some((found, rerun)) = &found {
            text.push_str(&format!("\n{}", found.described()));
            if !rerun.is_empty() {
                let names: Vec<String> = rerun.iter().map(|unit| format!("u{unit}")).collect();
                text.push_str(&format!(
                    "\nrun again here with the same output and fuel: {}",
                    names.join(", ")
                ));
            }
        }
        text
    })?;
    Ok(())
}

fn unverified(why: &str) -> Error {
    Error::Unverified(why.to_owned())
}

/// The head of the log as it is now.
pub(super) async fn head(client: &Client) -> Result<pb::SignedHead, Error> {
    let log = client.log();
    let call = || {
        let mut log = log.clone();
        async move { log.head(pb::LogHeadRequest {}).await }
    };
    client.call("sign the head of its log", call).await
}

/// The digests of a proof.
pub(super) fn path_of<T: AsRef<[u8]>>(path: &[T]) -> Result<merkle::Path, Error> {
    let digests = path.iter().map(|bytes| Digest::try_from(bytes.as_ref()));
    let digests: Result<_, _> = digests.collect();
    digests.map(merkle::Path).map_err(|_| unverified("a proof holds what is no digest"))
}

/// The head that was audited last.
struct Kept {
    signed: pb::SignedHead,
    head: Head,
    frontier: Frontier,
}

/// Where it is kept: beside the profile, one for each project.
fn kept_path(profile: &Path, project: &ProjectKey) -> PathBuf {
    profile.with_file_name("heads").join(format!("{project}.json"))
}

impl Kept {
    fn load(path: &Path, project: &ProjectKey) -> Result<Option<Self>, Error> {
        if !path.exists() {
            return Ok(None);
        }
        let damaged = || {
            Error::Failed(format!(
                "{} is damaged: without it nothing is known of the log as it was; move it away to begin anew",
                path.display()
            ))
        };
        let (signed, frontier) = shown::load::<KeptFile>(path)?.decode().ok_or_else(damaged)?;
        let head = Head::verify(&signed, project).map_err(|_| damaged())?;
        if (frontier.size(), frontier.root()) != (head.size, head.root) {
            return Err(damaged());
        }
        Ok(Some(Self { signed, head, frontier }))
    }
}

/// What was read of the log.
struct Read {
    /// Entries that were read.
    entries: u64,
    frontier: Frontier,
    /// The root over as many entries as were asked about, if the log has them.
    marked: Option<Digest>,
}

struct Auditor<'a> {
    client: &'a Client,
    project: ProjectKey,
    signed: pb::SignedHead,
    head: Head,
    /// Where a proof goes.
    proof: &'a Path,
}

impl Auditor<'_> {
    /// Reads the log and holds it against its head and the one that was kept.
    async fn log(&self, kept: Option<&Kept>, job: Option<&mut Audited>) -> Result<Read, Error> {
        if let Some(kept) = kept {
            self.heads_fit(kept)?;
        }
        let read = match kept {
            Some(kept) if job.is_none() => {
                let read = self.read(kept.frontier.clone(), None, None, None).await?;
                if read.frontier.root() == self.head.root {
                    return Ok(read);
                }
                // Something was changed below the kept head, or what is handed out is not the log at all.
                self.read(Frontier::default(), Some(kept.head.size), None, None).await?
            }
            _ => {
                let mut sums = JobSums::default();
                let mark = kept.map(|kept| kept.head.size);
                self.read(Frontier::default(), mark, Some(&mut sums), job).await?
            }
        };
        if read.frontier.root() != self.head.root {
            return Err(Error::Unverified(format!(
                "the entries that the coordinator hands out are not those of the log that it signed: they are under {}, its head says {}",
                read.frontier.root(),
                self.head.root
            )));
        }
        match (kept, read.marked) {
            (Some(kept), Some(marked)) if marked != kept.head.root => {
                Err(self.rewritten(kept, marked).await?)
            }
            _ => Ok(read),
        }
    }

    /// Checks what the two heads alone say.
    fn heads_fit(&self, kept: &Kept) -> Result<(), Error> {
        let heads = self.with(kept, None);
        let contradiction = heads.contradiction(&self.project);
        let contradiction = contradiction.map_err(|error| unverified(&chain(&error)))?;
        if let Some(contradiction) = contradiction {
            return Err(self.proved(&heads, &contradiction.to_string())?);
        }
        if self.head.size < kept.head.size {
            return Err(Error::Unverified(format!(
                "the coordinator shows a log of {} entries, and has shown one of {}: it was cut short, or an older copy answers",
                self.head.size, kept.head.size
            )));
        }
        Ok(())
    }

    fn with(&self, kept: &Kept, prefix: Option<(Digest, merkle::Path)>) -> Heads {
        let (kept_signed, signed) = (kept.signed.clone(), self.signed.clone());
        let (smaller, larger) = if kept.head.size <= self.head.size {
            (kept_signed, signed)
        } else {
            (signed, kept_signed)
        };
        Heads { smaller, larger, prefix }
    }

    /// The log does not begin with what was seen: gets the proof of that.
    async fn rewritten(&self, kept: &Kept, marked: Digest) -> Result<Error, Error> {
        let (from_size, to_size) = (kept.head.size, self.head.size);
        let log = self.client.log();
        let request = pb::LogConsistencyRequest { from_size, to_size };
        let proof = self
            .client
            .call("prove what its log begins with", || {
                let mut log = log.clone();
                async move { log.consistency(request).await }
            })
            .await?;
        let path = path_of(&proof.path)?;
        if !consistent(from_size, &marked, to_size, &self.head.root, &path) {
            return Ok(Error::Unverified(format!(
                "the log was rewritten: its first {from_size} entries are not those that were seen; and the coordinator gives no proof of what they are"
            )));
        }
        let heads = self.with(kept, Some((marked, path)));
        let contradiction = heads.contradiction(&self.project);
        match contradiction.map_err(|error| unverified(&chain(&error)))? {
            Some(contradiction) => self.proved(&heads, &contradiction.to_string()),
            None => Ok(unverified("the log was rewritten, and there is no proof of it")),
        }
    }

    /// Writes the proof of a contradiction.
    fn proved(&self, heads: &Heads, what: &str) -> Result<Error, Error> {
        shown::save(self.proof, &HeadsFile::new(self.project, heads))?;
        Ok(Error::Unverified(format!(
            "{what}\n  the proof is in {}; anybody can check it: starling verify heads {} --project {}",
            self.proof.display(),
            word(self.proof),
            self.project
        )))
    }

    /// Reads the log from a frontier up to the head; `mark`: a size at which to note the root.
    async fn read(
        &self,
        mut frontier: Frontier,
        mark: Option<u64>,
        mut sums: Option<&mut JobSums>,
        mut job: Option<&mut Audited>,
    ) -> Result<Read, Error> {
        let begun = frontier.size();
        let mut marked = None;
        let mut entries = Reader::new(self.client, self.head.size);
        loop {
            if mark == Some(frontier.size()) {
                marked = Some(frontier.root());
            }
            let index = frontier.size();
            let Some(bytes) = entries.next(index).await? else { break };
            frontier.append(Entry::leaf(&bytes), |_, _, _| {});
            let wrong = |why: &str| Error::Unverified(format!("entry {index} of the log: {why}"));
            let entry = Entry::decode(&bytes).map_err(|error| wrong(&error.to_string()))?;
            if entry.project != self.project {
                return Err(wrong("it is of another project"));
            }
            if let Some(sums) = &mut sums {
                sums.note(&entry).map_err(|why| wrong(&why))?;
            }
            if let Some(job) = &mut job
                && entry.job == job.id
            {
                job.note(self.client, index, &entry).await?;
            }
        }
        if let (Some(sums), Some(job)) = (&sums, &mut job) {
            job.summed(sums).map_err(|why| Error::Unverified(format!("{}: {why}", job.id)))?;
        }
        Ok(Read { entries: frontier.size() - begun, frontier, marked })
    }
}

/// Entries one after the other, through lost connections. Some are read at once, to the end of the call: what is asked
/// between two of them shares the connection, and would wait for ever behind a stream that nobody reads.
struct Reader<'a> {
    client: &'a Client,
    end: u64,
    ready: VecDeque<bytes::Bytes>,
}

impl<'a> Reader<'a> {
    fn new(client: &'a Client, end: u64) -> Self {
        Self { client, end, ready: VecDeque::new() }
    }

    /// Entry `index`, which follows the one before; `None` at the end.
    async fn next(&mut self, index: u64) -> Result<Option<bytes::Bytes>, Error> {
        if index == self.end {
            return Ok(None);
        }
        let mut lost = 0;
        while self.ready.is_empty() {
            let status = match self.more(index).await {
                Ok(()) if self.ready.is_empty() => {
                    return Err(Error::Unverified(format!(
                        "the coordinator does not hand out entry {index} of the log of {} that it signed",
                        self.end
                    )));
                }
                Ok(()) => continue,
                Err(status) => status,
            };
            lost += 1;
            let away = !is_passing(&status) || LOST_MAX < lost;
            if self.ready.is_empty() && away {
                return Err(self.client.error("show the log", &status));
            }
        }
        Ok(self.ready.pop_front())
    }

    /// Gets entries from `index` on; those that came before an error are there too.
    async fn more(&mut self, index: u64) -> Result<(), tonic::Status> {
        let count_max = u32::try_from(self.end - index).unwrap_or(u32::MAX).min(LOG_ENTRIES_MAX);
        let request = pb::LogEntriesRequest { from: index, count_max, bytes_max: ENTRIES_BYTES };
        let mut stream = self.client.log().entries(request).await?.into_inner();
        let (mut next, mut bytes) = (index, 0);
        // A coordinator that does not know of the bound is cut off at it.
        while bytes < ENTRIES_BYTES as usize
            && let Some(message) = stream.message().await?
        {
            if message.from != next {
                return Ok(());
            }
            next += message.entries.len() as u64;
            bytes += message.entries.iter().map(bytes::Bytes::len).sum::<usize>();
            self.ready.extend(message.entries);
        }
        Ok(())
    }
}

/// A job by name in a sentence.
fn of(job: JobId, why: impl std::fmt::Display) -> Error {
    Error::Unverified(format!("{job}: {why}"))
}
