//! Clients that want all of a coordinator for themselves, from a network of their own: what each attempt comes to, and that an
//! honest researcher, an honest worker and a volunteer that is known are served all the while. Printed as the table of
//! docs/operating.md.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use client::tls;
use http_body::Frame;
use http_body_util::StreamBody;
use proto::cut::Axis;
use proto::job::{Input, JobSpec, Limits};
use proto::join::Join;
use proto::pb::coordinator_message::Kind as Said;
use proto::pb::worker_message::Kind as Say;
use proto::report::{Outcome, Output};
use proto::{Digest, JobId, pb};
use serde_json::{Value, json};
use std::any::Any;
use std::convert::Infallible;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tests::grid::{Coordinator, Profile, Worker, until};
use tests::volunteer::{Volunteer, honest};
use tests::wire::Wire;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// Where the greedy come from: not from the network of the honest, 127.0.0.
const FAR: Ipv4Addr = Ipv4Addr::new(127, 9, 9, 1);
/// What the coordinator may take, MB, whatever is tried.
const MEMORY_MB_MAX: u64 = 200;
/// What may be kept for one account, bytes.
const QUOTA: u64 = 24 << 20;
/// Times that the honest are served while an attempt lasts.
const ROUNDS: usize = 2;

/// What an attempt holds on to while the honest are served, and what it came to.
type Attempt = (Box<dyn Any + Send>, String);

struct Lab {
    coordinator: Coordinator,
    worker: Worker,
    /// The token of an honest researcher.
    ada: String,
    /// The token of a greedy one.
    mallory: String,
    /// The token of another, whose quota is not used up.
    greedy: String,
    /// The coordinator as it is reached from another network.
    far: Join,
    _wire: Wire,
    kernel: JobSpec,
    served: u64,
}

fn bearer<T>(token: &str, message: T) -> Result<Request<T>> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("authorization", MetadataValue::try_from(format!("Bearer {token}"))?);
    Ok(request)
}

async fn put(channel: Channel, token: &str, content: &[u8]) -> Result<Digest, Status> {
    let digest = Digest::of(content);
    let (bytes, len) = (digest.0.to_vec().into(), content.len() as u64);
    let head = pb::PutRequest { digest: bytes, len, ..Default::default() };
    let chunks = content.chunks(proto::bounds::CHUNK_BYTES_MAX);
    let chunks =
        chunks.map(|data| pb::PutRequest { data: data.to_vec().into(), ..Default::default() });
    let messages: Vec<_> = std::iter::once(head).chain(chunks).collect();
    let request = bearer(token, tokio_stream::iter(messages));
    let request = request.map_err(|error| Status::unknown(error.to_string()))?;
    pb::blobs_client::BlobsClient::new(channel).put(request).await?;
    Ok(digest)
}

async fn submit(channel: Channel, token: &str, spec: Vec<u8>) -> Result<pb::JobStatus, Status> {
    let id = Digest::of(format!("{:?}", Instant::now()).as_bytes()).0[..16].to_vec();
    let request = bearer(token, pb::SubmitRequest { spec: spec.into(), submission_id: id.into() });
    let request = request.map_err(|error| Status::unknown(error.to_string()))?;
    let mut jobs = pb::jobs_client::JobsClient::new(channel);
    Ok(jobs.submit(request).await?.into_inner())
}

fn range(units: u64) -> Axis {
    Axis::Range { name: "p".into(), first: 3, end: 3 + units, per_unit: 1 }
}

