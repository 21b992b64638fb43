//! Rewrites one function: the metering, and NaNs.
//!
//! Fuel is charged by regions ([`crate::regions`]): when a function is entered, at each turn of a loop, and where
//! else a region begins. A function with loops counts in a local, which is saved to the exported global before calls
//! and at the end, and read again after calls:
//!
//! ```text
//! block                       ;; left when the budget is spent
//!   block (result ...)        ;; the function's own body: branches to its end lead here
//!     fuel = global - cost; br_if 1 (fuel < 0)
//!     ...
//!     loop
//!       fuel -= cost; br_if n (fuel < 0)
//!       ...
//!   end
//!   global = fuel; return
//! end
//! global = fuel; unreachable
//! ```
//!
//! A function without loops charges the global itself.
//!
//! By contract 2 a charge is a chain of operations, each of which needs the one before, that takes a processor longer
//! than any kernel needs for as many operators: a kernel of operators that a compiler leaves out waits for it, and any
//! other runs beside it. So that no compiler can see through the chain, it reads a global that is always one.

use crate::body::Body;
use crate::module::Module;
use crate::nan::{self, NanMode};
use crate::operators::{is_bulk, leaves_exact_scalar, shows_scalar, vector_arithmetic};
use crate::scratch::{Scratch, encode_type, value_type};
use wasm_encoder::{Encode, InstructionSink};
use wasmparser::{BinaryReader, Operator, OperatorsReader, ValType};

/// Bytes that one unit of fuel moves: measured, a vector's worth.
const BULK_SHIFT: i64 = 4;

/// Most operators that a charge takes at once; its last piece has what remains. A piece is multiplied by one besides: with
/// the subtraction these are four cycles of the processors of today, 19 operators a cycle, where the fastest kernels need a
/// cycle for 13.
const PIECE: u64 = 76;
/// Most operators of a piece that is not multiplied, for which one of the operators is subtracted apart: two cycles.
const HALF: u64 = 38;
/// Most operators of a piece that is subtracted at once, in a cycle.
const SMALL: u64 = 20;

/// The block types that are added to a module: of functions with several results.
#[derive(Debug)]
pub(super) struct BlockTypes {
    first: u32,
    results: Vec<Vec<ValType>>,
    encoded: Vec<u8>,
}

impl BlockTypes {
    /// For a module that has `first` types.
    pub(super) const fn new(first: u32) -> Self {
        Self { first, results: Vec::new(), encoded: Vec::new() }
    }

    pub(super) fn count(&self) -> u32 {
        super::index(self.results.len())
    }

    pub(super) fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// The type of a block that takes nothing and leaves `results`.
    fn of(&mut self, results: &[ValType]) -> wasm_encoder::BlockType {
        match results {
            [] => return wasm_encoder::BlockType::Empty,
            [one] => return wasm_encoder::BlockType::Result(value_type(*one)),
            _ => {}
        }
        let position =
            self.results.iter().position(|known| known == results).unwrap_or_else(|| {
                self.encoded.extend([0x60, 0]); // a function type; no parameters
                results.len().encode(&mut self.encoded);
                results.iter().for_each(|ty| encode_type(*ty, &mut self.encoded));
                self.results.push(results.to_vec());
                self.results.len() - 1
            });
        wasm_encoder::BlockType::FunctionType(self.first + super::index(position))
    }
}

/// Indices of the globals that are added to a module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Globals {
    /// The fuel left.
    pub(super) fuel: u32,
    /// The one, if charges are to take time.
    pub(super) one: Option<u32>,
}

