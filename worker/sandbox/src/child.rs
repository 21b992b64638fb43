//! The hidden side of the program: the process that compiles one kernel, or runs units until its parent is gone.

mod compile;
pub(crate) mod files;
mod host;
mod inputs;
mod limits;
mod run;
mod snapshot;
mod state_archive;
mod trace;
mod walls;
mod wasi;

pub use walls::raise as raise_walls;

use self::files::Files;
use self::run::Runner;
use crate::protocol::socket::Orders;
use crate::protocol::{ChildMessage, End, Key, Order, Request, SETUP_FAILED, ServeOrder, frame};
use crate::unit::{OUTPUT_BYTES_MAX, Trouble, Unit};
use proto::trace::Trace;
use rustix::process::Resource;
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::time::{Duration, Instant};

/// Memory of a unit child beside the kernel's: the engine, compiled kernels, two outputs, buffers.
const OVERHEAD_BYTES: u64 = (256 << 20) + 2 * OUTPUT_BYTES_MAX;
/// Bytes of a file that a unit child may write: many times the state of the largest kernel.
const FILE_BYTES_MAX: u64 = 64 << 30;
/// Replies about short units are gathered for this long at most.
const FLUSH: Duration = Duration::from_millis(20);
/// Bytes of replies that are gathered at most.
const GATHERED_BYTES: usize = 256 << 10;

/// What a program does whose first argument is [`crate::CHILD_VERB`]. Its orders come through standard input.
#[must_use]
pub fn child_main() -> ExitCode {
    match obey() {
        Ok(()) => ExitCode::SUCCESS,
        // The parent sees the end of the stream; there is nobody else to tell.
        Err(_) => ExitCode::from(SETUP_FAILED),
    }
}

fn obey() -> io::Result<()> {
    walls::close_inherited();
    let mut orders = Orders::of_input()?;
    match frame::read(&mut orders)? {
        Some(Order::Compile(order)) => {
            let module = orders.file().map(File::from);
            let (verdict, code) = compile::run(&order, module)?;
            let mut stdout = io::stdout().lock();
            frame::write(&mut stdout, &verdict, &code)?;
            stdout.flush()
        }
        Some(Order::Serve(order)) => serve(&order, orders),
        None => Ok(()),
    }
}

/// Units in the order in which they run.
type Batch = (u64, Vec<(Key, Unit)>);
/// A file that was needed, if the need was one.
type Met = io::Result<Option<File>>;

/// Runs batches of units until the input ends.
fn serve(order: &ServeOrder, orders: Orders) -> io::Result<()> {
    limits::settle(order.priority)?;
    limits::limit(Resource::Data, order.memory.saturating_add(OVERHEAD_BYTES))?;
    limits::limit(Resource::Fsize, FILE_BYTES_MAX)?;
    let interrupted = Arc::new(AtomicU64::new(0));
    let replies = Rc::new(RefCell::new(Replies::new()?));
    let (walls, (batches, files, mut runner)) = walls::raise(&order.walls, || {
        let (batches, met) = listen(orders, &interrupted)?;
        let files = files(&replies, met);
        let runner = Runner::new(files.clone(), Rc::clone(&replies))?;
        Ok((batches, files, runner))
    })?;
    replies.borrow_mut().say(ChildMessage::Walls(walls));
    let refused = walls.refusal(&order.walls);
    while let Ok((batch, units)) = batches.recv() {
        // Several at a time are short ones; of a single one each word is wanted when it is said.
        replies.borrow_mut().patience = if units.len() == 1 { Duration::ZERO } else { FLUSH };
        for (index, (key, unit)) in (0_u32..).zip(&units) {
            replies.borrow_mut().index = index;
            let ran = match &refused {
                Some(text) => Ran::not(Trouble::Machine(text.clone())),
                None => runner.run(*key, unit, &|| batch <= interrupted.load(Ordering::Relaxed)),
            };
            let Ran { end, output, trace, cpu } = ran;
            let end = ChildMessage::Finished { end, cpu, process_cpu: limits::cpu(), trace };
            replies.borrow_mut().finish(&end, &output);
        }
        replies.borrow_mut().flush();
        files.close_inputs();
    }
    Ok(())
}

