//! Runs modules on several engines and reads back everything that they leave.

use kernel::{FUEL_EXPORT, Layout, MEMORY_EXPORT};
use std::sync::OnceLock;
use wasmtime::{
    Config, Engine, Extern, Func, Instance, Module, OptLevel, Store, StoreLimits,
    StoreLimitsBuilder, Strategy, Trap, Val,
};

/// An engine that kernels must behave alike on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// As the worker sets it.
    Cranelift,
    /// With the engine's own canonicalisation of NaNs.
    CanonicalCranelift,
    /// The baseline compiler. It lacks wide arithmetic, and some vector operators on some machines.
    Winch,
    /// Wasmtime's interpreter.
    Pulley,
}

/// Bytes that memory may have: beyond, `memory.grow` answers -1.
pub(crate) const MEMORY_BYTES: usize = 16 * (64 << 10);

fn engine(kind: Kind) -> &'static Engine {
    static ENGINES: [OnceLock<Engine>; 4] = [const { OnceLock::new() }; 4];
    ENGINES[kind as usize].get_or_init(|| {
        let mut config = Config::new();
        config
            .wasm_features(wasmtime::WasmFeatures::all(), false)
            .wasm_features(kernel::admissible_features(), true)
            .memory_reservation(1 << 20)
            .memory_guard_size(64 << 10);
        match kind {
            Kind::Cranelift => config.cranelift_opt_level(OptLevel::Speed),
            Kind::CanonicalCranelift => config.cranelift_nan_canonicalization(true),
            Kind::Winch => config.strategy(Strategy::Winch).wasm_wide_arithmetic(false),
            Kind::Pulley => config.target("pulley64").unwrap(),
        };
        Engine::new(&config).unwrap()
    })
}

/// How a call ended.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Call {
    /// Bits of the results, of floats those of the canonical NaN if they are one.
    Returned(Vec<u128>),
    /// The kernel's own doing.
    Trapped(String),
    /// The budget.
    Spent,
    /// Nobody's result: the stack was too small.
    Stack,
}

/// Everything that a run leaves.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Left {
    pub calls: Vec<Call>,
    pub memory: blake3::Hash,
    pub pages: u64,
    pub globals: Vec<u128>,
    /// The fuel left, of a prepared module.
    pub fuel: Option<i64>,
}

impl Left {
    /// Whether the run says nothing, since another machine's stack might be larger.
    pub(crate) fn overflowed(&self) -> bool {
        self.calls.contains(&Call::Stack)
    }
}

/// Instantiates a module and makes calls, up to the first that fails. None if the engine cannot compile
/// it. The functions of the ABI answer constants.
pub(crate) fn run(
    kind: Kind,
    wasm: &[u8],
    layout: Option<&Layout>,
    budget: i64,
    calls: &[&str],
) -> Option<Left> {
    let module = match Module::new(engine(kind), wasm) {
        Ok(module) => module,
        Err(_) if kind == Kind::Winch => return None,
        Err(error) => panic!("{kind:?} refuses a module: {error:?}"),
    };
    let mut store =
        Store::new(engine(kind), StoreLimitsBuilder::new().memory_size(MEMORY_BYTES).build());
    store.limiter(|limits: &mut StoreLimits| limits);
    let imports: Vec<Extern> = module
        .imports()
        .map(|import| {
            let ty = import.ty().unwrap_func().clone();
            let answers: Vec<Val> = ty
                .results()
                .map(|result| if result.is_i64() { Val::I64(7) } else { Val::I32(3) })
                .collect();
            Func::new(&mut store, ty, move |_, _, results| {
                results.copy_from_slice(&answers);
                Ok(())
            })
            .into()
        })
        .collect();
    let instance = Instance::new(&mut store, &module, &imports).unwrap();
    if layout.is_some() {
        let fuel = instance.get_global(&mut store, FUEL_EXPORT).unwrap();
        fuel.set(&mut store, Val::I64(budget)).unwrap();
    }
    let mut ends = Vec::new();
    for name in calls {
        let end = call(&mut store, instance, name, layout.is_some());
        let returned = matches!(end, Call::Returned(_));
        ends.push(end);
        if !returned {
            break;
        }
    }
    let memory = instance.get_memory(&mut store, MEMORY_EXPORT).unwrap();
    let globals = layout.map_or(&[][..], |layout| &layout.globals);
    Some(Left {
        calls: ends,
        memory: blake3::hash(memory.data(&store)),
        pages: memory.size(&store),
        globals: globals
            .iter()
            .map(|global| {
                let global = instance.get_global(&mut store, &global.name).unwrap();
                exact_bits(&global.get(&mut store))
            })
            .collect(),
        fuel: layout.map(|_| fuel_left(&mut store, instance)),
    })
}

fn fuel_left(store: &mut Store<StoreLimits>, instance: Instance) -> i64 {
    let fuel = instance.get_global(&mut *store, FUEL_EXPORT).unwrap();
    fuel.get(store).unwrap_i64()
}

fn call(store: &mut Store<StoreLimits>, instance: Instance, name: &str, metered: bool) -> Call {
    let function = instance.get_func(&mut *store, name).unwrap();
    let mut results = vec![Val::I32(0); function.ty(&mut *store).results().len()];
    match function.call(&mut *store, &[], &mut results) {
        Ok(()) => Call::Returned(results.iter().map(bits).collect()),
        Err(error) => match error.downcast_ref::<Trap>() {
            Some(Trap::StackOverflow) => Call::Stack,
            Some(Trap::UnreachableCodeReached) if metered && fuel_left(store, instance) < 0 => {
                Call::Spent
            }
            Some(trap) => Call::Trapped(format!("{trap:?}")),
            None => panic!("no trap: {error:?}"),
        },
    }
}

/// Bits of a value; a scalar's NaN, which nothing has made visible yet, as the canonical one.
fn bits(value: &Val) -> u128 {
    match value {
        Val::F32(bits) if f32::from_bits(*bits).is_nan() => 0x7fc0_0000,
        Val::F64(bits) if f64::from_bits(*bits).is_nan() => 0x7ff8_0000_0000_0000,
        value => exact_bits(value),
    }
}

fn exact_bits(value: &Val) -> u128 {
    match value {
        Val::I32(value) => u128::from(value.cast_unsigned()),
        Val::I64(value) => u128::from(value.cast_unsigned()),
        Val::F32(bits) => u128::from(*bits),
        Val::F64(bits) => u128::from(*bits),
        Val::V128(value) => value.as_u128(),
        _ => panic!("kernels have no references"),
    }
}