impl Lab {
    /// With so many bytes for each account.
    async fn of(quota: u64) -> Result<Self> {
        let mut coordinator = Coordinator::start(Profile::Same).await?;
        let arguments = ["--account-bytes", &quota.to_string(), "--connections", "400"];
        coordinator.arguments.extend(arguments.map(str::to_owned));
        coordinator.kill()?;
        coordinator.restart().await?;
        let wire = Wire::coming_from(coordinator.address, FAR).await?;
        let far = Join { address: wire.address.to_string(), ..coordinator.join.clone() };
        let (ada, mallory, greedy) = (String::new(), String::new(), String::new());
        let kernel = coordinator.trivial_spec(range(1), 1).await?;
        let worker = Worker::start(Profile::Same, &coordinator.join, "honest")?;
        let mut lab =
            Self { coordinator, worker, ada, mallory, greedy, far, _wire: wire, kernel, served: 0 };
        lab.ada = lab.token("ada").await?;
        lab.mallory = lab.token("mallory").await?;
        lab.greedy = lab.token("greedy").await?;
        lab.serve().await?;
        Ok(lab)
    }

    /// The token of a new researcher, who has put the kernel.
    async fn token(&self, account: &str) -> Result<String> {
        let mut admin = pb::admin_client::AdminClient::new(self.coordinator.channel().await?);
        let role = pb::issue_token_request::Role::Researcher.into();
        let request = pb::IssueTokenRequest { account: account.into(), role, accounts: 0 };
        let issued = admin.issue_token(self.coordinator.with_token(request)).await?;
        let token = issued.into_inner().token;
        put(self.coordinator.channel().await?, &token, shipped::MERSENNE).await?;
        Ok(token)
    }

    /// An honest researcher has a job computed by an honest worker, and a volunteer that is known comes and is heard.
    async fn serve(&mut self) -> Result<Duration> {
        let start = Instant::now();
        self.served += 1;
        let spec = JobSpec { priority: 1, name: format!("{}", self.served), ..self.kernel.clone() };
        let channel = self.coordinator.channel().await?;
        let job = submit(channel.clone(), &self.ada, spec.encode()).await?.job_id;
        let mut jobs = pb::jobs_client::JobsClient::new(channel);
        until("an honest job's end", async || {
            let status = jobs.get(bearer(&self.ada, pb::JobRequest { job_id: job })?).await?;
            Ok((status.into_inner().state() == pb::job_status::State::Done).then_some(()))
        })
        .await?;
        let mut volunteer = Volunteer::connect(&self.coordinator.join, 1, 1).await?;
        // More memory than it lends: the answer is all that it is there for.
        let want =
            pb::Want { units: 1, seconds: 1, fuel_per_second: 1, memory_bytes: 1, kernels: vec![] };
        volunteer.say(Say::Want(want)).await?;
        let Said::Idle(_) = volunteer.hear().await? else { bail!("no answer to the volunteer") };
        Ok(start.elapsed())
    }

    async fn far(&self) -> Result<Channel> {
        Ok(tls::connect(&self.far).await?)
    }

    /// An attempt lasts while the honest are served; a line of the table.
    async fn stand(&mut self, attempt: impl AsyncFnOnce(&Self) -> Result<Attempt>) -> Result<()> {
        let (held, what) = attempt(self).await?;
        let mut longest = Duration::ZERO;
        for _ in 0..ROUNDS {
            longest = longest.max(self.serve().await.with_context(|| format!("during: {what}"))?);
        }
        let ((memory, _), (its, _)) = (self.coordinator.usage()?, self.worker.usage()?);
        println!("| {what} | {:.2} s | {memory} MB | {its} MB |", longest.as_secs_f64());
        ensure!(memory < MEMORY_MB_MAX, "{what}: the coordinator takes {memory} MB");
        ensure!(its < MEMORY_MB_MAX, "{what}: the honest worker takes {its} MB");
        drop(held);
        Ok(())
    }

    /// A specification of nearly a megabyte of parameters.
    fn large_spec(&self, number: u64, params: Value, units: u64) -> Vec<u8> {
        let mut spec = serde_json::to_value(&self.kernel).unwrap_or_default();
        spec["params"] = params;
        spec["name"] = format!("large {number}").into();
        spec["cut"] = json!([range(units)]);
        spec.to_string().into_bytes()
    }

