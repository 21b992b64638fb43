//! Runs one unit in this process: instantiates its kernel, steps it, keeps snapshots, and names its end.

mod state;

use crate::child::compile;
use crate::child::files::Files;
use crate::child::host::{self, Exports, Host, Stop};
use crate::child::limits;
use crate::child::snapshot::Snapshots;
use crate::child::trace::{self, Tracer};
use crate::child::wasi::{self, World};
use crate::child::{Ran, Replies};
use crate::engine::Engines;
use crate::protocol::Key;
use crate::protocol::Need;
use crate::protocol::{ChildMessage, End};
use crate::unit::{Failure, Trouble, Unit};
use kernel::{FUEL_EXPORT, Kind, Layout, MEMORY_EXPORT};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use wasmtime::error::Context;
use wasmtime::{Engine, Global, Instance, InstancePre, Linker, Store, Trap, TypedFunc, Val};

/// Kernels that are kept loaded: units of a few jobs are interleaved at a time.
const LOADED_MAX: usize = 8;
/// Bytes of a page of memory.
const PAGE_BYTES: u64 = 65_536;

/// Runs units, one after the other.
pub(crate) struct Runner {
    engines: Engines,
    files: Files,
    /// One for each engine.
    linkers: Vec<Linker<Host>>,
    /// The last used first.
    loaded: VecDeque<(Key, Rc<Loaded>)>,
    replies: Rc<RefCell<Replies>>,
}

struct Loaded {
    instance: InstancePre<Host>,
    layout: Layout,
}

impl Runner {
    pub(crate) fn new(files: Files, replies: Rc<RefCell<Replies>>) -> io::Result<Self> {
        let text = |error: wasmtime::Error| io::Error::other(format!("{error:#}"));
        let engines = Engines::new().map_err(text)?;
        let linkers = engines.all().map(|(_, engine)| linker(engine));
        let linkers = linkers.into_iter().collect::<Result<_, _>>().map_err(text)?;
        Ok(Self { engines, files, linkers, loaded: VecDeque::new(), replies })
    }

    /// Runs a unit to its end, or until `interrupted` says so between two steps.
    pub(crate) fn run(&mut self, key: Key, unit: &Unit, interrupted: &dyn Fn() -> bool) -> Ran {
        let before = limits::cpu();
        let replies = Rc::clone(&self.replies);
        let mut run = Run {
            unit,
            replies: &replies,
            files: self.files.clone(),
            earlier: Duration::ZERO,
            before,
            output: Vec::new(),
            tracer: None,
        };
        let end = if interrupted() {
            End::Interrupted { saved: false }
        } else {
            match self.load(key) {
                Ok(Some(loaded)) => run.unit(&loaded, interrupted),
                Ok(None) => End::Recompile,
                Err(error) => {
                    End::Trouble(Trouble::Unit(format!("the kernel does not link: {error:#}")))
                }
            }
        };
        Ran { end, cpu: run.cpu(), output: run.output, trace: run.tracer.map(Tracer::into_trace) }
    }

    fn load(&mut self, key: Key) -> wasmtime::Result<Option<Rc<Loaded>>> {
        if let Some(index) = self.loaded.iter().position(|(other, _)| *other == key) {
            self.loaded.swap(0, index);
        } else {
            let file = self.files.open(Need::Compiled).ok();
            let Some((module, layout)) = file.and_then(|file| compile::load(&self.engines, &file))
            else {
                return Ok(None);
            };
            let own = |linker: &&Linker<Host>| Engine::same(linker.engine(), module.engine());
            let linker = self.linkers.iter().find(own).context("no linker of its engine")?;
            let instance = linker.instantiate_pre(&module)?;
            self.loaded.truncate(LOADED_MAX - 1);
            self.loaded.push_front((key, Rc::new(Loaded { instance, layout })));
        }
        Ok(self.loaded.front().map(|(_, loaded)| Rc::clone(loaded)))
    }
}

fn linker(engine: &Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    host::define(&mut linker)?;
    wasi::define(&mut linker)?;
    Ok(linker)
}

/// One unit on its way.
struct Run<'a> {
    unit: &'a Unit,
    replies: &'a Rc<RefCell<Replies>>,
    files: Files,
    /// CPU time before the snapshot that was taken up.
    earlier: Duration,
    /// The process's CPU time at the start.
    before: Duration,
    output: Vec<u8>,
    /// Of a step kernel whose states are asked for.
    tracer: Option<Tracer<'a>>,
}