/// Files as the parent hands them out.
fn files(replies: &Rc<RefCell<Replies>>, met: Receiver<Met>) -> Files {
    let replies = Rc::clone(replies);
    Files::new(move |need| {
        let mut replies = replies.borrow_mut();
        replies.write(&ChildMessage::Need(need), &[]);
        replies.flush();
        met.recv().unwrap_or_else(|_| std::process::exit(0))
    })
}

/// Starts the thread that takes requests as they come, also while a unit runs, and ends the process when the parent is gone.
/// It runs when this returns, so that walls find it with nothing left to prepare.
fn listen(
    mut orders: Orders,
    interrupted: &Arc<AtomicU64>,
) -> io::Result<(Receiver<Batch>, Receiver<Met>)> {
    // The parent sends a batch when the last one is answered, so one place is enough.
    let (sender, batches) = mpsc::sync_channel(1);
    // And what is met when it was needed.
    let (meeter, met) = mpsc::channel();
    let (begun, begins) = mpsc::sync_channel(1);
    let interrupted = Arc::clone(interrupted);
    let hear = move || {
        let _ = begun.send(());
        while let Ok(Some(request)) = frame::read(&mut orders) {
            if !heed(request, &mut orders, &sender, &meeter, &interrupted) {
                break;
            }
        }
        std::process::exit(0);
    };
    std::thread::Builder::new().name("requests".to_owned()).spawn(hear)?;
    begins.recv().map_err(io::Error::other)?;
    Ok((batches, met))
}

/// Passes a request on; false when nobody takes it.
fn heed(
    request: Request,
    orders: &mut Orders,
    batches: &SyncSender<Batch>,
    met: &Sender<Met>,
    interrupted: &AtomicU64,
) -> bool {
    match request {
        Request::Run { batch, units } => batches.send((batch, units)).is_ok(),
        Request::Interrupt { batch } => {
            interrupted.store(batch, Ordering::Relaxed);
            true
        }
        Request::Met(Ok(())) => met.send(Ok(orders.file().map(File::from))).is_ok(),
        Request::Met(Err(number)) => met.send(Err(io::Error::from_raw_os_error(number))).is_ok(),
    }
}

/// The way back to the parent.
pub(crate) struct Replies {
    to: BufWriter<File>,
    index: u32,
    flushed: Instant,
    /// How long words may wait for others.
    patience: Duration,
    waiting: bool,
}

impl Replies {
    fn new() -> io::Result<Self> {
        // Past the standard library's own buffer, which looks for line ends.
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let to = BufWriter::with_capacity(GATHERED_BYTES, stdout);
        Ok(Self { to, index: 0, flushed: Instant::now(), patience: FLUSH, waiting: false })
    }

    /// Says something about the unit that runs.
    pub(crate) fn say(&mut self, message: ChildMessage) {
        self.write(&message, &[]);
        self.breathe();
    }

    /// Sends what was gathered for long enough; called between steps.
    pub(crate) fn breathe(&mut self) {
        if self.waiting && self.patience <= self.flushed.elapsed() {
            self.flush();
        }
    }

    fn finish(&mut self, message: &ChildMessage, output: &[u8]) {
        self.write(message, output);
        self.breathe();
    }

    fn write(&mut self, message: &ChildMessage, payload: &[u8]) {
        let reply = ReplyRef { index: self.index, message };
        self.waiting = true;
        if frame::write(&mut self.to, &reply, payload).is_err() {
            // The parent is gone.
            std::process::exit(0);
        }
    }

    fn flush(&mut self) {
        if self.to.flush().is_err() {
            std::process::exit(0);
        }
        self.waiting = false;
        self.flushed = Instant::now();
    }
}

/// A [`crate::protocol::Reply`] that borrows its message, with the same bytes.
#[derive(serde::Serialize)]
struct ReplyRef<'a> {
    index: u32,
    message: &'a ChildMessage,
}

/// How a run ended.
pub(crate) struct Ran {
    pub(crate) end: End,
    pub(crate) output: Vec<u8>,
    pub(crate) trace: Option<Trace>,
    pub(crate) cpu: Duration,
}

impl Ran {
    /// Of a unit that was not begun.
    fn not(reason: Trouble) -> Self {
        let end = End::Trouble(reason);
        Self { end, output: Vec::new(), trace: None, cpu: Duration::ZERO }
    }
}