    /// Volunteers that are welcome, each by a connection of its own, from the other network.
    async fn volunteers(&self, first: u64) -> Result<Vec<Volunteer>> {
        let mut volunteers = Vec::new();
        for number in first..first + 6 {
            volunteers.push(Volunteer::connect(&self.far, number, number).await?);
        }
        Ok(volunteers)
    }

    fn blob_bytes(&self) -> Result<u64> {
        fn bytes(folder: &Path) -> Result<u64> {
            let mut sum = 0;
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                // What is being written may go meanwhile.
                let Ok(metadata) = entry.metadata() else { continue };
                sum += if metadata.is_dir() { bytes(&entry.path())? } else { metadata.len() };
            }
            Ok(sum)
        }
        bytes(&self.coordinator.data.join("blobs"))
    }
}

async fn silence(lab: &Lab) -> Result<Attempt> {
    let mut sockets: Vec<TcpStream> = Vec::new();
    for host in 0..1_200 {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 9, 9, u8::try_from(2 + host % 250)?], 0)))?;
        sockets.push(socket.connect(lab.coordinator.address).await?);
    }
    Ok((Box::new(sockets), "1,200 connections that say nothing".into()))
}

async fn idle(lab: &Lab) -> Result<Attempt> {
    let mut channels = Vec::new();
    for _ in 0..300 {
        // Those that find no place are turned away.
        channels.extend(tls::connect(&lab.far).await);
    }
    Ok((Box::new(channels), "300 connections that only answer pings".into()))
}

/// Calls as which a blob is read or written: a connection, and the token on it.
type Callers = Vec<(Channel, String)>;

async fn callers_of(lab: &Lab, token: &str) -> Result<Callers> {
    let mut callers = Vec::new();
    for _ in 0..6 {
        callers.push((lab.far().await?, token.to_owned()));
    }
    Ok(callers)
}

fn sessions(volunteers: &[Volunteer]) -> Callers {
    let session = |volunteer: &Volunteer| {
        (volunteer.channel.clone(), volunteer.welcome.session_token.clone())
    };
    volunteers.iter().map(session).collect()
}

/// A hundred readings by each caller, of which nothing is taken; and how many were refused.
async fn read(callers: Callers, digest: Digest) -> Result<(Box<dyn Any + Send>, usize)> {
    let (mut streams, mut refused) = (Vec::new(), 0);
    for (channel, token) in callers {
        for _ in 0..100 {
            let request = pb::GetRequest { digest: digest.0.to_vec().into(), ..Default::default() };
            let mut blobs = pb::blobs_client::BlobsClient::new(channel.clone());
            match blobs.get(bearer(&token, request)?).await {
                Ok(stream) => streams.push(stream.into_inner()),
                Err(_) => refused += 1,
            }
        }
    }
    Ok((Box::new(streams), refused))
}

/// A hundred blobs that each caller begins and never brings.
async fn write(callers: Callers) -> Result<Box<dyn Any + Send>> {
    let (mut sides, mut writers) = (Vec::new(), JoinSet::new());
    for (channel, token) in callers {
        for number in 0..100_u64 {
            let (send, messages) = mpsc::channel(1);
            let digest = Digest::of(&number.to_le_bytes()).0.to_vec().into();
            send.send(pb::PutRequest { digest, len: 1000, ..Default::default() }).await?;
            let request = bearer(&token, ReceiverStream::new(messages))?;
            let mut blobs = pb::blobs_client::BlobsClient::new(channel.clone());
            writers.spawn(async move { blobs.put(request).await.is_ok() });
            sides.push(send);
        }
    }
    Ok(Box::new((sides, writers)))
}

async fn readers(lab: &Lab) -> Result<Attempt> {
    let digest = put(lab.far().await?, &lab.mallory, &vec![5; 9 << 20]).await?;
    let (held, refused) = read(callers_of(lab, &lab.mallory).await?, digest).await?;
    Ok((held, format!("600 readings by a researcher who takes nothing: {refused} refused")))
}

