//! What a module is, for people.

use crate::contract::Contract;
use crate::layout::Kind;
use crate::module::{self, Module};
use crate::operators::proposal;
use crate::refusal::Refusal;
use crate::{abi, limits};
use serde::Serialize;
use std::collections::BTreeSet;

/// What a kernel imports.
#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
pub struct Import {
    /// `starling` or `wasi_snapshot_preview1`.
    pub module: String,
    /// The function's name.
    pub name: String,
}

/// One of [`crate::limits`] and how near the module comes to it.
#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
pub struct Limit {
    /// What is limited.
    pub what: &'static str,
    /// The module's value; where the limit is a function's, that of the function nearest to it.
    pub value: u64,
    /// The largest admissible value.
    pub max: u64,
}

/// What a module is: admissible, or there would be a [`Refusal`].
#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Which of the two kinds it is.
    pub kind: Kind,
    /// What it imports, in its order.
    pub imports: Vec<Import>,
    /// Names of its exports, in its order.
    pub exports: Vec<String>,
    /// Bytes of the module.
    pub bytes: u64,
    /// Functions of its own.
    pub functions: u64,
    /// Pages (64 KiB) of memory at the start.
    pub memory_min_pages: u64,
    /// Pages beyond which the module says that memory cannot grow.
    pub memory_max_pages: Option<u64>,
    /// Proposals of WebAssembly whose operators it uses, sorted, named as wasmparser does.
    pub features: Vec<&'static str>,
    /// How near it comes to each limit.
    pub limits: Vec<Limit>,
}

/// Checks a module as [`crate::prepare()`] does and says what it is. What is admissible is the same by all contracts.
///
/// # Errors
/// What the module has that no kernel may have.
pub fn inspect(wasm: &[u8]) -> Result<Summary, Refusal> {
    let module = Module::read(wasm, Contract::NEWEST)?;
    let kind = abi::check(&module)?;
    let import = |import: &wasmparser::Import<'_>| Import {
        module: import.module.to_owned(),
        name: import.name.to_owned(),
    };
    Ok(Summary {
        kind,
        imports: module.imports.iter().map(import).collect(),
        exports: module.exports.iter().map(|export| export.name.to_owned()).collect(),
        bytes: wasm.len() as u64,
        functions: module.bodies.len() as u64,
        memory_min_pages: module.memory.map_or(0, |memory| memory.initial),
        memory_max_pages: module.memory.and_then(|memory| memory.maximum),
        features: features(&module)?,
        limits: measure(&module),
    })
}

fn features(module: &Module<'_>) -> Result<Vec<&'static str>, Refusal> {
    let mut names = BTreeSet::new();
    for body in &module.bodies {
        let mut operators = body.code.get_operators_reader()?;
        while !operators.eof() {
            names.insert(proposal(&operators.read()?));
        }
    }
    Ok(names.into_iter().collect())
}

fn measure(module: &Module<'_>) -> Vec<Limit> {
    let largest =
        |of: fn(&crate::body::Body<'_>) -> u64| module.bodies.iter().map(of).max().unwrap_or(0);
    let totals = module.totals;
    let arity = |ty: &wasmparser::FuncType| ty.params().len().max(ty.results().len());
    let limit = |what, value, max| Limit { what, value, max };
    vec![
        limit("bytes of the module", module.wasm.len() as u64, limits::MODULE_BYTES_MAX),
        limit("functions", module.functions.len() as u64, limits::FUNCTIONS_MAX),
        limit(
            "bytes of a body",
            largest(|body| body.code.range().len() as u64),
            limits::BODY_BYTES_MAX,
        ),
        limit("nesting of blocks", largest(|body| body.nesting), limits::NESTING_MAX),
        limit(
            "parameters or results of a type",
            module.types.iter().map(arity).max().unwrap_or(0) as u64,
            limits::ARITY_MAX,
        ),
        limit("locals", largest(|body| u64::from(body.locals)), limits::LOCALS_MAX),
        limit(module::LOCALS, totals.locals, limits::LOCALS_TOTAL_MAX),
        limit(
            "loops times locals",
            largest(|body| body.loops_times_locals()),
            limits::LOOPS_TIMES_LOCALS_MAX,
        ),
        limit(
            "joins times locals",
            largest(|body| body.joins_times_locals()),
            limits::JOINS_TIMES_LOCALS_MAX,
        ),
        limit(module::LOOPS, totals.loops_times_locals, limits::LOOPS_TIMES_LOCALS_TOTAL_MAX),
        limit(module::JOINS, totals.joins_times_locals, limits::JOINS_TIMES_LOCALS_TOTAL_MAX),
        limit("elements of the table", module.table_elements, limits::TABLE_ELEMENTS_MAX),
        limit("globals", module.globals.len() as u64, limits::GLOBALS_MAX),
    ]
}
