//! Runs modules on wasmi, an interpreter that shares nothing with the other engines.

use crate::engines::{Call, Left, MEMORY_BYTES};
use kernel::{FUEL_EXPORT, Layout, MEMORY_EXPORT};
use wasmi::{
    Config, Engine, Extern, ExternType, F32, F64, Func, Instance, Module, Store, StoreLimits,
    StoreLimitsBuilder, TrapCode, Val, ValType,
};

/// As [`crate::engines::run`].
pub(crate) fn run(wasm: &[u8], layout: Option<&Layout>, budget: i64, calls: &[&str]) -> Left {
    let mut config = Config::default();
    config.wasm_wide_arithmetic(true).ignore_custom_sections(true);
    let engine = Engine::new(&config);
    let module = Module::new(&engine, wasm).unwrap();
    let limits = StoreLimitsBuilder::new().memory_size(MEMORY_BYTES).build();
    let mut store = Store::new(&engine, limits);
    store.limiter(|limits| limits);
    let imports: Vec<Extern> = module
        .imports()
        .map(|import| {
            let ExternType::Func(ty) = import.ty() else { panic!("kernels import functions") };
            let answer = |ty: &ValType| if *ty == ValType::I64 { Val::I64(7) } else { Val::I32(3) };
            let answers: Vec<Val> = ty.results().iter().map(answer).collect();
            Func::new(&mut store, ty.clone(), move |_, _, results| {
                results.clone_from_slice(&answers);
                Ok(())
            })
            .into()
        })
        .collect();
    let instance = Instance::new(&mut store, &module, &imports).unwrap();
    if let Some(fuel) = instance.get_global(&store, FUEL_EXPORT) {
        fuel.set(&mut store, Val::I64(budget)).unwrap();
    }
    let mut ends = Vec::new();
    for name in calls {
        let end = call(&mut store, instance, name);
        let returned = matches!(end, Call::Returned(_));
        ends.push(end);
        if !returned {
            break;
        }
    }
    let globals = layout.map_or(&[][..], |layout| &layout.globals);
    let memory = instance.get_memory(&store, MEMORY_EXPORT).unwrap();
    let global = |name: &str| instance.get_global(&store, name).map(|global| global.get(&store));
    Left {
        calls: ends,
        memory: blake3::hash(memory.data(&store)),
        pages: memory.size(&store),
        globals: globals.iter().map(|export| exact_bits(&global(&export.name).unwrap())).collect(),
        fuel: global(FUEL_EXPORT).and_then(|fuel| fuel.i64()),
    }
}

fn call(store: &mut Store<StoreLimits>, instance: Instance, name: &str) -> Call {
    let function = instance.get_func(&*store, name).unwrap();
    let mut results = vec![Val::I32(0); function.ty(&*store).results().len()];
    let Err(error) = function.call(&mut *store, &[], &mut results) else {
        return Call::Returned(results.iter().map(bits).collect());
    };
    let fuel = instance.get_global(&*store, FUEL_EXPORT).and_then(|fuel| fuel.get(&*store).i64());
    let trap = match error.as_trap_code().unwrap_or_else(|| panic!("no trap: {error}")) {
        TrapCode::StackOverflow => return Call::Stack,
        TrapCode::UnreachableCodeReached if fuel.is_some_and(|fuel| fuel < 0) => {
            return Call::Spent;
        }
        TrapCode::BadSignature => "BadSignature".to_owned(),
        trap => format!("{trap:?}"),
    };
    Call::Trapped(trap)
}

/// As [`crate::engines`] has them.
fn bits(value: &Val) -> u128 {
    match value {
        Val::F32(value) if value.to_float().is_nan() => 0x7fc0_0000,
        Val::F64(value) if value.to_float().is_nan() => 0x7ff8_0000_0000_0000,
        value => exact_bits(value),
    }
}

fn exact_bits(value: &Val) -> u128 {
    match value {
        Val::I32(value) => u128::from(value.cast_unsigned()),
        Val::I64(value) => u128::from(value.cast_unsigned()),
        Val::F32(value) => u128::from(F32::to_bits(*value)),
        Val::F64(value) => u128::from(F64::to_bits(*value)),
        Val::V128(value) => value.as_u128(),
        _ => panic!("kernels have no references"),
    }
}