async fn readers_of_a_network(lab: &Lab) -> Result<Attempt> {
    let content = vec![6; 9 << 20];
    let digest = put(lab.coordinator.channel().await?, &lab.ada, &content).await?;
    let input = Input { name: "input".into(), digest, len: content.len() as u64 };
    // More memory than anybody lends, so that it stays.
    let limits = Limits { memory_bytes: 4 << 30, ..lab.kernel.limits };
    let spec = JobSpec { inputs: vec![input], limits, ..lab.kernel.clone() };
    submit(lab.coordinator.channel().await?, &lab.ada, spec.encode()).await?;
    let volunteers = lab.volunteers(300).await?;
    let (held, refused) = read(sessions(&volunteers), digest).await?;
    let came_to = format!("600 readings by volunteers who take nothing: {refused} refused");
    Ok((Box::new((held, volunteers)), came_to))
}

async fn writers(lab: &Lab) -> Result<Attempt> {
    let held = write(callers_of(lab, &lab.mallory).await?).await?;
    Ok((held, "600 blobs that a researcher begins and never brings".into()))
}

async fn writers_of_a_network(lab: &Lab) -> Result<Attempt> {
    let volunteers = lab.volunteers(400).await?;
    let held = write(sessions(&volunteers)).await?;
    Ok((Box::new((held, volunteers)), "600 blobs that volunteers begin and never bring".into()))
}

