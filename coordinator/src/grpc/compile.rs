//! A kernel that is submitted is compiled first, in a child with less than what workers have for it: what passes here, they
//! can compile too.

use crate::grpc::refusal::{Refusal, blocking};
use crate::grpc::turns::Turns;
use kernel::Contract;
use program::error::chain;
use proto::Digest;
use proto::job::Nan;
use sandbox::{
    Compilation, CompileLimits, CompileStop, Fault, Kernel, Priority, Trouble, WallPlan,
    compile_trial,
};
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tonic::Status;

/// Compilations at a time: each may take two gigabytes, and a core that the coordinator has other use for.
const AT_ONCE: usize = 1;
/// How long a submission waits for its turn: with the compilation itself less than callers wait for an answer.
const TURN: Duration = Duration::from_secs(10);
/// Compilations that are remembered: each is a hundred bytes or so.
const KNOWN_MAX: usize = 4096;
/// How long it is remembered that one took too much: a coordinator that was busy then may not be now.
const FAILED_FOR: Duration = Duration::from_secs(600);

/// What a compilation is remembered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    kernel: Digest,
    canonical: bool,
    contract: Contract,
    /// Memory that it may take, bytes.
    memory: u64,
}

/// Compiles kernels at submission.
#[derive(Debug)]
pub(crate) struct Compiler {
    program: PathBuf,
    turns: Arc<Semaphore>,
    /// One submission of each account waits for its turn at a time, the others behind it.
    accounts: Turns,
    known: Mutex<Known>,
    stopped: tokio_util::sync::CancellationToken,
    /// What stands around its children, or why there can be none.
    walls: OnceLock<String>,
}

/// What came of the last compilations.
#[derive(Debug, Default)]
struct Known {
    by_key: HashMap<Key, (Result<(), Trouble>, Instant)>,
    /// The oldest first.
    order: VecDeque<Key>,
}

impl Known {
    fn get(&self, key: Key) -> Option<Result<(), Trouble>> {
        let (result, at) = self.by_key.get(&key)?;
        let lasts = !matches!(result, Err(Trouble::CompileLimit(_))) || at.elapsed() < FAILED_FOR;
        lasts.then(|| result.clone())
    }

