//! `cargo bench -p tests --bench hostile -- [MESSAGES [SEED]]`: so many messages (100,000) that mean harm or nothing, over all
//! methods of the coordinator and by all who may call, known and unknown; meanwhile an honest volunteer computes an honest
//! job. Fails when the coordinator panics or ends, or the job stands still.
#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "what is printed is for the reader of a bench, and any part of a random number is random"
)]

use anyhow::{Context, Result, ensure};
use bytes::{Buf, BufMut};
use proto::cut::Axis;
use proto::pb;
use proto::pb::worker_message::Kind as Say;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tests::grid::{Coordinator, Profile, until};
use tests::volunteer::{Volunteer, honest};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// Calls under way at once.
const CALLS: u64 = 32;
/// How long an answer is waited for: what is not answered by then waits for more.
const ANSWER: Duration = Duration::from_millis(200);
/// How often the volunteer says that it lives whose token is used: a session that is silent for longer than a minute ends.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// Numbers that programs stumble over.
const EDGES: [u64; 10] = [0, 1, 2, 127, 128, 1 << 31, (1 << 32) - 1, 1 << 48, 1 << 63, u64::MAX];
/// Text that programs stumble over.
const TEXTS: [&str; 8] =
    ["", "..", "../../etc/passwd", "\0", "\u{1b}[2J", "\u{202e}txt", "{\"version\":1}", "operator"];

/// Bytes as they are, whatever they mean.
#[derive(Clone, Copy, Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; from.remaining()];
        from.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}

/// All methods of all services, out of the descriptions of the protocol.
fn methods() -> Result<Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/starling/v1");
    let mut methods = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let text = std::fs::read_to_string(entry?.path())?;
        let mut service = "";
        for line in text.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("service ") {
                service = rest.split(' ').next().unwrap_or_default();
            } else if let Some(rest) = line.strip_prefix("rpc ") {
                let name = rest.split('(').next().unwrap_or_default();
                methods.push(format!("/starling.v1.{service}/{name}"));
            }
        }
    }
    methods.extend(["/grpc.health.v1.Health/Check", "/starling.v1.None/None"].map(str::to_owned));
    Ok(methods)
}

struct Fuzz(SmallRng);

impl Fuzz {
    fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n
    }

    fn number(&mut self) -> u64 {
        match self.below(3) {
            0 => self.0.next_u64(),
            1 => self.below(20),
            _ => EDGES[self.below(EDGES.len() as u64) as usize],
        }
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let mut bytes = vec![0; self.below(most) as usize];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    fn varint(&mut self, mut value: u64, to: &mut Vec<u8>) {
        while 127 < value {
            to.push(value as u8 | 128);
            value >>= 7;
        }
        to.push(value as u8);
    }

    /// Fields that may be those of a message.
    fn fields(&mut self, depth: u64) -> Vec<u8> {
        let mut message = Vec::new();
        for _ in 0..self.below(6) {
            let (field, kind) = (1 + self.below(12), [0, 2, 2, 2, 1, 5][self.below(6) as usize]);
            self.varint(field << 3 | kind, &mut message);
            match kind {
                0 => {
                    let value = self.number();
                    self.varint(value, &mut message);
                }
                1 => message.extend(self.0.next_u64().to_le_bytes()),
                5 => message.extend(self.0.next_u32().to_le_bytes()),
                _ => {
                    let content = match self.below(5) {
                        0 => vec![self.below(256) as u8; [16, 32, 64][self.below(3) as usize]],
                        1 => TEXTS[self.below(TEXTS.len() as u64) as usize].into(),
                        2 if depth < 4 => self.fields(depth + 1),
                        _ => self.bytes(200),
                    };
                    // Now and then it claims to be longer than it is.
                    let claimed = match self.below(50) {
                        0 => self.number(),
                        _ => content.len() as u64,
                    };
                    self.varint(claimed, &mut message);
                    message.extend(content);
                }
            }
        }
        message
    }

    fn message(&mut self) -> Vec<u8> {
        match self.below(200) {
            0 => vec![0x0b; 100_000],
            1 => vec![self.below(256) as u8; 300_000],
            2..20 => self.bytes(300),
            _ => self.fields(0),
        }
    }

    fn said(&mut self) -> Say {
        let ids = |fuzz: &mut Self, most| (0..fuzz.below(most)).map(|_| fuzz.number()).collect();
        match self.below(7) {
            0 => Say::Want(pb::Want {
                units: self.number() as u32,
                seconds: self.number(),
                fuel_per_second: self.number(),
                memory_bytes: self.number(),
                kernels: vec![],
            }),
            1 => {
                Say::Heartbeat(pb::Heartbeat { lease_ids: ids(self, 2_000), ..Default::default() })
            }
            2 => {
                let returned = |fuzz: &mut Self| pb::Return {
                    lease_id: fuzz.number(),
                    unit: fuzz.number(),
                    reason: TEXTS[fuzz.below(8) as usize].into(),
                    failure: fuzz.below(2) == 0,
                };
                Say::Returns(pb::Returns {
                    returns: (0..self.below(100)).map(|_| returned(self)).collect(),
                })
            }
            3 => Say::Reports(pb::SignedReports {
                payload: self.bytes(500).into(),
                signature: vec![0; self.below(70) as usize].into(),
            }),
            4 => Say::Shown(pb::Shown { show_id: self.number(), ..Default::default() }),
            5 => {
                Say::Segment(pb::SegmentReport { segment_id: self.number(), ..Default::default() })
            }
            _ => Say::Goodbye(pb::Goodbye { leaving: self.below(2) == 0 }),
        }
    }
}

