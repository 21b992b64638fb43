//! Members that are hostile, against one real worker, by each protocol that it speaks: how each attempt ends, what it costs
//! the worker's process, and that an honest member is served all the while. Printed as the table of docs/peers.md.

use anyhow::{Context, Result, bail, ensure};
use iroh::endpoint::{Connection, ConnectionError, RecvStream, SendStream, presets};
use iroh::{Endpoint, EndpointAddr, SecretKey};
use proto::cut::Axis;
use proto::job::Input;
use proto::report::{Batch, JobRef, Outcome, Output, Report};
use proto::seal::Sealer;
use proto::{Digest, JobId, LeaseId, UnitIndex, WorkerKey};
use std::net::SocketAddr;
use std::time::Duration;
use tests::grid::{Coordinator, Profile, Worker};
use tests::members::{Members, listen};
use tests::search::done;
use tests::swarm::content;
use tests::volunteer::key;
use tokio::time::timeout;
use worker::network::peer_record::Contact;
use worker_core::exchange::{Bits, Message};

const LINK: &[u8] = b"starling/link/1";
const SWARM: &[u8] = b"starling/swarm/1";
/// What a stream of the link begins with that is about reports or the log.
const TALK: [u8; 5] = [1, 0, 0, 0, 2];
/// What all attempts together may add to the worker's memory, MB.
const GROWTH_MB_MAX: u64 = 64;
/// Longest wait for anything here.
const PATIENCE: Duration = Duration::from_secs(60);
const PIECE: usize = 256 << 10;

struct Lab {
    coordinator: Coordinator,
    worker: Worker,
    members: Members,
    address: EndpointAddr,
    /// A blob that the worker offers.
    blob: Vec<u8>,
}

/// A member that says what a test wants.
struct ProtocolViolation {
    number: u64,
    endpoint: Endpoint,
    /// Kept open: whoever has no link is no member.
    link: Connection,
}

fn framed(content: &[u8]) -> Vec<u8> {
    [&u32::try_from(content.len()).unwrap().to_le_bytes(), content].concat()
}

fn encoded(message: &impl serde::Serialize) -> Vec<u8> {
    framed(&postcard::to_allocvec(message).unwrap())
}

async fn heard(receive: &mut RecvStream) -> Result<Vec<u8>> {
    let mut len = [0; 4];
    receive.read_exact(&mut len).await?;
    let mut content = vec![0; usize::try_from(u32::from_le_bytes(len))?];
    receive.read_exact(&mut content).await?;
    Ok(content)
}

/// Asks by a stream of its own; the answer's first frame.
async fn ask(connection: &Connection, bytes: &[u8]) -> Result<(SendStream, RecvStream, Vec<u8>)> {
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(bytes).await?;
    let answer = timeout(PATIENCE, heard(&mut receive)).await??;
    Ok((send, receive, answer))
}

/// Says `bytes` on a new stream and waits for the end of the connection, which must come, with this code.
async fn ends(connection: &Connection, bytes: &[u8], code: u32) -> Result<String> {
    let (mut send, _receive) = connection.open_bi().await?;
    // The other side may have had enough before all of it is sent.
    let _ = send.write_all(bytes).await;
    ended(connection, code).await
}

async fn ended(connection: &Connection, code: u32) -> Result<String> {
    match timeout(PATIENCE, connection.closed()).await.context("it goes on")? {
        ConnectionError::ApplicationClosed(close) if close.error_code == code.into() => {
            Ok(format!("closed ({code}: {})", String::from_utf8_lossy(&close.reason)))
        }
        other => bail!("ended by {other}"),
    }
}

async fn endpoint(number: u64, address: &str) -> Result<Endpoint> {
    let builder = Endpoint::builder(presets::Minimal)
        .secret_key(SecretKey::from_bytes(key(number).as_bytes()))
        .clear_ip_transports()
        .bind_addr(address.parse::<SocketAddr>()?)?;
    Ok(Box::pin(builder.bind()).await?)
}

