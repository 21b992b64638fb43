//! Finds the vectors of floats whose bits become visible.
//!
//! A vector has no shape of its own, so that its NaNs must be made canonical where arithmetic makes it,
//! unless it flows only into arithmetic of the same shape. [`Flow`] follows each vector over the operand
//! stack and through locals; a local counts as one place for the whole function, and what crosses the
//! end of a block, a branch or a call counts as visible.

use crate::operators::{Shape, Vectors, vector_arithmetic};
use std::collections::{BTreeMap, BTreeSet};
use wasmparser::{BlockType, FuncValidator, Operator, ValType, ValidatorResources};

/// What lies on the operand stack.
#[derive(Clone, Copy, Debug)]
enum Value {
    /// No vector, or one whose bits are the same everywhere.
    Other,
    /// What the arithmetic operator of this index made.
    Made { by: u32, shape: Shape },
    /// What was read from a local.
    Local(u32),
}

/// How the vectors of a local are used: a set of the three bits below.
type Uses = u8;
const AS_F32X4: Uses = 1;
const AS_F64X2: Uses = 2;
const VISIBLE: Uses = 4;

const fn as_shape(shape: Shape) -> Uses {
    match shape {
        Shape::F32x4 => AS_F32X4,
        Shape::F64x2 => AS_F64X2,
    }
}

/// Follows the vectors of one function.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// As high as the validator's operand stack between operators.
    stack: Vec<Value>,
    /// How each local is used, as far as known.
    uses: BTreeMap<u32, Uses>,
    /// By target, the locals that are copied to it.
    copies: BTreeMap<u32, Vec<u32>>,
    /// What arithmetic puts into locals: operator, shape, local.
    kept: Vec<(u32, Shape, u32)>,
    visible: BTreeSet<u32>,
}

impl Flow {
    /// Takes an operator's operands; called before the validator sees it.
    pub(crate) fn before(
        &mut self,
        index: u32,
        operator: &Operator<'_>,
        validator: &FuncValidator<ValidatorResources>,
    ) {
        let base = validator.get_control_frame(0).map_or(0, |frame| frame.height);
        if let Some(Vectors { operands, reads, makes }) = vector_arithmetic(operator) {
            for _ in 0..operands {
                let value = self.pop(base);
                self.used(value, as_shape(reads));
            }
            self.stack.push(makes.map_or(Value::Other, |shape| Value::Made { by: index, shape }));
            return;
        }
        let is_vector = |local: u32| validator.get_local_type(local) == Some(ValType::V128);
        match *operator {
            Operator::LocalGet { local_index } if is_vector(local_index) => {
                self.stack.push(Value::Local(local_index));
            }
            Operator::LocalSet { local_index } => {
                let value = self.pop(base);
                self.set(value, local_index);
            }
            Operator::LocalTee { local_index } if is_vector(local_index) => {
                let value = self.pop(base);
                self.set(value, local_index);
                self.stack.push(Value::Local(local_index));
            }
            Operator::Drop => {
                self.pop(base);
            }
            Operator::Block { blockty } | Operator::Loop { blockty }
                if !matches!(blockty, BlockType::FuncType(_)) => {}
            // What `if` takes besides the condition stays, unless its type says otherwise.
            Operator::If { blockty } if !matches!(blockty, BlockType::FuncType(_)) => {
                self.pop(base);
            }
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::Else
            | Operator::End
            | Operator::Br { .. }
            | Operator::BrIf { .. }
            | Operator::BrTable { .. }
            | Operator::Return
            | Operator::Unreachable => self.show_above(base),
            _ => match operator.operator_arity(validator) {
                Some((operands, _)) => {
                    for _ in 0..operands {
                        let value = self.pop(base);
                        self.used(value, VISIBLE);
                    }
                }
                None => self.show_above(base),
            },
        }
    }

    /// Follows the validator's stack; called after the validator has seen the operator. What it took is
    /// gone or shown by now, so that nothing is lost of what lies higher.
    pub(crate) fn after(&mut self, validator: &FuncValidator<ValidatorResources>) {
        let height = usize::try_from(validator.operand_stack_height()).unwrap_or(usize::MAX);
        self.stack.resize(height, Value::Other);
    }

    /// Indices, ascending, of the operators whose vectors' bits become visible.
    pub(crate) fn visible(mut self) -> Vec<u32> {
        let mut changed: Vec<u32> = self.uses.keys().copied().collect();
        while let Some(target) = changed.pop() {
            let uses = self.uses.get(&target).copied().unwrap_or(0);
            for source in self.copies.get(&target).into_iter().flatten() {
                let source_uses = self.uses.entry(*source).or_insert(0);
                if *source_uses | uses != *source_uses {
                    *source_uses |= uses;
                    changed.push(*source);
                }
            }
        }
        for (by, shape, local) in self.kept {
            let uses = self.uses.get(&local).copied().unwrap_or(0);
            if uses & !as_shape(shape) != 0 {
                self.visible.insert(by);
            }
        }
        self.visible.into_iter().collect()
    }

    /// Takes the top of the innermost block's stack; in unreachable code there may be nothing on it.
    fn pop(&mut self, base: usize) -> Value {
        if base < self.stack.len() {
            self.stack.pop().unwrap_or(Value::Other)
        } else {
            Value::Other
        }
    }

    fn used(&mut self, value: Value, uses: Uses) {
        match value {
            Value::Other => {}
            Value::Made { by, shape } => {
                if uses & !as_shape(shape) != 0 {
                    self.visible.insert(by);
                }
            }
            Value::Local(local) => *self.uses.entry(local).or_insert(0) |= uses,
        }
    }

    fn set(&mut self, value: Value, local: u32) {
        match value {
            Value::Other => {}
            Value::Made { by, shape } => self.kept.push((by, shape, local)),
            Value::Local(from) => self.copies.entry(local).or_default().push(from),
        }
    }

    fn show_above(&mut self, base: usize) {
        for position in base..self.stack.len() {
            let value = std::mem::replace(&mut self.stack[position], Value::Other);
            self.used(value, VISIBLE);
        }
    }
}
