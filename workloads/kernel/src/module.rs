//! Reads a module: validates it, holds it to the limits, and keeps what the passes need.

mod names;

use crate::body::Body;
use crate::contract::Contract;
use crate::layout::DataRange;
use crate::limits::{self, check};
use crate::refusal::Refusal;
use std::ops::Range;
use wasmparser::{
    ConstExpr, DataKind, ElementItems, ElementKind, Export, FuncType, FuncValidatorAllocations,
    GlobalType, Import, MemoryType, Operator, Parser, Payload, ValidPayload, Validator,
};

/// Bytes of a page of memory.
const PAGE_BYTES: u64 = 64 << 10;

/// Number of kinds of section that a core module may have (ids 0 to 12).
const SECTIONS: usize = 13;

/// A valid module within the limits; whether its imports and exports are right is [`crate::abi`]'s.
#[derive(Debug, Default)]
pub(crate) struct Module<'a> {
    pub(crate) wasm: &'a [u8],
    /// Where the content of each section lies, by its id.
    pub(crate) sections: [Option<Range<usize>>; SECTIONS],
    /// Where the content of the custom section `name` lies.
    pub(crate) names: Option<Range<usize>>,
    pub(crate) types: Vec<FuncType>,
    pub(crate) imports: Vec<Import<'a>>,
    /// Type index of each function, imports first.
    pub(crate) functions: Vec<u32>,
    pub(crate) globals: Vec<GlobalType>,
    pub(crate) exports: Vec<Export<'a>>,
    pub(crate) memory: Option<MemoryType>,
    pub(crate) table_elements: u64,
    pub(crate) data: Vec<DataRange>,
    pub(crate) bodies: Vec<Body<'a>>,
    pub(crate) totals: Totals,
}

/// What a compiler's work grows with, over all functions of a module.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) locals: u64,
    pub(crate) loops_times_locals: u64,
    pub(crate) joins_times_locals: u64,
}

impl Totals {
    fn add(&mut self, body: &Body<'_>) -> Result<(), Refusal> {
        self.locals += u64::from(body.locals);
        self.loops_times_locals += body.loops_times_locals();
        self.joins_times_locals += body.joins_times_locals();
        let Self { locals, loops_times_locals, joins_times_locals } = *self;
        check(LOCALS, locals, limits::LOCALS_TOTAL_MAX)?;
        check(LOOPS, loops_times_locals, limits::LOOPS_TIMES_LOCALS_TOTAL_MAX)?;
        check(JOINS, joins_times_locals, limits::JOINS_TIMES_LOCALS_TOTAL_MAX)
    }
}

pub(crate) const LOCALS: &str = "locals of all functions";
pub(crate) const LOOPS: &str = "loops times locals of all functions";
pub(crate) const JOINS: &str = "joins times locals of all functions";

impl<'a> Module<'a> {
    /// Reads and checks a whole module.
    pub(crate) fn read(wasm: &'a [u8], contract: Contract) -> Result<Self, Refusal> {
        check("bytes of the module", wasm.len() as u64, limits::MODULE_BYTES_MAX)?;
        let mut module = Self { wasm, ..Self::default() };
        let mut validator = Validator::new_with_features(crate::admissible_features());
        let mut parser = Parser::new(0);
        parser.set_features(crate::admissible_features());
        let mut allocations = FuncValidatorAllocations::default();
        for payload in parser.parse_all(wasm) {
            let payload = payload?;
            module.check_size(&payload)?;
            if let ValidPayload::Func(function, code) = validator.payload(&payload)? {
                let bytes = code.range().len() as u64;
                let mut validator = function.into_validator(allocations);
                let place = |offset| Some(module.place(validator.index(), offset));
                limits::check_in("bytes of the body", bytes, limits::BODY_BYTES_MAX, || {
                    place(code.range().start)
                })?;
                let body = Body::read(&module, &mut validator, code, contract)?;
                module.totals.add(&body)?;
                module.bodies.push(body);
                allocations = validator.into_allocations();
            }
            module.keep(payload)?;
        }
        Ok(module)
    }

    pub(crate) fn func_type(&self, index: u32) -> Option<&FuncType> {
        self.types.get(usize::try_from(index).ok()?)
    }

    pub(crate) fn func_type_of(&self, function: u32) -> Option<&FuncType> {
        self.func_type(*self.functions.get(usize::try_from(function).ok()?)?)
    }

    pub(crate) fn global(&self, index: u32) -> Option<&GlobalType> {
        self.globals.get(usize::try_from(index).ok()?)
    }