impl Run<'_> {
    fn cpu(&self) -> Duration {
        self.earlier + limits::cpu().saturating_sub(self.before)
    }

    fn unit(&mut self, loaded: &Loaded, interrupted: &dyn Fn() -> bool) -> End {
        let limits = &self.unit.limits;
        let memory_min = loaded.layout.memory_min_pages.saturating_mul(PAGE_BYTES);
        if limits.memory < memory_min {
            let reason = format!(
                "it starts with {memory_min} bytes of memory and the unit may have {}",
                limits.memory
            );
            return End::Trouble(Trouble::Refused(reason));
        }
        let world = match loaded.layout.kind {
            Kind::Step => {
                let plan = self.unit.trace.as_ref();
                self.tracer = plan.map(|plan| Tracer::new(self.unit, plan, &self.files));
                World::default()
            }
            Kind::Wasi => match World::new(self.unit) {
                Ok(world) => world,
                Err(error) => {
                    let reason = format!("the parameters are not one JSON object: {error}");
                    return End::Trouble(Trouble::Unit(reason));
                }
            },
        };
        let engine = loaded.instance.module().engine();
        let mut store =
            Store::new(engine, Host::new(self.unit, world, Rc::clone(self.replies), &self.files));
        store.limiter(|host| &mut host.limiter);
        let end = match self.start(&mut store, loaded) {
            Ok(mut kernel) => {
                let end = kernel.go(self, &mut store, interrupted);
                end.unwrap_or_else(|error| {
                    // Of a spent budget the trap is only how the kernel is stopped.
                    if 0 <= kernel.fuel(&mut store) {
                        log_trap(store.data_mut(), &error);
                    }
                    kernel.end_of(&mut store, &error, self.unit)
                })
            }
            Err(error) => plain_end(&error, 0),
        };
        store.data_mut().log_rest();
        if matches!(end, End::Done { .. }) {
            self.output = std::mem::take(&mut store.data_mut().output);
        }
        end
    }

    fn start<'k>(
        &self,
        store: &mut Store<Host>,
        loaded: &'k Loaded,
    ) -> wasmtime::Result<Kernel<'k>> {
        let instance = loaded.instance.instantiate(&mut *store)?;
        let missing = |name: &str| {
            Stop::Trouble(Trouble::Unit(format!("the prepared kernel lacks its export {name}")))
        };
        let memory = instance
            .get_memory(&mut *store, MEMORY_EXPORT)
            .ok_or_else(|| missing(MEMORY_EXPORT))?;
        let fuel =
            instance.get_global(&mut *store, FUEL_EXPORT).ok_or_else(|| missing(FUEL_EXPORT))?;
        let mut globals = Vec::new();
        for global in &loaded.layout.globals {
            globals.push(
                instance
                    .get_global(&mut *store, &global.name)
                    .ok_or_else(|| missing(&global.name))?,
            );
        }
        let exports = Exports { memory, fuel };
        store.data_mut().exports = Some(exports);
        fuel.set(&mut *store, Val::I64(self.unit.limits.fuel.cast_signed()))?;
        Ok(Kernel { instance, exports, globals, layout: &loaded.layout })
    }
}

/// An instance that is ready to run.
struct Kernel<'a> {
    instance: Instance,
    exports: Exports,
    globals: Vec<Global>,
    layout: &'a Layout,
}

