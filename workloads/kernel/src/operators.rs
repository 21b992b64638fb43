//! What the passes need to know of single operators.

use wasmparser::{Operator, ValType};

/// Names an operator that is valid but not admissible: after it memory and globals would not be the
/// whole state.
pub(crate) fn forbidden(operator: &Operator<'_>) -> Option<&'static str> {
    Some(match operator {
        Operator::TableInit { .. } => "table.init",
        Operator::TableCopy { .. } => "table.copy",
        Operator::TableFill { .. } => "table.fill",
        Operator::TableGrow { .. } => "table.grow",
        Operator::TableSet { .. } => "table.set",
        Operator::ElemDrop { .. } => "elem.drop",
        Operator::DataDrop { .. } => "data.drop",
        _ => return None,
    })
}

/// Whether an operator takes a number of bytes from the top of the stack.
pub(crate) fn is_bulk(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::MemoryCopy { .. } | Operator::MemoryFill { .. } | Operator::MemoryInit { .. }
    )
}

/// The scalar float on top of the stack whose bits an operator makes visible: to integers, to memory,
/// to vectors, to another float's sign.
///
/// Besides these only an exported global shows bits ([`crate::prepare()`] looks at its type): calls,
/// locals and blocks keep floats as floats, and no host function takes one.
pub(crate) fn shows_scalar(operator: &Operator<'_>) -> Option<ValType> {
    match operator {
        Operator::F32Store { .. }
        | Operator::I32ReinterpretF32
        | Operator::F32Copysign
        | Operator::F32x4Splat
        | Operator::F32x4ReplaceLane { .. } => Some(ValType::F32),
        Operator::F64Store { .. }
        | Operator::I64ReinterpretF64
        | Operator::F64Copysign
        | Operator::F64x2Splat
        | Operator::F64x2ReplaceLane { .. } => Some(ValType::F64),
        _ => None,
    }
}

/// Whether the scalar float that an operator leaves has the same bits everywhere.
pub(crate) fn leaves_exact_scalar(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::F32Load { .. }
            | Operator::F64Load { .. }
            | Operator::F32Const { .. }
            | Operator::F64Const { .. }
            | Operator::F32ReinterpretI32
            | Operator::F64ReinterpretI64
            | Operator::F32ConvertI32S
            | Operator::F32ConvertI32U
            | Operator::F32ConvertI64S
            | Operator::F32ConvertI64U
            | Operator::F64ConvertI32S
            | Operator::F64ConvertI32U
            | Operator::F64ConvertI64S
            | Operator::F64ConvertI64U
    )
}

/// How a vector is cut into floats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// Four of 32 bits.
    F32x4,
    /// Two of 64 bits.
    F64x2,
}

/// What an operator does with vectors of floats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Vectors {
    /// Number of operands that it takes.
    pub(crate) operands: u32,
    /// How it reads them: their NaNs' bits have no influence but on a NaN's bits in what it makes.
    pub(crate) reads: Shape,
    /// The shape of the vector that it makes, whose NaNs may have any bits; none if it makes no such.
    pub(crate) makes: Option<Shape>,
}

/// What an operator does with vectors of floats, if it does arithmetic on them.
///
/// Not among them: `neg`, `abs`, `pmin` and `pmax`, which the specification defines bit by bit, and
/// everything for which vectors are no floats. Those show bits.
pub(crate) fn vector_arithmetic(operator: &Operator<'_>) -> Option<Vectors> {
    use Shape::{F32x4, F64x2};
    let (operands, reads, makes) = match operator {
        Operator::F32x4Add
        | Operator::F32x4Sub
        | Operator::F32x4Mul
        | Operator::F32x4Div
        | Operator::F32x4Min
        | Operator::F32x4Max => (2, F32x4, Some(F32x4)),
        Operator::F64x2Add
        | Operator::F64x2Sub
        | Operator::F64x2Mul
        | Operator::F64x2Div
        | Operator::F64x2Min
        | Operator::F64x2Max => (2, F64x2, Some(F64x2)),
        Operator::F32x4Sqrt
        | Operator::F32x4Ceil
        | Operator::F32x4Floor
        | Operator::F32x4Trunc
        | Operator::F32x4Nearest => (1, F32x4, Some(F32x4)),
        Operator::F64x2Sqrt
        | Operator::F64x2Ceil
        | Operator::F64x2Floor
        | Operator::F64x2Trunc
        | Operator::F64x2Nearest => (1, F64x2, Some(F64x2)),
        Operator::F32x4DemoteF64x2Zero => (1, F64x2, Some(F32x4)),
        Operator::F64x2PromoteLowF32x4 => (1, F32x4, Some(F64x2)),
        Operator::F32x4Eq
        | Operator::F32x4Ne
        | Operator::F32x4Lt
        | Operator::F32x4Gt
        | Operator::F32x4Le
        | Operator::F32x4Ge => (2, F32x4, None),
        Operator::F64x2Eq
        | Operator::F64x2Ne
        | Operator::F64x2Lt
        | Operator::F64x2Gt
        | Operator::F64x2Le
        | Operator::F64x2Ge => (2, F64x2, None),
        Operator::I32x4TruncSatF32x4S
        | Operator::I32x4TruncSatF32x4U
        | Operator::F32x4ExtractLane { .. } => (1, F32x4, None),
        Operator::I32x4TruncSatF64x2SZero
        | Operator::I32x4TruncSatF64x2UZero
        | Operator::F64x2ExtractLane { .. } => (1, F64x2, None),
        _ => return None,
    };
    Some(Vectors { operands, reads, makes })
}

/// The name of the proposal that brought an operator, as wasmparser has it.
pub(crate) fn proposal(operator: &Operator<'_>) -> &'static str {
    macro_rules! names {
        ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
            match operator {
                $(Operator::$op { .. } => stringify!($proposal),)*
                _ => "unknown",
            }
        };
    }
    wasmparser::for_each_operator!(names)
}