impl Lab {
    async fn new() -> Result<Self> {
        let coordinator = Coordinator::start(Profile::Same).await?;
        let members = Members::of(&coordinator)?;
        let mut worker = Worker::join(Profile::Same, &coordinator.join, "victim")?;
        let port = listen(&mut worker)?;
        worker.restart()?;
        let address = members.contact(&worker, port).await?.endpoint_addr().context("a key")?;
        let lab = Self { coordinator, worker, members, address, blob: content(2 << 20) };
        let job = lab.lend(&lab.blob).await?;
        done(&lab.coordinator, job).await?;
        Ok(lab)
    }

    /// Has the worker fetch a blob, for a job.
    async fn lend(&self, blob: &[u8]) -> Result<u64> {
        let digest = self.coordinator.put(blob).await?;
        let axis = Axis::Range { name: "p".into(), first: 3, end: 5, per_unit: 2 };
        let mut spec = self.coordinator.trivial_spec(axis, 1).await?;
        spec.inputs = vec![Input { name: "input".into(), digest, len: blob.len() as u64 }];
        Ok(self.coordinator.submit(&spec).await?.job_id)
    }

    fn hello(&self, number: u64) -> Vec<u8> {
        self.hello_of(number, number)
    }

    fn hello_of(&self, number: u64, account: u64) -> Vec<u8> {
        let certificate = self.members.certificate(number, account);
        let contact = Contact { certificate, addresses: vec![], relay: None, serves: None };
        encoded(&contact.written())
    }

    async fn stranger(&self, number: u64) -> Result<(Endpoint, Connection)> {
        let endpoint = endpoint(number, "127.0.0.1:0").await?;
        let link = Box::pin(endpoint.connect(self.address.clone(), LINK)).await?;
        Ok((endpoint, link))
    }

    async fn member(&self, number: u64) -> Result<ProtocolViolation> {
        let (endpoint, link) = self.stranger(number).await?;
        ask(&link, &self.hello(number)).await?;
        Ok(ProtocolViolation { number, endpoint, link })
    }

    /// An honest member gets a piece, and it is right.
    async fn serves(&self, number: u64) -> Result<()> {
        let honest = self.member(number).await?;
        let connection = honest.connect(self, SWARM).await?;
        let digest = Digest::of(&self.blob);
        let (mut send, mut receive) = connection.open_bi().await?;
        send.write_all(&encoded(&Message::Choke)).await?;
        send.write_all(&encoded(&Message::Want { digest })).await?;
        let (mut holds, mut free) = (false, false);
        while !(holds && free) {
            match postcard::from_bytes(&timeout(PATIENCE, heard(&mut receive)).await??)? {
                Message::Holds { pieces, .. } => holds = pieces.is_full(),
                Message::Unchoke => free = true,
                _ => {}
            }
        }
        let (_send, mut receive, reply) =
            ask(&connection, &encoded(&(0_u8, digest.0, 3_u32))).await?;
        ensure!(reply == [1], "a piece: {reply:?}");
        let piece = timeout(PATIENCE, receive.read_to_end(PIECE)).await??;
        ensure!(piece == self.blob[3 * PIECE..4 * PIECE], "the piece is right");
        honest.endpoint.close().await;
        Ok(())
    }
}

impl ProtocolViolation {
    async fn connect(&self, lab: &Lab, alpn: &[u8]) -> Result<Connection> {
        Ok(Box::pin(self.endpoint.connect(lab.address.clone(), alpn)).await?)
    }

    /// A sealed batch of its own.
    fn sealed(&self, lab: &Lab, sequence: u64) -> Result<Vec<u8>> {
        let report = Report {
            job: 0,
            lease: LeaseId(1),
            unit: UnitIndex(0),
            outcome: Outcome::Done(Output::Inline(vec![1])),
            fuel: 1,
            trace_root: None,
        };
        let (project, me) = (lab.members.project(), key(self.number));
        let jobs = vec![JobRef { id: JobId(1), spec: Digest([0; 32]) }];
        let batch = Batch::new(project, WorkerKey::from(&me), sequence, jobs, vec![report]);
        let signed = batch.sign(&me);
        let sealer = Sealer::new(project, me.clone(), &me)?;
        Ok(sealer.seal(&signed, vec![], vec![], &[7; 32])?)
    }
}