/// Writes a function's locals and code.
pub(super) fn write(
    module: &Module<'_>,
    body: &Body<'_>,
    nan: NanMode,
    Globals { fuel, one }: Globals,
    types: &mut BlockTypes,
) -> Vec<u8> {
    let mut locals =
        body.code.get_locals_reader().expect("the function was valid when it was read");
    let first_run = locals.original_position();
    let runs = locals.get_count();
    for _ in 0..runs {
        locals.read().expect("the function was valid when it was read");
    }
    let start = locals.original_position();
    let range = body.code.range();

    let mut writer = Writer {
        body,
        fuel,
        one,
        scratch: Scratch::new(body.locals),
        code: Vec::with_capacity(range.len() * 5 / 4),
        metering: if body.loops == 0 { Metering::Global } else { Metering::Local },
        depth: 0,
    };
    writer.enter(module, types);
    let reader = BinaryReader::new(&module.wasm[start..range.end], start);
    writer.operators(module, nan, OperatorsReader::new(reader));
    writer.leave();

    let mut function = Vec::new();
    (runs + writer.scratch.runs()).encode(&mut function);
    function.extend(&module.wasm[first_run..start]);
    writer.scratch.encode(&mut function);
    function.extend(writer.code);
    function
}

/// Where a function counts its fuel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Metering {
    Global,
    Local,
}

struct Writer<'a> {
    body: &'a Body<'a>,
    fuel: u32,
    one: Option<u32>,
    scratch: Scratch,
    code: Vec<u8>,
    metering: Metering,
    /// Blocks open inside the function.
    depth: u32,
}

