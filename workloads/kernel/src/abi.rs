//! The ABI of both kinds: which imports and exports there are, and their types.

use crate::layout::Kind;
use crate::module::Module;
use crate::refusal::{Refusal, shorten};
use crate::{MEMORY_EXPORT, RESERVED_PREFIX};
use wasmparser::{ExternalKind, FuncType, TypeRef, ValType};

/// A function type, a letter for each value: `i` is `i32`, `I` is `i64`.
struct Signature {
    name: &'static str,
    params: &'static str,
    results: &'static str,
}

const fn sig(name: &'static str, params: &'static str, results: &'static str) -> Signature {
    Signature { name, params, results }
}

/// Imports of a step kernel, all from module `starling`.
const STEP_IMPORTS: &[Signature] = &[
    sig("params_len", "", "i"),
    sig("params_read", "iii", "i"),
    sig("input_count", "", "i"),
    sig("input_len", "i", "I"),
    sig("input_read", "iIii", "i"),
    sig("output_write", "ii", ""),
    sig("progress", "II", ""),
    sig("log", "iii", ""),
];

/// Imports of a WASI command: all functions of WASI preview 1 but the sockets.
const WASI_IMPORTS: &[Signature] = &[
    sig("args_get", "ii", "i"),
    sig("args_sizes_get", "ii", "i"),
    sig("clock_res_get", "ii", "i"),
    sig("clock_time_get", "iIi", "i"),
    sig("environ_get", "ii", "i"),
    sig("environ_sizes_get", "ii", "i"),
    sig("fd_advise", "iIIi", "i"),
    sig("fd_allocate", "iII", "i"),
    sig("fd_close", "i", "i"),
    sig("fd_datasync", "i", "i"),
    sig("fd_fdstat_get", "ii", "i"),
    sig("fd_fdstat_set_flags", "ii", "i"),
    sig("fd_fdstat_set_rights", "iII", "i"),
    sig("fd_filestat_get", "ii", "i"),
    sig("fd_filestat_set_size", "iI", "i"),
    sig("fd_filestat_set_times", "iIIi", "i"),
    sig("fd_pread", "iiiIi", "i"),
    sig("fd_prestat_dir_name", "iii", "i"),
    sig("fd_prestat_get", "ii", "i"),
    sig("fd_pwrite", "iiiIi", "i"),
    sig("fd_read", "iiii", "i"),
    sig("fd_readdir", "iiiIi", "i"),
    sig("fd_renumber", "ii", "i"),
    sig("fd_seek", "iIii", "i"),
    sig("fd_sync", "i", "i"),
    sig("fd_tell", "ii", "i"),
    sig("fd_write", "iiii", "i"),
    sig("path_create_directory", "iii", "i"),
    sig("path_filestat_get", "iiiii", "i"),
    sig("path_filestat_set_times", "iiiiIIi", "i"),
    sig("path_link", "iiiiiii", "i"),
    sig("path_open", "iiiiiIIii", "i"),
    sig("path_readlink", "iiiiii", "i"),
    sig("path_remove_directory", "iii", "i"),
    sig("path_rename", "iiiiii", "i"),
    sig("path_symlink", "iiiii", "i"),
    sig("path_unlink_file", "iii", "i"),
    sig("poll_oneoff", "iiii", "i"),
    sig("proc_exit", "i", ""),
    sig("proc_raise", "i", "i"),
    sig("random_get", "ii", "i"),
    sig("sched_yield", "", "i"),
];

/// The marker of a step kernel.
const STEP_MARKER: Signature = sig("starling_abi_1", "", "");
const STEP_EXPORTS: &[Signature] =
    &[STEP_MARKER, sig("starling_start", "", ""), sig("starling_step", "", "i")];
const WASI_EXPORTS: &[Signature] = &[sig("_start", "", "")];