async fn links(lab: &Lab, number: u64, what: &str) -> Result<String> {
    let (_endpoint, link) = lab.stranger(number).await?;
    match what {
        "garbage" => ends(&link, &framed(&[0xff; 300]), 4).await,
        "a length of 4 GB" => ends(&link, &u32::MAX.to_le_bytes(), 4).await,
        "another's greeting again" => ends(&link, &lab.hello(1), 1).await,
        "a byte a second" => drip(&link, &lab.hello(number)).await,
        _ => {
            ask(&link, &lab.hello(number)).await?;
            let mut answered = 0;
            while ask(&link, &framed(&[0])).await.is_ok() {
                answered += 1;
                ensure!(answered < 1_000, "nobody stops it");
            }
            Ok(format!("{answered} answered, then {}", ended(&link, 4).await?))
        }
    }
}

/// A thousand members of one owner knock from one address, fifty at a time, and stay for a second.
async fn flood(lab: &Lab) -> Result<String> {
    let (mut welcomed, mut most) = (0, 0);
    for batch in 0..20 {
        let mut attempts = tokio::task::JoinSet::new();
        for number in 0..50 {
            let number = 20_000 + batch * 50 + number;
            let (hello, address) = (lab.hello_of(number, 20_000), lab.address.clone());
            attempts.spawn(async move {
                let sybil = endpoint(number, "127.0.0.2:0").await?;
                let greeted = async {
                    let link = Box::pin(sybil.connect(address, LINK)).await?;
                    ask(&link, &hello).await?;
                    anyhow::Ok(link)
                };
                let greeted = timeout(Duration::from_secs(1), greeted).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
                anyhow::Ok(greeted.is_ok_and(|greeted| greeted.is_ok()))
            });
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let neighbours = lab.worker.told("status")?["peers"]["direct"].as_u64();
        most = most.max(neighbours.context("the number of neighbours")?);
        for attempt in attempts.join_all().await {
            welcomed += u32::from(attempt?);
        }
    }
    ensure!(most <= 48, "{most} neighbours");
    ensure!(welcomed < 700, "nobody stops them");
    Ok(format!("{welcomed} let in, {most} neighbours at most"))
}

async fn drip(connection: &Connection, bytes: &[u8]) -> Result<String> {
    let (mut send, _receive) = connection.open_bi().await?;
    for byte in bytes {
        if send.write_all(&[*byte]).await.is_err()
            || timeout(Duration::from_secs(1), connection.closed()).await.is_ok()
        {
            break;
        }
    }
    ended(connection, 4).await
}

async fn blobs(lab: &Lab, number: u64, what: &str) -> Result<String> {
    let rude = lab.member(number).await?;
    let connection = rude.connect(lab, SWARM).await?;
    match what {
        "garbage" => ends(&connection, &framed(&[0xff; 300]), 4).await,
        "a length of 4 GB" => ends(&connection, &u32::MAX.to_le_bytes(), 4).await,
        "a byte a second" => drip(&connection, &framed(&[1; 200])).await,
        "messages without end" => {
            let (mut send, _receive) = connection.open_bi().await?;
            let has = encoded(&Message::Has { digest: Digest([9; 32]), piece: 1 });
            let mut sent = 0;
            while send.write_all(&has.repeat(100)).await.is_ok() {
                sent += 100;
                ensure!(sent < 1_000_000, "nobody stops it");
            }
            Ok(format!("after {sent} {}", ended(&connection, 4).await?))
        }
        "requests without end" => {
            let (mut send, _receive) = connection.open_bi().await?;
            send.write_all(&encoded(&Message::Choke)).await?;
            let request = encoded(&(0_u8, [9_u8; 32], 0_u32));
            for _ in 0..2_000 {
                let (_, _, reply) = ask(&connection, &request).await?;
                ensure!(reply[0] == 0, "refused: {reply:?}");
            }
            Ok("2,000 refused".into())
        }
        _ => {
            let mut wanted = content(6 << 20);
            wanted.drain(..2 << 20);
            let (mut send, mut receive) = connection.open_bi().await?;
            send.write_all(&encoded(&Message::Choke)).await?;
            let job = lab.lend(&wanted).await?;
            let digest = Digest::of(&wanted);
            let pieces = Bits::all(16);
            let lie = async {
                while let Ok(message) = heard(&mut receive).await {
                    if postcard::from_bytes(&message) == Ok(Message::Want { digest }) {
                        let (len, pieces) = (wanted.len() as u64, pieces.clone());
                        let holds = Message::Holds { digest, len, pieces };
                        send.write_all(&encoded(&holds)).await?;
                        send.write_all(&encoded(&Message::Unchoke)).await?;
                    }
                }
                anyhow::Ok(())
            };
            let give = async {
                let mut given = 0;
                while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                    let Ok(request) = heard(&mut receive).await else { continue };
                    // For the list it is too busy; a piece it gives, of nothing but zeros.
                    let is_piece = request[0] == 0;
                    given += u32::from(is_piece);
                    let head: &[u8] = if is_piece { &[1] } else { &[0, 2] };
                    let zeros = if is_piece { vec![0; PIECE] } else { vec![] };
                    // It may have hung up.
                    let _ = send.write_all(&[framed(head), zeros].concat()).await;
                    let _ = send.finish();
                }
                given
            };
            let (lied, given) = timeout(PATIENCE, async { tokio::join!(lie, give) })
                .await
                .context("it is not dropped")?;
            // It may have hung up while it was lied to.
            let _ = lied;
            ensure!(0 < given, "no piece was asked for");
            let end = ended(&connection, 4).await?;
            done(&lab.coordinator, job).await?;
            Ok(format!("{given} wrong pieces, then {end}; the blob came from elsewhere"))
        }
    }
}

