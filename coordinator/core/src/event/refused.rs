//! Why a worker or a job is not taken.

use proto::{Digest, JobId};

/// A worker is not welcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too many workers are connected.
    #[error("{0} workers are connected, as many as this coordinator serves: try again later")]
    TooMany(usize),
    /// The worker belongs to another account.
    #[error("this worker belongs to another account: make a new worker key for a new owner")]
    OtherAccount,
    /// The operator lets in who was invited.
    #[error(
        "this project lets in volunteers who were invited: ask its operator for a join string with an invitation \
         (starling-coordinator token issue NAME --role volunteer), and join with it"
    )]
    NotInvited,
    /// As many accounts have joined by the invitation as it lets in.
    #[error(
        "as many accounts have joined by this invitation as it lets in: ask the project's operator for another"
    )]
    InvitationUsed,
    /// The operator asks for work of so many bits.
    #[error(
        "a new account must show work of {0} bits to this project: install the newest release and join again"
    )]
    NoWork(u32),
    /// The disk is full.
    #[error("{0}")]
    DiskFull(String),
    /// The coordinator decides nothing any more.
    #[error("{0}")]
    Halted(String),
}

/// Why a job is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitRefused {
    /// The bytes are no good specification.
    #[error("{0}")]
    Invalid(String),
    /// A blob that the specification names is not here.
    #[error("{what} ({digest}) is not here: put it, then submit again")]
    Missing {
        /// What the blob is to the job.
        what: String,
        /// Of the blob.
        digest: Digest,
    },
    /// Too many jobs run at once.
    #[error("{0} jobs are running, as many as are allowed: wait until one ends, or cancel one")]
    TooMany(usize),
    /// Too many jobs of the account run at once.
    #[error(
        "{0} jobs of account \"{1}\" are running, as many as are allowed: wait until one ends, cancel one, or make one job of \
         several by an axis more"
    )]
    TooManyOfAccount(usize, String),
    /// The specifications of the account's running jobs are too large together.
    #[error(
        "the specifications of account \"{account}\"'s running jobs have {bytes} bytes, this one would make it more than the \
         {max} that are allowed: wait until one ends, or put what is long into a file of lines"
    )]
    Specs {
        /// The account.
        account: String,
        /// Of those that run.
        bytes: u64,
        /// Most bytes.
        max: u64,
    },
    /// The account has no room for it.
    #[error(
        "account \"{account}\" has {used} of the {quota} bytes that may be kept for it: remove outputs of jobs that have \
         ended (starling cancel --outputs), or ask the operator for more (--account-bytes)"
    )]
    Quota {
        /// The account.
        account: String,
        /// Bytes that are kept for it.
        used: u64,
        /// Most bytes.
        quota: u64,
    },
    /// The submission id was used for another specification.
    #[error("this submission id was used for {0}, which has another specification: draw a new id")]
    OtherSpec(JobId),
    /// The disk is full.
    #[error("{0}")]
    DiskFull(String),
}
