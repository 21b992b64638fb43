//! What outlives the program: the certificate, the peers that were known, what they cost. So a worker finds its swarm
//! again with the coordinator gone.

use super::peer_record::{Contact, Written};
use super::peer_table::{HEARD_MAX, MET_MAX, Peer, Table};
use super::shared::Network;
use super::traffic::Usage;
use crate::clock;
use program::file;
use proto::member::Certificate;
use proto::{ProjectKey, WorkerKey};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

const CERTIFICATE: &str = "certificate";
const PEERS: &str = "peers";
const TRAFFIC: &str = "traffic.json";
/// Largest file that is read, bytes: every peer with all its addresses.
const BYTES_MAX: u64 = 4 << 20;
/// Version of the form of `peers`.
const VERSION: u8 = 1;

/// What was kept.
#[derive(Debug)]
pub struct Kept {
    /// Ours.
    pub certificate: Option<Certificate>,
    /// Peers.
    pub table: Table,
    /// Traffic.
    pub usage: Usage,
}

impl Kept {
    /// For one that keeps nothing.
    #[must_use]
    pub fn nothing(me: WorkerKey) -> Self {
        Self { certificate: None, table: Table::new(me), usage: Usage::default() }
    }
}

#[derive(Serialize, Deserialize)]
struct PeersFile {
    version: u8,
    peers: Vec<PeerEntry>,
}

#[derive(Serialize, Deserialize)]
struct PeerEntry {
    contact: Written,
    met: bool,
    since_ms: u64,
    seen_ms: u64,
    up_bytes: u64,
    down_bytes: u64,
}

/// Reads what was kept in `folder`. A file that is damaged is as good as none: all of it comes anew.
#[must_use]
pub fn read(folder: &Path, me: WorkerKey, project: &ProjectKey) -> Kept {
    let now_ms = clock::wall_ms();
    let certificate = read_file(&folder.join(CERTIFICATE))
        .and_then(|bytes| Certificate::open(&bytes, project, now_ms).ok())
        .filter(|certificate| certificate.member().worker == me);
    let usage =
        read_file(&folder.join(TRAFFIC)).and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let mut table = Table::new(me);
    let file = read_file(&folder.join(PEERS))
        .and_then(|bytes| postcard::from_bytes::<PeersFile>(&bytes).ok())
        .filter(|file| file.version == VERSION);
    let entries = file.map(|file| file.peers).unwrap_or_default();
    table.restore(entries.into_iter().take(MET_MAX + HEARD_MAX).filter_map(|entry| {
        Some(Peer {
            contact: Contact::read(&entry.contact, project, now_ms).ok()?,
            met: entry.met,
            since_ms: entry.since_ms,
            seen_ms: entry.seen_ms,
            failures: 0,
            retry_at_ms: 0,
            score: 0,
            up_bytes: entry.up_bytes,
            down_bytes: entry.down_bytes,
        })
    }));
    Kept { certificate, table, usage: usage.unwrap_or_default() }
}

fn read_file(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Removes what was kept: the project was left.
///
/// # Errors
/// When a file cannot be removed.
pub fn forget(folder: &Path) -> io::Result<()> {
    [CERTIFICATE, PEERS, TRAFFIC].iter().try_for_each(|name| file::remove(&folder.join(name)))
}

/// Writes what is known; a disk that takes nothing is only a pity.
pub(super) async fn keep(shared: &Network) {
    let Some(folder) = shared.config.folder.clone() else { return };
    let (certificate, usage) = (*shared.certificate.borrow(), shared.meter.usage());
    let peers = {
        let state = shared.state();
        let entry = |peer: &Peer| PeerEntry {
            contact: peer.contact.written(),
            met: peer.met,
            since_ms: peer.since_ms,
            seen_ms: peer.seen_ms,
            up_bytes: peer.up_bytes,
            down_bytes: peer.down_bytes,
        };
        PeersFile { version: VERSION, peers: state.table.peers().map(entry).collect() }
    };
    let writing = move || write(&folder, certificate.as_ref(), &peers, &usage);
    if let Ok(Err(error)) = tokio::task::spawn_blocking(writing).await {
        tracing::warn!("what is known of peers cannot be kept: {error}");
    }
}

fn write(
    folder: &Path,
    certificate: Option<&Certificate>,
    peers: &PeersFile,
    usage: &Usage,
) -> io::Result<()> {
    let at = |name: &str| -> PathBuf { folder.join(name) };
    if let Some(certificate) = certificate {
        file::write(&at(CERTIFICATE), &certificate.to_bytes())?;
    }
    file::write(&at(PEERS), &postcard::to_allocvec(peers).map_err(io::Error::other)?)?;
    file::write(&at(TRAFFIC), &serde_json::to_vec(usage)?)
}

#[cfg(test)]
mod tests {
    use super::super::peer_record::tests::{contact, project};
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_damage_is_as_good_as_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let key = ProjectKey::from(&project());
        let (me, other) = (contact(1, 1, 1), contact(2, 2, 2));
        let peers = PeersFile {
            version: VERSION,
            peers: vec![PeerEntry {
                contact: other.written(),
                met: true,
                since_ms: 1,
                seen_ms: 2,
                up_bytes: 3,
                down_bytes: 4,
            }],
        };
        let mut usage = Usage::default();
        usage.add(1, super::super::traffic::Traffic { up_bytes: 5, down_bytes: 6 });
        write(folder.path(), Some(&me.certificate), &peers, &usage).unwrap();
        let kept = read(folder.path(), me.worker(), &key);
        assert_eq!(kept.certificate, Some(me.certificate));
        assert_eq!(kept.usage, usage);
        assert_eq!(kept.table.get(&other.worker()).map(|peer| &peer.contact), Some(&other));
        // Another worker's certificate is not ours.
        assert_eq!(read(folder.path(), other.worker(), &key).certificate, None);
        for name in [CERTIFICATE, PEERS, TRAFFIC] {
            std::fs::write(folder.path().join(name), b"\xff\xff\xff\xff nonsense").unwrap();
        }
        let kept = read(folder.path(), me.worker(), &key);
        assert!(kept.certificate.is_none() && kept.usage == Usage::default());
        assert_eq!(kept.table.peers().count(), 0);
        forget(folder.path()).unwrap();
        forget(folder.path()).unwrap();
    }
}