impl Writer<'_> {
    /// Opens the function and charges its first region.
    fn enter(&mut self, module: &Module<'_>, types: &mut BlockTypes) {
        if self.metering == Metering::Local {
            let ty = module.func_type_of(self.body.function).expect("a valid function has a type");
            let block = types.of(ty.results());
            InstructionSink::new(&mut self.code)
                .block(wasm_encoder::BlockType::Empty)
                .block(block)
                .global_get(self.fuel);
        }
        self.charge(self.body.charges.entry, true);
    }

    fn operators(&mut self, module: &Module<'_>, nan: NanMode, mut reader: OperatorsReader<'_>) {
        let mut visible = self.body.visible_vectors.iter().copied().peekable();
        let mut charges = self.body.charges.behind.iter().copied().peekable();
        let mut exact = false;
        for index in 0u32.. {
            if reader.eof() {
                break;
            }
            let from = reader.original_position();
            let operator = reader.read().expect("the function was valid when it was read");
            let raw = &module.wasm[from..reader.original_position()];
            if nan == NanMode::Canonical && !exact {
                self.show_scalar(module, &operator);
            }
            exact = leaves_exact_scalar(&operator);
            self.operator(&operator, raw);
            if visible.next_if_eq(&index).is_some()
                && nan == NanMode::Canonical
                && let Some(shape) = vector_arithmetic(&operator).and_then(|vectors| vectors.makes)
            {
                nan::vector(shape, &mut self.scratch, &mut InstructionSink::new(&mut self.code));
            }
            if let Some((_, cost)) = charges.next_if(|(behind, _)| *behind == index) {
                self.charge(cost, false);
            }
        }
    }

    /// Makes the scalar canonical whose bits the operator is about to show.
    fn show_scalar(&mut self, module: &Module<'_>, operator: &Operator<'_>) {
        let shown = match operator {
            Operator::GlobalSet { global_index } => module
                .global(*global_index)
                .map(|global| global.content_type)
                .filter(|ty| matches!(ty, ValType::F32 | ValType::F64)),
            _ => shows_scalar(operator),
        };
        if let Some(ty) = shown {
            nan::scalar(ty, &mut self.scratch, &mut InstructionSink::new(&mut self.code));
        }
    }

    /// Writes an operator with the metering that belongs to it.
    fn operator(&mut self, operator: &Operator<'_>, raw: &[u8]) {
        match operator {
            Operator::Block { .. } | Operator::If { .. } | Operator::Loop { .. } => self.depth += 1,
            Operator::End => self.depth = self.depth.saturating_sub(1),
            Operator::Return if self.metering == Metering::Local => {
                InstructionSink::new(&mut self.code).br(self.depth);
                return;
            }
            Operator::Call { .. } | Operator::CallIndirect { .. }
                if self.metering == Metering::Local =>
            {
                let (fuel, local) = (self.fuel, self.counter());
                InstructionSink::new(&mut self.code).local_get(local).global_set(fuel);
                self.code.extend(raw);
                InstructionSink::new(&mut self.code).global_get(fuel).local_set(local);
                return;
            }
            _ if is_bulk(operator) => self.charge_bulk(),
            _ => {}
        }
        self.code.extend(raw);
    }

    /// The local that counts, of a function with loops: the only scratch local of its type.
    fn counter(&mut self) -> u32 {
        self.scratch.of(ValType::I64)
    }

    /// Charges a region; at the entry of a function that counts in a local the fuel lies on the stack already.
    fn charge(&mut self, cost: u64, entry: bool) {
        if self.metering == Metering::Global {
            InstructionSink::new(&mut self.code).global_get(self.fuel);
        } else if !entry {
            let local = self.counter();
            InstructionSink::new(&mut self.code).local_get(local);
        }
        match self.one {
            None => self.subtract(cost),
            Some(one) => self.subtract_slowly(cost, one),
        }
        self.take();
    }

    /// Subtracts from the fuel on top of the stack.
    fn subtract(&mut self, cost: u64) {
        let cost = i64::try_from(cost).expect("a body has few operators");
        InstructionSink::new(&mut self.code).i64_const(cost).i64_sub();
    }

    /// The same in pieces, with operations that take time in proportion; `one` is the global.
    fn subtract_slowly(&mut self, mut cost: u64, one: u32) {
        loop {
            let piece = cost.min(PIECE);
            cost -= piece;
            if piece <= SMALL {
                self.subtract(piece);
            } else if piece <= HALF {
                self.subtract(piece - 1);
                InstructionSink::new(&mut self.code).global_get(one).i64_sub();
            } else {
                self.subtract(piece);
                InstructionSink::new(&mut self.code).global_get(one).i64_mul();
            }
            if cost == 0 {
                return;
            }
        }
    }

    /// Charges the bytes that a bulk operator is about to move; their number is on top of the stack.
    fn charge_bulk(&mut self) {
        let bytes = self.scratch.of(ValType::I32);
        InstructionSink::new(&mut self.code).local_tee(bytes);
        if self.metering == Metering::Global {
            InstructionSink::new(&mut self.code).global_get(self.fuel);
        } else {
            let local = self.counter();
            InstructionSink::new(&mut self.code).local_get(local);
        }
        InstructionSink::new(&mut self.code)
            .local_get(bytes)
            .i64_extend_i32_u()
            .i64_const(BULK_SHIFT)
            .i64_shr_u()
            .i64_sub();
        self.take();
    }

    /// Keeps the fuel on top of the stack, and stops when it is below zero.
    fn take(&mut self) {
        let (fuel, spent) = (self.fuel, self.depth + 1);
        match self.metering {
            Metering::Global => {
                InstructionSink::new(&mut self.code)
                    .global_set(fuel)
                    .global_get(fuel)
                    .i64_const(0)
                    .i64_lt_s()
                    .if_(wasm_encoder::BlockType::Empty)
                    .unreachable()
                    .end();
            }
            Metering::Local => {
                let local = self.counter();
                InstructionSink::new(&mut self.code)
                    .local_tee(local)
                    .i64_const(0)
                    .i64_lt_s()
                    .br_if(spent);
            }
        }
    }

    /// Closes the function, whose own `end` has been written.
    fn leave(&mut self) {
        if self.metering == Metering::Local {
            let (fuel, local) = (self.fuel, self.counter());
            InstructionSink::new(&mut self.code)
                .local_get(local)
                .global_set(fuel)
                .return_()
                .end()
                .local_get(local)
                .global_set(fuel)
                .unreachable()
                .end();
        }
    }
}
