//! Specifications of jobs, read: a read one takes ten times its bytes, so only those that were needed last are kept so.

use proto::JobId;
use proto::job::JobSpec;
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes of the specifications that are kept read: one large one, or some thousands as they commonly are.
const READ_BYTES_MAX: usize = 2 << 20;

/// Specifications that were read, the one needed last at the end.
#[derive(Clone, Debug, Default)]
pub(super) struct Specs {
    read: VecDeque<(JobId, Arc<JobSpec>, usize)>,
    bytes: usize,
}

impl Specs {
    /// The specification of a job, of which these are the bytes; none when they are not understood.
    pub(super) fn of(&mut self, id: JobId, bytes: &[u8]) -> Option<Arc<JobSpec>> {
        if let Some((last, spec, _)) = self.read.back()
            && *last == id
        {
            return Some(Arc::clone(spec));
        }
        let found = match self.read.iter().position(|(of, ..)| *of == id) {
            Some(at) => self.read.remove(at)?,
            None => {
                let spec = Arc::new(JobSpec::parse(bytes).ok()?);
                self.bytes += bytes.len();
                (id, spec, bytes.len())
            }
        };
        let spec = Arc::clone(&found.1);
        self.read.push_back(found);
        while READ_BYTES_MAX < self.bytes && 1 < self.read.len() {
            self.bytes -= self.read.pop_front().map_or(0, |(.., bytes)| bytes);
        }
        Some(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::Digest;
    use serde_json::json;

    /// A specification of about so many bytes.
    fn spec(name: &str, bytes: usize) -> Vec<u8> {
        let text = json!({
            "version": 1, "name": name, "kernel": Digest([1; 32]), "params": { "text": "x".repeat(bytes) },
            "limits": { "memory_bytes": 65536, "fuel": 1, "output_bytes": 0, "log_bytes": 0, "time_s": 1 },
            "copies": 1, "lease_s": 1, "attempts_max": 1, "seed": Digest([1; 32]),
        });
        text.to_string().into_bytes()
    }

    #[test]
    fn few_large_specifications_are_kept_read_and_all_are_right() {
        let mut specs = Specs::default();
        let large: Vec<_> = (0..10).map(|n| spec(&format!("{n}"), READ_BYTES_MAX / 3)).collect();
        for round in 0..3 {
            for (id, bytes) in (0..).zip(&large) {
                let read = specs.of(JobId(id), bytes).unwrap();
                assert_eq!(read.name, id.to_string(), "round {round}");
                assert!(specs.read.len() <= 3 && specs.bytes <= READ_BYTES_MAX);
            }
        }
        let again = specs.of(JobId(9), b"not looked at").unwrap();
        assert_eq!(again.name, "9");
        assert!(specs.of(JobId(11), b"{}").is_none());
        assert_eq!(specs.bytes, specs.read.iter().map(|(.., bytes)| bytes).sum::<usize>());
    }
}
