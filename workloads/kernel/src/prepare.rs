//! Puts the prepared module together.

mod function;

use self::function::Globals;
use crate::layout::{GlobalExport, Layout, ValueType};
use crate::limits::{self, check};
use crate::module::Module;
use crate::nan::NanMode;
use crate::refusal::Refusal;
use crate::scratch::encode_type;
use crate::{Contract, FUEL_EXPORT, ONE_EXPORT, RESERVED_PREFIX, abi};
use wasm_encoder::Encode;
use wasmparser::{ExternalKind, ValType};

/// A module that any engine runs to the same bytes and the same fuel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Prepared {
    /// The module, to be compiled.
    pub wasm: Vec<u8>,
    /// What a host needs to know of it.
    pub layout: Layout,
}

/// Checks a module against a contract and rewrites it, see the crate's documentation.
///
/// # Errors
/// What the module has that no kernel may have.
pub fn prepare(wasm: &[u8], nan: NanMode, contract: Contract) -> Result<Prepared, Refusal> {
    let module = Module::read(wasm, contract)?;
    let kind = abi::check(&module)?;
    let memory = module.memory.ok_or_else(|| Refusal::MissingExport {
        name: crate::MEMORY_EXPORT,
        expected: "a memory".into(),
    })?;
    let globals = exports(&module);
    let wasm = write(&module, nan, contract, &globals);
    check("bytes of the prepared module", wasm.len() as u64, limits::PREPARED_BYTES_MAX)?;
    let layout = Layout {
        contract: contract.number(),
        kind,
        globals: globals.into_iter().map(|(_, export)| export).collect(),
        memory_min_pages: memory.initial,
        memory_max_pages: memory.maximum,
        data: module.data,
    };
    Ok(Prepared { wasm, layout })
}

/// The mutable globals with their indices and the names that they get.
fn exports(module: &Module<'_>) -> Vec<(u32, GlobalExport)> {
    let mutable = (0u32..).zip(&module.globals).filter(|(_, global)| global.mutable);
    mutable
        .map(|(index, global)| {
            let ty = match global.content_type {
                ValType::I32 => ValueType::I32,
                ValType::I64 => ValueType::I64,
                ValType::F32 => ValueType::F32,
                ValType::F64 => ValueType::F64,
                ValType::V128 => ValueType::V128,
                ValType::Ref(_) => unreachable!("globals of references need reference types"),
            };
            (index, GlobalExport { name: format!("{RESERVED_PREFIX}global:{index}"), ty })
        })
        .collect()
}

const CUSTOM: u8 = 0;
const TYPE: u8 = 1;
const GLOBAL: u8 = 6;
const EXPORT: u8 = 7;
const CODE: u8 = 10;
const DATA_COUNT: u8 = 12;

/// The sections in the order in which a module has them; a kernel has neither tags nor a start.
const ORDER: [u8; 11] = [TYPE, 2, 3, 4, 5, GLOBAL, EXPORT, 9, DATA_COUNT, CODE, 11];

/// Writes the module. No index changes: what is added comes after what there was, in each section, so
/// that everything but the code is copied as it is.
fn write(
    module: &Module<'_>,
    nan: NanMode,
    contract: Contract,
    globals: &[(u32, GlobalExport)],
) -> Vec<u8> {
    let fuel = index(module.globals.len());
    let added = added(contract);
    let one = (1 < added.len()).then_some(fuel + 1);
    let mut types = function::BlockTypes::new(index(module.types.len()));
    let mut code = Vec::new();
    module.bodies.len().encode(&mut code);
    for body in &module.bodies {
        let function = function::write(module, body, nan, Globals { fuel, one }, &mut types);
        function.as_slice().encode(&mut code);
    }

    let mut added_globals = Vec::new();
    for (_, value) in added {
        encode_type(ValType::I64, &mut added_globals);
        added_globals.extend([1, 0x42, *value, 0x0b]); // mutable; i64.const; end
    }

    let mut wasm = b"\0asm\x01\0\0\0".to_vec();
    for id in ORDER {
        let section = module.section(id);
        match id {
            TYPE => append(id, section, types.count(), types.encoded(), &mut wasm),
            GLOBAL => append(id, section, index(added.len()), &added_globals, &mut wasm),
            EXPORT => {
                let (count, exports) = encode_exports(fuel, added, globals);
                append(id, section, count, &exports, &mut wasm);
            }
            CODE => encode_section(id, &code, &mut wasm),
            _ => {
                if let Some(content) = section {
                    encode_section(id, content, &mut wasm);
                }
            }
        }
    }
    if let Some(names) = module.names.clone().and_then(|range| module.wasm.get(range)) {
        let mut section = Vec::new();
        "name".encode(&mut section);
        section.extend(names);
        encode_section(CUSTOM, &section, &mut wasm);
    }
    wasm
}

/// The globals that a contract adds, all mutable `i64`: their names and their values at the start, a byte each.
const fn added(contract: Contract) -> &'static [(&'static str, u8)] {
    match contract {
        Contract::One => &[(FUEL_EXPORT, 0)],
        Contract::Two => &[(FUEL_EXPORT, 0), (ONE_EXPORT, 1)],
    }
}

/// The exports of the kernel's mutable globals and of the added ones, whose first index is `fuel`: their number, encoded.
fn encode_exports(
    fuel: u32,
    added: &[(&str, u8)],
    globals: &[(u32, GlobalExport)],
) -> (u32, Vec<u8>) {
    let mut encoded = Vec::new();
    let own = globals.iter().map(|(index, export)| (export.name.as_str(), *index));
    for (name, global) in own.chain(added.iter().map(|(name, _)| *name).zip(fuel..)) {
        name.encode(&mut encoded);
        encoded.push(ExternalKind::Global as u8);
        global.encode(&mut encoded);
    }
    (index(globals.len() + added.len()), encoded)
}

/// Writes a section of `count` items more than it had.
fn append(id: u8, section: Option<&[u8]>, count: u32, added: &[u8], wasm: &mut Vec<u8>) {
    let mut reader = wasmparser::BinaryReader::new(section.unwrap_or(&[0]), 0);
    let before = reader.read_var_u32().expect("the section was valid when it was read");
    let mut content = Vec::new();
    (before + count).encode(&mut content);
    content.extend(
        section.and_then(|section| section.get(reader.current_position()..)).unwrap_or(&[]),
    );
    content.extend(added);
    encode_section(id, &content, wasm);
}

fn encode_section(id: u8, content: &[u8], wasm: &mut Vec<u8>) {
    wasm.push(id);
    content.encode(wasm);
}

/// A number of items as an index; the limits keep all of them far below 2^32.
fn index(items: usize) -> u32 {
    u32::try_from(items).expect("a module of limited size has few items")
}