/// Says all of the largest message but its end on a stream of a connection whose owner is known, and counts when it is refused.
async fn say_half(mut channel: Channel, refused: Arc<AtomicUsize>) -> Result<()> {
    const LEN: usize = proto::bounds::MESSAGE_BYTES_MAX;
    let (send, parts) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
    let body = Body::new(StreamBody::new(ReceiverStream::new(parts)));
    let request = http::Request::post("http://grid/starling.v1.Grid/Attach")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    std::future::poll_fn(|context| channel.poll_ready(context)).await?;
    // Answered at once by a challenge, and then by the end, if it is turned away.
    let answer = channel.call(request.body(body)?).await?;
    let head = [&[0][..], &u32::try_from(LEN)?.to_be_bytes()].concat();
    send.send(Ok(Frame::data(head.into()))).await?;
    let part = Bytes::from(vec![7; 64 << 10]);
    for _ in 1..LEN / part.len() {
        if send.send(Ok(Frame::data(part.clone()))).await.is_err() {
            refused.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
    }
    std::future::pending::<()>().await;
    drop((send, answer));
    Ok(())
}

async fn halves(lab: &Lab) -> Result<Attempt> {
    let volunteers = lab.volunteers(500).await?;
    let (refused, mut streams) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    for volunteer in &volunteers {
        for _ in 0..100 {
            streams.spawn(say_half(volunteer.channel.clone(), Arc::clone(&refused)));
        }
    }
    let refused = until("the refusal of all but those that may wait", async || {
        Ok(Some(refused.load(Ordering::Relaxed)).filter(|refused| 500 <= *refused))
    })
    .await?;
    let came_to = format!("600 messages of 4 MiB whose end never comes: {refused} refused");
    Ok((Box::new((streams, volunteers)), came_to))
}

async fn unread(lab: &Lab) -> Result<Attempt> {
    let mut volunteers = Vec::new();
    for number in 100..112 {
        let volunteer = Volunteer::connect(&lab.far, number, number).await?;
        for _ in 0..60 {
            let heartbeat = pb::Heartbeat { lease_ids: vec![1; 16_384], ..Default::default() };
            // It is cut off when it does not read.
            if volunteer.say(Say::Heartbeat(heartbeat)).await.is_err() {
                break;
            }
        }
        volunteers.push(volunteer);
    }
    Ok((Box::new(volunteers), "12 volunteers that ask much and do not read".into()))
}

/// Submits until it is refused, for want of room and with words that say so.
async fn submit_all(
    lab: &Lab,
    token: &str,
    spec: impl Fn(u64) -> Vec<u8>,
) -> Result<(u64, String)> {
    let channel = lab.far().await?;
    for number in 0.. {
        let taken = until("room for one more submission", async || {
            match submit(channel.clone(), token, spec(number)).await {
                // What others of this network have begun and left takes room until that is noticed.
                Err(refused) if refused.code() == Code::Unavailable => Ok(None),
                answered => Ok(Some(answered)),
            }
        });
        if let Err(refused) = taken.await? {
            ensure!(refused.code() == Code::ResourceExhausted, "{refused}");
            return Ok((number, refused.message().to_owned()));
        }
    }
    bail!("no end")
}

async fn large(lab: &Lab) -> Result<Attempt> {
    let params = (0..60_000).map(|n| (format!("q{n:07}"), json!(n)));
    let params = Value::from(params.collect::<serde_json::Map<_, _>>());
    let spec = |number| lab.large_spec(number, params.clone(), 30);
    let (count, why) = submit_all(lab, &lab.mallory, spec).await?;
    ensure!(why.contains("--account-bytes"), "{why}");
    Ok((Box::new(()), format!("jobs of 60,000 parameters: {count}, then refused")))
}

async fn axes(lab: &Lab) -> Result<Attempt> {
    let axis = |n| Axis::Range { name: format!("{n:0100}"), first: 0, end: 1, per_unit: 1 };
    let spec = JobSpec { cut: (0..5_000).map(axis).collect(), ..lab.kernel.clone() }.encode();
    let mut submissions = JoinSet::new();
    let channel = lab.far().await?;
    for _ in 0..16 {
        let (channel, token, spec) = (channel.clone(), lab.mallory.clone(), spec.clone());
        submissions.spawn(async move { submit(channel, &token, spec).await.map(drop) });
    }
    Ok((Box::new(submissions), "16 specifications of 5,000 axes at once".into()))
}

async fn outputs(lab: &Lab) -> Result<Attempt> {
    const OUTPUT: usize = 512 << 10;
    let greedy = &lab.greedy;
    let before = lab.blob_bytes()?;
    // Its want stands before the job is there, so that it is served with it: the honest worker does all in a moment.
    let mut volunteer = Volunteer::connect(&lab.far, 200, 200).await?;
    volunteer.want(64).await?;
    while let Said::Leases(others) = volunteer.hear().await? {
        volunteer.report(&others.leases, honest).await?;
        volunteer.want(64).await?;
    }
    let spec = JobSpec { cut: vec![range(1_000)], ..lab.kernel.clone() };
    let job = JobId(submit(lab.far().await?, greedy, spec.encode()).await?.job_id);
    let lease = until("a lease of the greedy job", async || {
        let leases = volunteer.lease(64).await?;
        let (its, others): (Vec<_>, Vec<_>) =
            leases.into_iter().partition(|lease| lease.job_id == job.0);
        // Units of other jobs, held and not reported, are all that a newcomer may hold.
        if !others.is_empty() {
            volunteer.report(&others, honest).await?;
        }
        Ok(its.into_iter().next())
    })
    .await?;
    let token = volunteer.welcome.session_token.clone();
    let content = |unit: u64| unit.to_le_bytes().repeat(OUTPUT / 8);
    let mut put_out = 0_u64;
    for unit in lease.first..lease.first + u64::from(lease.count) {
        match put(volunteer.channel.clone(), &token, &content(unit)).await {
            Ok(_) => put_out += 1,
            Err(refused) => ensure!(refused.code() == Code::ResourceExhausted, "{refused}"),
        }
    }
    volunteer
        .report(&[lease], |_, unit| {
            let content = content(unit.0);
            let digest = Digest::of(&content);
            (Outcome::Done(Output::Blob { digest, len: content.len() as u64 }), 1)
        })
        .await?;
    let grown = lab.blob_bytes()?.saturating_sub(before);
    ensure!(grown <= QUOTA, "{grown} bytes of outputs are on the disk");
    let came_to = format!("outputs: {put_out} MiB/2 of {} MiB, then refused", QUOTA >> 20);
    Ok((Box::new(volunteer), came_to))
}

async fn nothing(_: &Lab) -> Result<Attempt> {
    Ok((Box::new(()), "none".into()))
}

/// Nobody is starved by what others try, one after the other, at one coordinator.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_starves_nobody() -> Result<()> {
    let mut lab = Lab::of(QUOTA).await?;
    println!("| attempt | an honest round took at most | coordinator | honest worker |");
    println!("| --- | --- | --- | --- |");
    lab.stand(nothing).await?;
    lab.stand(silence).await?;
    lab.stand(idle).await?;
    lab.stand(readers).await?;
    lab.stand(readers_of_a_network).await?;
    lab.stand(writers).await?;
    lab.stand(writers_of_a_network).await?;
    lab.stand(unread).await?;
    lab.stand(halves).await?;
    // Before there are other jobs of which a volunteer would be lent units.
    lab.stand(outputs).await?;
    lab.stand(axes).await?;
    lab.stand(large).await?;
    lab.coordinator.stop_and_check().await
}