impl Kind {
    fn imports(self) -> (&'static str, &'static [Signature]) {
        match self {
            Self::Step => ("starling", STEP_IMPORTS),
            Self::Wasi => ("wasi_snapshot_preview1", WASI_IMPORTS),
        }
    }
}

/// Tells the kind by the exports, and checks every import and export.
pub(crate) fn check(module: &Module<'_>) -> Result<Kind, Refusal> {
    let has = |name: &str| module.exports.iter().any(|export| export.name == name);
    let (kind, exports) = if has(STEP_MARKER.name) {
        (Kind::Step, STEP_EXPORTS)
    } else if has("_start") {
        (Kind::Wasi, WASI_EXPORTS)
    } else {
        return Err(Refusal::NoKind);
    };
    check_imports(module, kind)?;
    for export in &module.exports {
        if export.name.starts_with(RESERVED_PREFIX) {
            return Err(Refusal::ReservedExport { name: shorten(export.name) });
        }
    }
    check_memory(module)?;
    exports.iter().try_for_each(|signature| check_export(module, signature))?;
    Ok(kind)
}

fn check_imports(module: &Module<'_>, kind: Kind) -> Result<(), Refusal> {
    let (from, signatures) = kind.imports();
    for import in &module.imports {
        let signature = signatures.iter().find(|signature| signature.name == import.name);
        let Some(signature) = signature.filter(|_| import.module == from) else {
            let names: Vec<_> = signatures.iter().map(|signature| signature.name).collect();
            return Err(Refusal::Import {
                module: shorten(import.module),
                name: shorten(import.name),
                allowed: format!("{} from module {from}", names.join(", ")),
            });
        };
        let found = match import.ty {
            TypeRef::Func(index) => module.func_type(index),
            _ => None,
        };
        if !found.is_some_and(|found| signature.matches(found)) {
            return Err(Refusal::ImportType {
                module: shorten(import.module),
                name: shorten(import.name),
                found: found.map_or_else(|| "no function".into(), describe),
                expected: signature.describe(),
            });
        }
    }
    Ok(())
}

fn check_memory(module: &Module<'_>) -> Result<(), Refusal> {
    let expected = || "a memory".to_owned();
    let Some(export) = module.exports.iter().find(|export| export.name == MEMORY_EXPORT) else {
        return Err(Refusal::MissingExport { name: MEMORY_EXPORT, expected: expected() });
    };
    if export.kind == ExternalKind::Memory {
        return Ok(());
    }
    let found = "something else".to_owned();
    Err(Refusal::ExportType { name: MEMORY_EXPORT, found, expected: expected() })
}

fn check_export(module: &Module<'_>, signature: &Signature) -> Result<(), Refusal> {
    let name = signature.name;
    let Some(export) = module.exports.iter().find(|export| export.name == name) else {
        return Err(Refusal::MissingExport { name, expected: signature.describe() });
    };
    let found = match export.kind {
        ExternalKind::Func => module.func_type_of(export.index),
        _ => None,
    };
    if found.is_some_and(|found| signature.matches(found)) {
        return Ok(());
    }
    Err(Refusal::ExportType {
        name,
        found: found.map_or_else(|| "no function".into(), describe),
        expected: signature.describe(),
    })
}

impl Signature {
    fn matches(&self, ty: &FuncType) -> bool {
        ty.params().iter().copied().eq(values(self.params))
            && ty.results().iter().copied().eq(values(self.results))
    }

    fn describe(&self) -> String {
        describe(&FuncType::new(values(self.params), values(self.results)))
    }
}

fn values(letters: &'static str) -> impl Iterator<Item = ValType> {
    letters.bytes().map(|letter| if letter == b'I' { ValType::I64 } else { ValType::I32 })
}

/// A function type as people write it: `(i32, i64) -> (i32)`.
fn describe(ty: &FuncType) -> String {
    let list =
        |types: &[ValType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!("({}) -> ({})", list(ty.params()), list(ty.results()))
}