impl Kernel<'_> {
    fn go(
        &mut self,
        run: &mut Run<'_>,
        store: &mut Store<Host>,
        interrupted: &dyn Fn() -> bool,
    ) -> wasmtime::Result<End> {
        match self.layout.kind {
            Kind::Wasi => {
                let start: TypedFunc<(), ()> =
                    self.instance.get_typed_func(&mut *store, "_start")?;
                run.replies
                    .borrow_mut()
                    .say(ChildMessage::Started { resumed: false, cpu: Duration::ZERO });
                start.call(&mut *store, ())?;
                // Returning is ending with exit code 0.
                Err(Stop::Exit(0).into())
            }
            Kind::Step => self.steps(run, store, interrupted),
        }
    }

    fn steps(
        &mut self,
        run: &mut Run<'_>,
        store: &mut Store<Host>,
        interrupted: &dyn Fn() -> bool,
    ) -> wasmtime::Result<End> {
        let start: TypedFunc<(), ()> =
            self.instance.get_typed_func(&mut *store, "starling_start")?;
        let step: TypedFunc<(), i32> =
            self.instance.get_typed_func(&mut *store, "starling_step")?;
        let mut snapshots = run.unit.snapshot.as_ref().map(|plan| {
            let identity = trace::run_identity(run.unit);
            let contract = run.unit.kernel.contract;
            Snapshots::new(plan.interval, contract, &identity, run.files.clone())
        });
        let resumed = match &mut snapshots {
            Some(snapshots) => self.resume(run, store, snapshots)?,
            None => false,
        };
        run.replies.borrow_mut().say(ChildMessage::Started { resumed, cpu: run.earlier });
        store.data_mut().cpu_before = (run.earlier, run.before);
        if !resumed && !self.begin(run, store)? {
            start.call(&mut *store, ())?;
        }
        loop {
            if let Some(end) = self.trace(run, store) {
                return Ok(end);
            }
            let interrupted = interrupted();
            if let Some(snapshots) = &mut snapshots {
                if interrupted || snapshots.due() {
                    let saved = self.save(run, store, snapshots);
                    if interrupted {
                        return Ok(End::Interrupted { saved });
                    }
                }
            } else if interrupted {
                return Ok(End::Interrupted { saved: false });
            }
            match step.call(&mut *store, ())? {
                1 => {
                    if store.data().is_progress_due() {
                        let left = self.fuel(store);
                        store.data_mut().tell_progress(left);
                    }
                    run.replies.borrow_mut().breathe();
                }
                0 => return Ok(End::Done { fuel: self.burned(store, run.unit.limits.fuel) }),
                other => {
                    let fuel = self.burned(store, run.unit.limits.fuel);
                    return Ok(End::Failed { reason: Failure::BadStep(other), fuel });
                }
            }
        }
    }

    fn fuel(&self, store: &mut Store<Host>) -> i64 {
        self.exports.fuel.get(&mut *store).i64().unwrap_or(0)
    }

    /// Fuel used so far; all of it where the counter went below zero.
    fn burned(&self, store: &mut Store<Host>, budget: u64) -> u64 {
        budget.saturating_sub(u64::try_from(self.fuel(store)).unwrap_or(0))
    }

    fn end_of(&self, store: &mut Store<Host>, error: &wasmtime::Error, unit: &Unit) -> End {
        let fuel = self.burned(store, unit.limits.fuel);
        if let Some(Stop::Exit(code)) = error.downcast_ref()
            && unit.exit_codes.contains(code)
        {
            return End::Done { fuel };
        }
        let spent = self.fuel(store) < 0;
        match plain_end(error, fuel) {
            End::Failed { reason: Failure::Unreachable, fuel } if spent => {
                End::Failed { reason: Failure::FuelSpent, fuel }
            }
            end => end,
        }
    }
}

/// Says in the log what the engine says of a trap: more than the failures tell apart.
fn log_trap(host: &mut Host, error: &wasmtime::Error) {
    host.log_rest();
    if let Some(trap) = error.downcast_ref::<Trap>() {
        host.log(1, trap.to_string().as_bytes());
    }
}

/// The end that an error means, apart from what the fuel says.
fn plain_end(error: &wasmtime::Error, fuel: u64) -> End {
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return match stop.clone() {
            Stop::Failure(reason) => End::Failed { reason, fuel },
            Stop::Exit(code) => End::Failed { reason: Failure::Exit(code), fuel },
            Stop::Trouble(reason) => End::Trouble(reason),
        };
    }
    let reason = match error.downcast_ref::<Trap>() {
        Some(Trap::UnreachableCodeReached) => Failure::Unreachable,
        Some(Trap::MemoryOutOfBounds | Trap::TableOutOfBounds) => Failure::OutOfBounds,
        Some(Trap::IntegerDivisionByZero | Trap::IntegerOverflow) => Failure::Division,
        Some(Trap::BadConversionToInteger) => Failure::BadConversion,
        Some(Trap::IndirectCallToNull | Trap::BadSignature | Trap::NullReference) => {
            Failure::BadCall
        }
        Some(Trap::StackOverflow) => return End::Trouble(Trouble::StackOverflow),
        // Failing to get the memory to start with, and whatever else the engine cannot do here.
        _ => return End::Trouble(Trouble::Machine(format!("the engine failed: {error:#}"))),
    };
    End::Failed { reason, fuel }
}