/// Two hundred large specifications wait: leases are made and honest jobs done all the same, in little memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_large_specifications_hold_up_no_lease() -> Result<()> {
    const ACCOUNTS: u64 = 5;
    const EACH: u64 = 40;
    const LEASES: usize = 20;
    let (mut lab, start) = (Lab::of(1 << 40).await?, Instant::now());
    let text = json!({ "text": "x".repeat(900_000) });
    for account in 0..ACCOUNTS {
        let token = lab.token(&format!("greedy {account}")).await?;
        for number in 0..EACH {
            submit(lab.far().await?, &token, lab.large_spec(number, text.clone(), 8)).await?;
        }
    }
    println!("{} jobs came in {:.0} s", ACCOUNTS * EACH, start.elapsed().as_secs_f64());
    let mut volunteer = Volunteer::connect(&lab.coordinator.join, 600, 600).await?;
    let (start, mut leases) = (Instant::now(), 0);
    while leases < LEASES {
        let new = volunteer.lease(64).await?;
        leases += new.len();
        volunteer.report(&new, honest).await?;
    }
    let (jobs, seconds) = (volunteer.jobs.len(), start.elapsed().as_secs_f64());
    println!("{leases} leases of {jobs} large jobs took {seconds:.2} s");
    let what = format!("{} jobs of a megabyte each", ACCOUNTS * EACH);
    lab.stand(async |_| Ok((Box::new(volunteer) as Box<dyn Any + Send>, what))).await?;
    lab.coordinator.stop_and_check().await
}

/// A machine that runs with a copy of a worker's key takes its place, and does not end it.
#[tokio::test]
async fn a_copied_key_does_not_end_the_worker_whose_it_is() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let mut first = Worker::start(Profile::Same, &coordinator.join, "first")?;
    until("the first worker", async || {
        Ok((coordinator.status().await?.workers_connected == 1).then_some(()))
    })
    .await?;
    let mut second = Worker::join(Profile::Same, &coordinator.join, "second")?;
    for name in ["worker.key", "account.key", "project.json"] {
        fs::copy(first.data.join(name), second.data.join(name))?;
    }
    second.restart()?;
    let why = until("what the first tells its owner", async || {
        let why = first.told("why")?.to_string();
        Ok(why.contains("another machine has connected with this worker's key").then_some(why))
    })
    .await?;
    ensure!(why.contains("leave and join again"), "{why}");
    ensure!(first.program().runs()?, "it has ended");
    ensure!(second.program().runs()?, "the other has ended");
    Ok(())
}
