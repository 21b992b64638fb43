//! Compiles one kernel, within limits that this process sets itself, and loads what was compiled.

use super::{limits, walls};
use crate::engine::{Engines, inlines};
use crate::protocol::{
    COMPILED_BYTES_MAX, CompileCost, CompileOrder, Compiled, TAG_BYTES, Verdict,
};
use crate::unit::Trouble;
use kernel::Layout;
use rustix::process::Resource;
use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;
use wasmtime::{Engine, Module};

/// Bytes of a module: the kernel contract allows less, and says so better.
const MODULE_BYTES_MAX: u64 = 64 << 20;
/// Bytes for which there is room when a compilation is read.
const READ_BYTES: usize = 256 << 10;

/// What the child does: the verdict, and the code.
pub(crate) fn run(order: &CompileOrder, module: Option<File>) -> io::Result<(Verdict, Vec<u8>)> {
    limits::settle(order.priority)?;
    limits::limit(Resource::Cpu, order.cpu_s)?;
    limits::limit(Resource::As, order.memory)?;
    limits::limit(Resource::Fsize, 0)?;
    let status = limits::status();
    let (walls, ()) = walls::raise(&order.walls, || Ok(()))?;
    if let Some(refusal) = walls.refusal(&order.walls) {
        return Ok((Err(Trouble::Machine(refusal)), Vec::new()));
    }
    Ok(match compile(order, module) {
        Ok((mut compiled, code)) => {
            (compiled.cost.memory, compiled.cost.space) = limits::peak(status.as_ref());
            compiled.cost.cpu = limits::cpu();
            (Ok((compiled, walls)), code)
        }
        Err(trouble) => (Err(trouble), Vec::new()),
    })
}

fn compile(order: &CompileOrder, file: Option<File>) -> Result<(Compiled, Vec<u8>), Trouble> {
    let machine =
        |doing: &str, error: &dyn std::fmt::Display| Trouble::Machine(format!("{doing}: {error}"));
    let mut module = Vec::new();
    file.ok_or_else(|| io::Error::other("it did not come"))
        .and_then(|file| file.take(MODULE_BYTES_MAX).read_to_end(&mut module))
        .map_err(|error| machine("the kernel's file could not be read", &error))?;
    if *blake3::hash(&module).as_bytes() != order.digest {
        return Err(Trouble::Machine(
            "the kernel's file does not have the digest it should have: fetch it again".to_owned(),
        ));
    }
    let prepared = kernel::prepare(&module, order.nan, order.contract)
        .map_err(|refusal| Trouble::Refused(refusal.to_string()))?;
    drop(module);
    let engines = Engines::new()
        .map_err(|error| machine("the engine does not run on this machine", &error))?;
    let inlined = order.inlining.unwrap_or_else(|| inlines(&prepared.wasm));
    let code = engines
        .of(inlined)
        .precompile_module(&prepared.wasm)
        .map_err(|error| Trouble::Compile(format!("the engine refuses it: {error:#}")))?;
    let layout = serde_json::to_vec(&prepared.layout)
        .map_err(|error| machine("the kernel's layout could not be written down", &error))?;
    let bytes = code.len() as u64;
    let cost = CompileCost { cpu: Duration::ZERO, memory: 0, space: 0, bytes, inlined };
    Ok((Compiled { cost, layout }, code))
}

/// Loads the compilation in a file that was handed over; none if it is not what it should be.
pub(crate) fn load(engines: &Engines, file: &File) -> Option<(Module, Layout)> {
    let mut bytes = Vec::with_capacity(READ_BYTES);
    file.take(COMPILED_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let (_, rest) = bytes.split_first_chunk::<TAG_BYTES>()?;
    let (inlined, rest) = rest.split_first()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (layout, compiled) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let engine = engines.of(*inlined == 1);
    Some((deserialize(engine, compiled)?, serde_json::from_slice(layout).ok()?))
}

#[expect(
    unsafe_code,
    reason = "the engine cannot know that bytes are its own compilation and must trust the caller; the caller has just \
              been handed an open file by its parent, which checked a keyed digest over it, made with a secret that no \
              process with strangers' code has ever seen"
)]
fn deserialize(engine: &Engine, compiled: &[u8]) -> Option<Module> {
    // SAFETY: the bytes come from `Module::serialize` of the same version and configuration, see above.
    unsafe { Module::deserialize(engine, compiled) }.ok()
}
