//! What leases and questions bring that cannot be derived from the job and the index alone.

use super::Driver;
use crate::core::event::{Event, Lease, ToWorker};
use crate::core::saved::read;
use program::error::chain;
use proto::job::{Extra, Lines, Outline, Stage};
use proto::{JobId, UnitIndex};

impl Driver {
    /// Adds to a lease what cannot be derived from the job and the index alone.
    #[expect(clippy::result_large_err, reason = "the event goes straight to the core, and is rare")]
    pub(super) fn complete(&self, message: ToWorker) -> Result<ToWorker, Event> {
        let mut lease = match message {
            ToWorker::Lease(lease) => lease,
            ToWorker::Show(mut show) => {
                show.extra = self.extra_of(show.job, &show.spec, show.unit);
                return Ok(ToWorker::Show(show));
            }
            ToWorker::Segment(mut segment) => {
                segment.extra = self.extra_of(segment.job, &segment.spec, segment.unit);
                return Ok(ToWorker::Segment(segment));
            }
            other => return Ok(other),
        };
        match self.extras(&lease) {
            Ok(extras) => {
                lease.extras = extras;
                Ok(ToWorker::Lease(lease))
            }
            Err(reason) => {
                tracing::warn!(lease = lease.lease.0, job = lease.job.0, %reason, "a lease cannot be sent");
                Err(Event::Unreadable { lease: lease.lease, reason })
            }
        }
    }

    /// What a unit's lease brings, for a question about it; one that cannot be read leaves the worker unable to answer.
    fn extra_of(&self, job: JobId, spec: &Outline, unit: UnitIndex) -> Option<Extra> {
        let extra = self.extra(job, spec, unit);
        if let Err(reason) = &extra {
            tracing::warn!(job = job.0, unit = unit.0, %reason, "a question brings nothing");
        }
        extra.ok()
    }

    fn extras(&self, lease: &Lease) -> Result<Vec<Extra>, String> {
        let spec = &lease.spec;
        if spec.lines.is_none() && lease.first.0 + u64::from(lease.count) <= spec.cut_units {
            return Ok(Vec::new());
        }
        (lease.first.0..)
            .take(lease.count as usize)
            .map(|unit| self.extra(lease.job, spec, UnitIndex(unit)))
            .collect()
    }

    fn extra(&self, job: JobId, spec: &Outline, unit: UnitIndex) -> Result<Extra, String> {
        if let Some(Stage::Merge { first, count, .. }) = spec.stage(unit) {
            let inputs = read::outputs(self.config.store.as_ref(), job, first, count);
            return Ok(Extra { line: None, inputs: inputs.map_err(|error| chain(&error))? });
        }
        let (Some(Lines { digest, .. }), Some(line)) = (spec.lines, spec.line(unit)) else {
            return Ok(Extra::default());
        };
        let text = self.config.blobs.line(&digest, line);
        Ok(Extra {
            line: Some(
                text.map_err(|error| format!("line {line} of the job cannot be read: {error}"))?,
            ),
            inputs: Vec::new(),
        })
    }
}