    /// The content of a section, if the module has it.
    pub(crate) fn section(&self, id: u8) -> Option<&'a [u8]> {
        let range = self.sections.get(usize::from(id))?.clone()?;
        self.wasm.get(range)
    }

    /// Holds the sizes of a section to their limits, before anything is allocated for it.
    fn check_size(&self, payload: &Payload<'a>) -> Result<(), Refusal> {
        let functions = |more: u32| self.functions.len() as u64 + u64::from(more);
        match payload {
            Payload::TypeSection(reader) => {
                check("types", u64::from(reader.count()), limits::TYPES_MAX)
            }
            Payload::ImportSection(reader) => {
                check("imports", u64::from(reader.count()), limits::IMPORTS_MAX)
            }
            Payload::FunctionSection(reader) => {
                check("functions", functions(reader.count()), limits::FUNCTIONS_MAX)
            }
            Payload::GlobalSection(reader) => {
                check("globals", u64::from(reader.count()), limits::GLOBALS_MAX)
            }
            Payload::ExportSection(reader) => {
                check("exports", u64::from(reader.count()), limits::EXPORTS_MAX)
            }
            Payload::ElementSection(reader) => {
                check("element segments", u64::from(reader.count()), limits::SEGMENTS_MAX)
            }
            Payload::DataSection(reader) => {
                check("data segments", u64::from(reader.count()), limits::SEGMENTS_MAX)
            }
            _ => Ok(()),
        }
    }

    /// Keeps what is needed of a section that is known to be valid.
    fn keep(&mut self, payload: Payload<'a>) -> Result<(), Refusal> {
        if let Some((id, range)) = payload.as_section()
            && let Some(section) = self.sections.get_mut(usize::from(id))
            && id != 0
        {
            *section = Some(range);
        }
        match payload {
            Payload::TypeSection(reader) => {
                for ty in reader.into_iter_err_on_gc_types() {
                    let ty = ty?;
                    let arity = ty.params().len().max(ty.results().len()) as u64;
                    check("parameters or results of a type", arity, limits::ARITY_MAX)?;
                    self.types.push(ty);
                }
            }
            Payload::ImportSection(reader) => {
                for import in reader.into_imports() {
                    let import = import?;
                    match import.ty {
                        wasmparser::TypeRef::Func(ty) => self.functions.push(ty),
                        _ => return Err(forbidden("an import that is no function")),
                    }
                    self.imports.push(import);
                }
            }
            Payload::FunctionSection(reader) => {
                for ty in reader {
                    self.functions.push(ty?);
                }
            }
            Payload::TableSection(reader) => {
                for table in reader {
                    self.table_elements = table?.ty.initial;
                    let max = limits::TABLE_ELEMENTS_MAX;
                    check("elements of the table", self.table_elements, max)?;
                }
            }
            Payload::MemorySection(reader) => {
                for memory in reader {
                    self.memory = Some(memory?);
                }
            }
            Payload::GlobalSection(reader) => {
                for global in reader {
                    self.globals.push(global?.ty);
                }
            }
            Payload::ExportSection(reader) => {
                for export in reader {
                    self.exports.push(export?);
                }
            }
            Payload::StartSection { .. } => return Err(forbidden("a start function")),
            Payload::ElementSection(reader) => self.keep_elements(reader)?,
            Payload::DataSection(reader) => self.keep_data(reader)?,
            Payload::CustomSection(reader) if reader.name() == "name" => {
                self.names = Some(reader.data_offset()..reader.range().end);
            }
            _ => {}
        }
        Ok(())
    }

    fn keep_elements(&self, reader: wasmparser::ElementSectionReader<'a>) -> Result<(), Refusal> {
        for (index, element) in (0u32..).zip(reader) {
            let element = element?;
            let ElementKind::Active { offset_expr, .. } = element.kind else { continue };
            let len = match element.items {
                ElementItems::Functions(items) => items.count(),
                ElementItems::Expressions(_, items) => items.count(),
            };
            let end = u64::from(constant(&offset_expr)?) + u64::from(len);
            let size = self.table_elements;
            if size < end {
                return Err(Refusal::Segment { what: "element", index, end, size });
            }
        }
        Ok(())
    }

    fn keep_data(&mut self, reader: wasmparser::DataSectionReader<'a>) -> Result<(), Refusal> {
        let size = self.memory.map_or(0, |memory| memory.initial.saturating_mul(PAGE_BYTES));
        for (index, data) in (0u32..).zip(reader) {
            let data = data?;
            let DataKind::Active { offset_expr, .. } = data.kind else { continue };
            let offset = constant(&offset_expr)?;
            let len = u32::try_from(data.data.len()).expect("a module has less than 4 GiB");
            let end = u64::from(offset) + u64::from(len);
            if size < end {
                return Err(Refusal::Segment { what: "data", index, end, size });
            }
            if 0 < len {
                self.data.push(DataRange { offset, len });
            }
        }
        Ok(())
    }
}

fn forbidden(what: &'static str) -> Refusal {
    Refusal::Forbidden { what, place: None }
}

/// The address that a segment's offset says. It can be nothing but `i32.const`: a valid offset could
/// also read an imported global, and none can be imported.
fn constant(expression: &ConstExpr<'_>) -> Result<u32, Refusal> {
    match expression.get_operators_reader().read()? {
        Operator::I32Const { value } => Ok(value.cast_unsigned()),
        _ => Err(forbidden("a segment whose offset is not a constant")),
    }
}
