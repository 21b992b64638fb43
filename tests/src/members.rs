//! Members of a running project that a test makes itself: with the project's key, from the coordinator's folder.

use crate::grid::{Coordinator, Worker, until};
use crate::volunteer::key;
use anyhow::{Context, Result};
use ed25519_dalek::SigningKey;
use proto::member::{Certificate, Member};
use proto::{AccountKey, Digest, ProjectKey, WorkerKey};
use std::net::{SocketAddr, UdpSocket};
use worker::network::peer_record::Contact;

/// Makes members.
#[derive(Debug)]
pub struct Members(SigningKey);

impl Members {
    /// Of this coordinator's project.
    ///
    /// # Errors
    /// When its key cannot be read.
    pub fn of(coordinator: &Coordinator) -> Result<Self> {
        let seed = std::fs::read_to_string(coordinator.data.join("project.key"))?;
        let seed: Digest = seed.trim().parse()?;
        Ok(Self(SigningKey::from_bytes(&seed.0)))
    }

    /// The project.
    #[must_use]
    pub fn project(&self) -> ProjectKey {
        ProjectKey::from(&self.0)
    }

    /// Shows that the worker of [`key`] `worker` is a member, of the account of `key` `account`.
    #[must_use]
    pub fn certificate(&self, worker: u64, account: u64) -> Certificate {
        self.certify(WorkerKey::from(&key(worker)), account)
    }

    /// The same of any worker.
    #[must_use]
    pub fn certify(&self, worker: WorkerKey, account: u64) -> Certificate {
        let member = Member {
            project: self.project(),
            worker,
            account: AccountKey::from(&key(account)),
            network: 0,
            expires_at_ms: u64::MAX,
        };
        member.certify(&self.0)
    }

    /// Where a worker that listens at `address` is reached, once it runs.
    ///
    /// # Errors
    /// When it does not say who it is.
    pub async fn contact(&self, worker: &Worker, address: SocketAddr) -> Result<Contact> {
        let named = until("the worker's key", async || {
            Ok(worker.told("status")?["worker"].as_str().map(str::to_owned))
        });
        let certificate = self.certify(named.await?.parse()?, 0);
        Ok(Contact { certificate, addresses: vec![address], relay: None, serves: None })
    }
}

/// Has a worker listen for peers at a port that is free now, so that others know where; it is to be started again.
///
/// # Errors
/// When there is none.
pub fn listen(worker: &mut Worker) -> Result<SocketAddr> {
    worker.with_peers();
    let address = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
    let argument = worker.arguments.iter_mut().find(|argument| *argument == "127.0.0.1:0");
    *argument.context("where it listens")? = address.to_string();
    Ok(address)
}
