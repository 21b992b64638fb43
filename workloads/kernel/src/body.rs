//! Reads one function: validates it, counts what each of its regions costs, and finds what the passes
//! must do in it.

use crate::contract::Contract;
use crate::limits::{self, check_in};
use crate::module::Module;
use crate::operators::forbidden;
use crate::refusal::{Refusal, shorten};
use crate::regions::{Charges, Counter};
use crate::vectors::Flow;
use wasmparser::{
    BinaryReaderError, FrameKind, FuncValidator, FunctionBody, Operator, OperatorsReader,
    ValidatorResources,
};

/// What the passes need of a valid function within the limits.
#[derive(Debug)]
pub(crate) struct Body<'a> {
    /// Index of the function, imports counted.
    pub(crate) function: u32,
    pub(crate) code: FunctionBody<'a>,
    /// What it is charged, and where.
    pub(crate) charges: Charges,
    /// Indices, ascending, of the operators whose vector must be made canonical at once.
    pub(crate) visible_vectors: Vec<u32>,
    /// Locals, parameters counted.
    pub(crate) locals: u32,
    /// Deepest nesting of blocks.
    pub(crate) nesting: u64,
    /// Loops.
    pub(crate) loops: u64,
    /// Ends of blocks and ifs.
    pub(crate) joins: u64,
}

impl<'a> Body<'a> {
    /// Reads a function of `module`, of which everything before the code is known.
    pub(crate) fn read(
        module: &Module<'a>,
        validator: &mut FuncValidator<ValidatorResources>,
        code: FunctionBody<'a>,
        contract: Contract,
    ) -> Result<Self, Refusal> {
        let function = validator.index();
        let invalid = |error: BinaryReaderError| Refusal::InvalidCode {
            message: shorten(error.message()),
            place: module.place(function, error.offset()),
        };
        let mut reader = code.get_binary_reader();
        validator.read_locals(&mut reader).map_err(invalid)?;
        let locals = validator.len_locals();
        let start = code.range().start;
        let place = |offset| move || Some(module.place(function, offset));
        check_in("locals", u64::from(locals), limits::LOCALS_MAX, place(start))?;

        let mut body = Self {
            function,
            code,
            charges: Charges::default(),
            visible_vectors: Vec::new(),
            locals,
            nesting: 0,
            loops: 0,
            joins: 0,
        };
        let mut flow = Flow::default();
        let mut operators = OperatorsReader::new(reader);
        let mut counter = Counter::new(contract, operators.clone());
        for index in 0u32.. {
            if operators.eof() {
                break;
            }
            let (operator, offset) = operators.read_with_offset().map_err(invalid)?;
            if let Some(what) = forbidden(&operator) {
                return Err(Refusal::Forbidden { what, place: place(offset)() });
            }
            if let Operator::BrTable { targets } = &operator {
                let n_targets = u64::from(targets.len());
                let max = limits::BRANCH_TABLE_MAX;
                check_in("targets of a br_table", n_targets, max, place(offset))?;
            }
            flow.before(index, &operator, validator);
            let ends = validator.get_control_frame(0).map(|frame| frame.kind);
            validator.op(offset, &operator).map_err(invalid)?;
            flow.after(validator);
            counter.count(index, &operator);
            body.measure(counter.nesting(), &operator, ends);
            check_in("nesting of blocks", body.nesting, limits::NESTING_MAX, place(offset))?;
        }
        operators.finish().map_err(invalid)?;
        body.visible_vectors = flow.visible();
        body.charges = counter.charges();
        let (loops, joins) = (body.loops_times_locals(), body.joins_times_locals());
        check_in("loops times locals", loops, limits::LOOPS_TIMES_LOCALS_MAX, place(start))?;
        check_in("joins times locals", joins, limits::JOINS_TIMES_LOCALS_MAX, place(start))?;
        Ok(body)
    }

    /// Loops times locals.
    pub(crate) fn loops_times_locals(&self) -> u64 {
        self.loops * u64::from(self.locals)
    }

    /// Ends of blocks and ifs, times locals.
    pub(crate) fn joins_times_locals(&self) -> u64 {
        self.joins * u64::from(self.locals)
    }

    /// Notes what limits are on, once an operator has been counted after which so many blocks are open.
    fn measure(&mut self, open: usize, operator: &Operator<'_>, ends: Option<FrameKind>) {
        match operator {
            Operator::Loop { .. } => self.loops += 1,
            Operator::End => self.joins += u64::from(ends != Some(FrameKind::Loop)),
            _ => {}
        }
        self.nesting = self.nesting.max(open as u64);
    }
}