async fn holds(lab: &Lab, number: u64, what: &str) -> Result<String> {
    let rude = lab.member(number).await?;
    let connection = rude.link.clone();
    let talk = |bytes: &[u8]| [&TALK, bytes].concat();
    let hand_over = |sequence: u64, bytes: u32| talk(&encoded(&(0_u8, sequence, bytes)));
    match what {
        "garbage" => ends(&connection, &talk(&framed(&[0xff; 300])), 4).await,
        "a batch of 4 GB" => {
            let (_, _, reply) = ask(&connection, &hand_over(1, u32::MAX)).await?;
            ensure!(reply[0] == 2, "it is not taken: {reply:?}");
            Ok(format!("refused: {}", String::from_utf8_lossy(&reply[2..])))
        }
        "a byte a second" => drip(&connection, &talk(&framed(&[1; 200]))).await,
        "a forged batch" => {
            let (mut send, _receive, _) = ask(&connection, &hand_over(1, 1_000)).await?;
            send.write_all(&[0x55; 1_000]).await?;
            ended(&connection, 4).await
        }
        "replays" => {
            let sealed = rude.sealed(lab, 1)?;
            let bytes = u32::try_from(sealed.len())?;
            let (mut send, mut receive, reply) = ask(&connection, &hand_over(1, bytes)).await?;
            ensure!(reply == [0], "it is taken: {reply:?}");
            send.write_all(&sealed).await?;
            ensure!(heard(&mut receive).await? == [1], "it is held");
            for _ in 0..100 {
                let (_, _, reply) = ask(&connection, &hand_over(1, bytes)).await?;
                ensure!(reply == [1], "it is held already: {reply:?}");
            }
            // The same under another sequence.
            let (mut send, _receive, _) = ask(&connection, &hand_over(2, bytes)).await?;
            send.write_all(&sealed).await?;
            Ok(format!(
                "held once, 100 not taken again; as another one {}",
                ended(&connection, 4).await?
            ))
        }
        "offers without end" => {
            let (mut begun, mut refused) = (0, 0);
            for sequence in 0..1_000 {
                let (mut send, mut receive, reply) =
                    ask(&connection, &hand_over(sequence, 1_000)).await?;
                if reply == [0] {
                    begun += 1;
                    let _ = send.finish();
                    let _ = receive.read_to_end(1 << 10).await;
                } else {
                    refused += 1;
                }
            }
            ensure!(0 < refused, "nobody stops it");
            Ok(format!("{begun} listened to, {refused} refused"))
        }
        "forged heads without end" => {
            let head = talk(&encoded(&(2_u8, vec![1_u8; 200], vec![2_u8; 64])));
            let mut told = 0;
            while told < 500 && ask(&connection, &head).await.is_ok() {
                told += 1;
            }
            let shut_out = timeout(Duration::from_secs(2), rude.link.closed()).await.is_ok();
            Ok(format!(
                "{told} told, {}",
                if shut_out { "shut out" } else { "not looked at beyond the bound" }
            ))
        }
        _ => {
            let request = talk(&encoded(&(3_u8, 0_u64, u64::MAX)));
            for _ in 0..500 {
                let (_, mut receive, _) = ask(&connection, &request).await?;
                while let Ok(Ok(_)) = timeout(PATIENCE, heard(&mut receive)).await {}
            }
            Ok("500 answered, one at a time".into())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hostile_members_do_by_each_protocol_ends_and_costs_little() -> Result<()> {
    let lab = Lab::new().await?;
    lab.serves(1).await?;
    let (memory_before, _) = lab.worker.usage()?;
    println!(
        "| protocol | attempt | what happened | memory, MB | CPU, s |\n| --- | --- | --- | --- | --- |"
    );
    let mut number = 100;
    let mut tried = async |protocol: &str, what: &str| -> Result<()> {
        number += 2;
        let (memory, cpu) = lab.worker.usage()?;
        let attempt = async {
            match protocol {
                "link" if what == "a thousand identities of one owner" => flood(&lab).await,
                "link" => links(&lab, number, what).await,
                "blobs" => blobs(&lab, number, what).await,
                "reports, log" => holds(&lab, number, what).await,
                _ => {
                    let [a, b, c] = [10_000, 10_001, 10_002];
                    let (a, b, c) = tokio::join!(
                        links(&lab, a, what),
                        blobs(&lab, b, what),
                        holds(&lab, c, what)
                    );
                    Ok(format!("{}; {}; {}", a?, b?, c?))
                }
            }
        };
        let happened = attempt.await.with_context(|| format!("{protocol}: {what}"))?;
        let (memory_after, cpu_after) = lab.worker.usage()?;
        let cpu = cpu_after - cpu;
        println!("| {protocol} | {what} | {happened} | {memory} -> {memory_after} | {cpu:.2} |");
        lab.serves(number + 1).await.with_context(|| format!("after {protocol}: {what}"))
    };
    for what in ["garbage", "a length of 4 GB", "another's greeting again", "requests without end"]
    {
        tried("link", what).await?;
    }
    for what in [
        "garbage",
        "a length of 4 GB",
        "messages without end",
        "requests without end",
        "wrong pieces",
    ] {
        tried("blobs", what).await?;
    }
    for what in [
        "garbage",
        "a batch of 4 GB",
        "a forged batch",
        "replays",
        "offers without end",
        "forged heads without end",
        "the whole log, again and again",
    ] {
        tried("reports, log", what).await?;
    }
    tried("each", "a byte a second").await?;
    tried("link", "a thousand identities of one owner").await?;
    let (memory_after, _) = lab.worker.usage()?;
    let bound = memory_before + GROWTH_MB_MAX;
    ensure!(memory_after <= bound, "{memory_before} MB before, {memory_after} MB after");
    Ok(())
}