    fn put(&mut self, key: Key, result: Result<(), Trouble>) {
        if self.by_key.insert(key, (result, Instant::now())).is_none() {
            self.order.push_back(key);
        }
        while KNOWN_MAX < self.order.len() {
            let Some(oldest) = self.order.pop_front() else { return };
            self.by_key.remove(&oldest);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Compiler {
    /// Compiles in children of `program`, which calls [`sandbox::child_main`] when it is told to be one.
    pub(crate) fn new(program: PathBuf, stopped: tokio_util::sync::CancellationToken) -> Self {
        Self {
            program,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            accounts: Turns::default(),
            known: Mutex::default(),
            stopped,
            walls: OnceLock::new(),
        }
    }

    /// The walls around the children that compile strangers' kernels, or why nothing can be compiled, for people; empty as
    /// long as it is not known.
    pub(crate) fn walls(&self) -> &str {
        self.walls.get().map_or("", String::as_str)
    }

    /// Finds that out by a kernel of this program's own, and says it.
    pub(crate) async fn look_at_walls(self: &Arc<Self>) {
        let Ok(_turn) = self.turns.acquire().await else { return };
        let compiler = Arc::clone(self);
        let tried = tokio::task::spawn_blocking(move || {
            compile_trial(&compiler.program, || compiler.stopped.is_cancelled())
        });
        let walls = match tried.await {
            Ok(Ok(walls)) => {
                match walls.lacking() {
                    None => tracing::info!("kernels are compiled behind walls: {walls}"),
                    Some(_) => tracing::warn!("kernels are compiled behind fewer walls: {walls}"),
                }
                walls.to_string()
            }
            Ok(Err(CompileStop::Trouble(trouble))) => {
                let trouble = chain(&trouble);
                tracing::warn!("no kernel can be compiled, so no job is taken: {trouble}");
                format!("no kernel can be compiled: {trouble}")
            }
            Ok(Err(CompileStop::Stopped)) | Err(_) => return,
        };
        let _ = self.walls.set(walls);
    }

    /// Makes sure that workers can compile a kernel of a job whose units may use `memory` bytes; `what` is its name in the
    /// job, `path` where it lies.
    pub(crate) async fn check(
        self: &Arc<Self>,
        account: &str,
        what: &str,
        (kernel, path): (Digest, PathBuf),
        (nan, contract): (Nan, Contract),
        memory: u64,
    ) -> Result<(), Refusal> {
        let limits = CompileLimits::at_submission(memory);
        let key = Key { kernel, canonical: nan == Nan::Canonical, contract, memory: limits.memory };
        if let Some(result) = lock(&self.known).get(key) {
            return result.map_err(|trouble| refusal(what, &trouble, &limits));
        }
        let turn = tokio::time::timeout(TURN, async {
            let own = self.accounts.own(account, usize::MAX - 2).await;
            (own, Arc::clone(&self.turns).acquire_owned().await)
        })
        .await;
        let turn = turn.map_err(|_| {
            Status::unavailable(
                "kernels of other submissions are being compiled: try again in a minute",
            )
        })?;
        let compiler = Arc::clone(self);
        let result = blocking::<_, Refusal>(move || {
            // The turn lasts as long as the compilation, whether its caller is still there or not.
            let _turn = turn;
            Ok(compiler.compile(key, path, limits))
        });
        result.await?.map_err(|trouble| refusal(what, &trouble, &limits))
    }

    /// Compiles, unless somebody else did while this one waited.
    fn compile(&self, key: Key, path: PathBuf, limits: CompileLimits) -> Result<(), Trouble> {
        if let Some(result) = lock(&self.known).get(key) {
            return result;
        }
        let nan =
            if key.canonical { kernel::NanMode::Canonical } else { kernel::NanMode::Unchecked };
        let kernel = Kernel { path, digest: key.kernel.0, nan, contract: key.contract };
        let compilation = Compilation {
            program: &self.program,
            kernel: &kernel,
            cache: None,
            priority: Priority::Normal,
            limits,
            inlining: None,
            walls: WallPlan::default(),
        };
        let result = match compilation.run(|| self.stopped.is_cancelled()) {
            Ok((cost, _)) => {
                tracing::info!(
                    kernel = %key.kernel,
                    cpu = ?cost.cpu,
                    memory = %bytesize::ByteSize(cost.memory),
                    inlined = cost.inlined,
                    "a kernel was compiled"
                );
                Ok(())
            }
            Err(CompileStop::Trouble(trouble)) => Err(trouble),
            Err(CompileStop::Stopped) => {
                Err(Trouble::Machine("the coordinator is about to stop".into()))
            }
        };
        match &result {
            Err(trouble @ (Trouble::Machine(_) | Trouble::NoRoom(_))) => {
                tracing::warn!(kernel = %key.kernel, "a kernel could not be compiled: {trouble}");
            }
            _ => lock(&self.known).put(key, result.clone()),
        }
        result
    }
}

/// Why a job is not taken, and what to do.
fn refusal(what: &str, trouble: &Trouble, limits: &CompileLimits) -> Refusal {
    let trouble_text = chain(trouble);
    Refusal(match trouble {
        Trouble::CompileLimit(_) => Status::invalid_argument(format!(
            "{what}: {trouble_text}. Workers may be slower than this machine by several times and have {} MiB for compiling a \
             kernel of this job: split its largest functions or leave out what it does not need; a higher \
             limits.memory_bytes gives the compiler as much, up to 2 GiB",
            limits.memory >> 20
        )),
        trouble if trouble.fault() == Fault::Unit => {
            Status::invalid_argument(format!("{what}: {trouble_text}"))
        }
        _ => Status::unavailable(format!(
            "{what} could not be compiled to see whether workers can: {trouble_text}. That is the coordinator's trouble, not \
             the kernel's: try again later, and tell the operator if it lasts"
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> Key {
        Key {
            kernel: Digest::of(&n.to_le_bytes()),
            canonical: true,
            contract: Contract::NEWEST,
            memory: 1,
        }
    }

    #[test]
    fn what_came_of_compilations_is_remembered_within_bounds() {
        let mut known = Known::default();
        for n in 0..3 * KNOWN_MAX as u64 {
            known.put(key(n), Ok(()));
            known.put(key(n), Err(Trouble::Compile("no".into())));
        }
        assert_eq!((known.order.len(), known.by_key.len()), (KNOWN_MAX, KNOWN_MAX));
        assert_eq!(known.get(key(0)), None);
        let last = known.get(key(3 * KNOWN_MAX as u64 - 1));
        assert_eq!(last, Some(Err(Trouble::Compile("no".into()))));
    }

    #[test]
    fn a_refusal_says_whose_trouble_it_is() {
        let limits = CompileLimits::at_submission(0);
        let refused = |trouble: Trouble| refusal("kernel", &trouble, &limits).0;
        let limit = refused(Trouble::CompileLimit("it took more than 15 s of CPU time".into()));
        assert_eq!(limit.code(), tonic::Code::InvalidArgument);
        assert!(limit.message().contains("15 s") && limit.message().contains("memory_bytes"));
        let engine = refused(Trouble::Compile("the engine refuses it".into()));
        assert_eq!(engine.code(), tonic::Code::InvalidArgument);
        let own = refused(Trouble::Machine("no process".into()));
        assert_eq!(own.code(), tonic::Code::Unavailable);
        assert!(own.message().contains("operator"));
    }
}