/// What all callers share.
struct Shared {
    methods: Vec<String>,
    /// Of nobody, of a researcher, of a volunteer.
    tokens: Vec<String>,
    most: u64,
    sent: AtomicU64,
    answers: Mutex<BTreeMap<String, u64>>,
}

impl Shared {
    /// Counts messages that are sent; whether there are more to be.
    fn count(&self, messages: u64) -> bool {
        self.sent.fetch_add(messages, Ordering::Relaxed) + messages < self.most
    }

    fn answered(&self, answer: String) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *answers.entry(answer).or_default() += 1;
    }
}

/// Calls any method with anything.
async fn call(shared: &Shared, channel: Channel, fuzz: &mut Fuzz) -> Result<u64> {
    let path = &shared.methods[fuzz.below(shared.methods.len() as u64) as usize];
    let messages: Vec<_> = (0..1 + fuzz.below(3)).map(|_| fuzz.message()).collect();
    let count = messages.len() as u64;
    let mut request = Request::new(tokio_stream::iter(messages));
    let token = &shared.tokens[fuzz.below(shared.tokens.len() as u64) as usize];
    let token = MetadataValue::try_from(format!("Bearer {token}"))?;
    request.metadata_mut().insert("authorization", token);
    let mut client = tonic::client::Grpc::new(channel);
    let answer = timeout(ANSWER, async {
        client.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        let path = path.parse().map_err(|_| Status::unknown("no path"))?;
        let mut answers = client.streaming(request, path, Raw).await?.into_inner();
        while answers.message().await?.is_some() {}
        Ok::<_, Status>(())
    });
    shared.answered(match answer.await {
        Ok(Ok(())) => "Ok".into(),
        Ok(Err(status)) => format!("{:?}", status.code()),
        Err(_) => "no answer yet".into(),
    });
    Ok(count)
}

async fn caller(shared: Arc<Shared>, coordinator: proto::join::Join, seed: u64) -> Result<()> {
    let mut fuzz = Fuzz(SmallRng::seed_from_u64(seed));
    let mut channel = client::tls::connect(&coordinator).await?;
    loop {
        if fuzz.below(500) == 0 {
            channel = client::tls::connect(&coordinator).await?;
        }
        let count = if fuzz.below(10) < 7 {
            call(&shared, channel.clone(), &mut fuzz).await?
        } else {
            // A volunteer that is welcome, and says anything.
            let number = 1_000 + seed * 100 + fuzz.below(100);
            let mut volunteer = Volunteer::connect(&coordinator, number, number).await?;
            let count = 1 + fuzz.below(20);
            for _ in 0..count {
                if volunteer.say(fuzz.said()).await.is_err() {
                    break;
                }
            }
            let heard = timeout(ANSWER, volunteer.hear()).await;
            shared.answered(format!("stream, {}", if heard.is_ok() { "heard" } else { "silent" }));
            count
        };
        if !shared.count(count) {
            return Ok(());
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<u64> =
        std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let most = arguments.first().copied().unwrap_or(100_000);
    let seed = arguments.get(1).copied().unwrap_or(1);
    let mut coordinator = Coordinator::start(Profile::Same).await?;
    let axis = Axis::Range { name: "p".into(), first: 0, end: 1 << 40, per_unit: 1 };
    let spec = coordinator.trivial_spec(axis, 1).await?;
    let job = coordinator.submit(&spec).await?.job_id;
    let mut admin = pb::admin_client::AdminClient::new(coordinator.channel().await?);
    let role = pb::issue_token_request::Role::Researcher.into();
    let request = pb::IssueTokenRequest { account: "mallory".into(), role, accounts: 0 };
    let mallory = admin.issue_token(coordinator.with_token(request)).await?.into_inner().token;
    let worker = Volunteer::connect(&coordinator.join, 1, 1).await?;
    let session = Volunteer::connect(&coordinator.join, 2, 2).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(worker.work(honest));
    let token = session.welcome.session_token.clone();
    tasks.spawn(async move {
        loop {
            session.say(Say::Heartbeat(pb::Heartbeat::default())).await?;
            tokio::time::sleep(HEARTBEAT).await;
        }
    });
    let shared = Arc::new(Shared {
        methods: methods()?,
        tokens: vec!["nobody's".into(), "x".repeat(5_000), mallory, token],
        most,
        sent: AtomicU64::new(0),
        answers: Mutex::default(),
    });
    let (start, mut callers) = (Instant::now(), JoinSet::new());
    for number in 0..CALLS {
        let join = coordinator.join.clone();
        callers.spawn(caller(Arc::clone(&shared), join, seed * CALLS + number));
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    let seconds = start.elapsed().as_secs_f64();
    let settled = coordinator.job(job).await?.settled;
    until("more of the honest job", async || {
        Ok((settled < coordinator.job(job).await?.settled).then_some(()))
    })
    .await?;
    ensure!(tasks.try_join_next().is_none(), "a volunteer that does no harm was thrown out");
    let (memory, cpu) = coordinator.usage()?;
    let said = coordinator.program().said();
    let panics = said.matches("panicked").count();
    let errors = said.matches(" ERROR ").count();
    let sent = shared.sent.load(Ordering::Relaxed);
    println!(
        "{sent} messages over {} methods in {seconds:.0} s (seed {seed})",
        shared.methods.len()
    );
    println!(
        "{panics} panics, {errors} errors logged; {memory} MB, {cpu:.0} CPU s; {settled} honest units"
    );
    for (answer, count) in &*shared.answers.lock().unwrap_or_else(PoisonError::into_inner) {
        println!("{count:>8} {answer}");
    }
    ensure!(coordinator.program().runs().context("the coordinator")?, "the coordinator has ended");
    ensure!(panics == 0, "the coordinator has panicked:\n{said}");
    Ok(())
}
