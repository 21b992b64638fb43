//! Cuts a function into regions and counts what each of them costs.
//!
//! A function is made of stretches: its whole, the turns of its loops and, by contract 2, whatever a branch may skip. A
//! stretch that is skippable and small belongs to the region of the stretch around it; any other is a region of its own,
//! which is charged where it begins.

use crate::contract::Contract;
use wasmparser::{Operator, OperatorsReader};

/// Operators that a region may hold which some way through it skips: so few that charging them apart would cost more
/// than they do.
const SKIPPED_MAX: u64 = 64;

/// What a function is charged, and where.
#[derive(Debug, Default)]
pub(crate) struct Charges {
    /// When it is entered.
    pub(crate) entry: u64,
    /// By index, ascending, of the operators behind which there is a charge.
    pub(crate) behind: Vec<(u32, u64)>,
}

/// Why a stretch is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// It is the function.
    Whole,
    /// It is the body of a loop; whether a branch leads back.
    Loop { turns: bool },
    /// Some way through the stretch around it leaves it out.
    Skippable,
}

#[derive(Debug)]
struct Stretch {
    kind: Kind,
    /// Index of the operator behind which it begins; none is behind the last of 2^32.
    behind: u32,
    /// The stretch in which it begins, which comes before it.
    around: usize,
    /// Operators, without those of stretches that begin in it.
    operators: u64,
}

/// An open block.
#[derive(Debug)]
struct Block {
    /// The stretch that goes on in it.
    stretch: usize,
    /// The stretch of its turns, if it is a loop.
    turns: Option<usize>,
    /// Whether it can be reached at all.
    reached: bool,
    /// Whether what comes next in it can be reached.
    live: bool,
    /// Whether a branch in it leads beyond its end, so that what follows the end is skipped.
    left: bool,
    /// Whether what follows its end stops the kernel, so that a branch there skips nothing.
    fatal: bool,
}

/// Reads the operators of one function.
#[derive(Debug)]
pub(crate) struct Counter {
    contract: Contract,
    stretches: Vec<Stretch>,
    /// The function's own block first.
    open: Vec<Block>,
    /// For each block that is to be opened yet, in their order, whether what follows its end stops the kernel.
    fatal: std::vec::IntoIter<bool>,
}

impl Counter {
    /// For a function whose operators `reader` reads, which need not be valid yet.
    pub(crate) fn new(contract: Contract, reader: OperatorsReader<'_>) -> Self {
        let whole = Stretch { kind: Kind::Whole, behind: 0, around: 0, operators: 0 };
        let body =
            Block { stretch: 0, turns: None, reached: true, live: true, left: false, fatal: false };
        let fatal = if contract == Contract::One { Vec::new() } else { fatal(reader) };
        Self { contract, stretches: vec![whole], open: vec![body], fatal: fatal.into_iter() }
    }

    /// Blocks that are open inside the function.
    pub(crate) fn nesting(&self) -> usize {
        self.open.len().saturating_sub(1)
    }

    /// Counts the next operator of a valid function. What opens a block belongs to what is around it, what closes it to
    /// what is in it.
    pub(crate) fn count(&mut self, index: u32, operator: &Operator<'_>) {
        let block = self.open.last_mut().expect("the function's block is open until its end");
        let (live, around) = (block.live, block.stretch);
        if live {
            self.stretches[around].operators += 1;
        }
        match operator {
            Operator::Block { .. } => self.push(around, None, live),
            Operator::If { .. } => {
                let arm = self.skippable(index, around, live);
                self.push(arm, None, live);
            }
            Operator::Loop { .. } if live => {
                let turns = self.contract == Contract::One;
                let body = self.begin(Kind::Loop { turns }, index, around);
                self.push(body, Some(body), live);
            }
            Operator::Loop { .. } => self.push(around, None, live),
            Operator::Else => {
                let reached = self.last().reached;
                let around = self.open[self.open.len() - 2].stretch;
                let arm = self.skippable(index, around, reached);
                let block = self.last();
                (block.stretch, block.live) = (arm, reached);
            }
            Operator::End => self.close(index),
            _ if self.contract == Contract::One || !live => {}
            Operator::BrIf { relative_depth } => {
                let stretch = match self.branch(*relative_depth) {
                    true => self.skippable(index, around, live),
                    false => self.last().stretch,
                };
                self.last().stretch = stretch;
            }
            Operator::Br { relative_depth } => {
                self.branch(*relative_depth);
                self.last().live = false;
            }
            Operator::BrTable { targets } => {
                self.branch(targets.default());
                for target in targets.targets() {
                    self.branch(target.expect("the function is valid"));
                }
                self.last().live = false;
            }
            Operator::Return => {
                self.open.iter_mut().for_each(|block| block.left = true);
                self.last().live = false;
            }
            Operator::Unreachable => self.last().live = false,
            _ => {}
        }
    }

    /// What the function is charged.
    pub(crate) fn charges(mut self) -> Charges {
        // A loop that nothing leads back to runs once, with what is around it.
        for index in (1..self.stretches.len()).rev() {
            let Stretch { kind, around, operators, .. } = self.stretches[index];
            if kind == (Kind::Loop { turns: false }) {
                self.stretches[around].operators += operators;
                self.stretches[index].operators = 0;
            }
        }
        let mut charges = Charges::default();
        // Of each region: its position in the charges, the function's being none, and what it holds that may be skipped.
        let mut regions = vec![(None, 0)];
        let mut region_of = vec![0; self.stretches.len()];
        charges.entry = self.stretches[0].operators;
        for (index, stretch) in self.stretches.iter().enumerate().skip(1) {
            let region = region_of[stretch.around];
            let (position, skipped) = &mut regions[region];
            let own = match stretch.kind {
                Kind::Whole => false,
                Kind::Loop { turns } => turns,
                Kind::Skippable => SKIPPED_MAX < *skipped + stretch.operators,
            };
            if own {
                region_of[index] = regions.len();
                regions.push((Some(charges.behind.len()), 0));
                charges.behind.push((stretch.behind, stretch.operators));
                continue;
            }
            region_of[index] = region;
            if stretch.kind == Kind::Skippable {
                *skipped += stretch.operators;
            }
            let cost = position.map_or(&mut charges.entry, |at| &mut charges.behind[at].1);
            *cost += stretch.operators;
        }
        charges
    }

    fn last(&mut self) -> &mut Block {
        self.open.last_mut().expect("the function's block is open until its end")
    }

    fn push(&mut self, stretch: usize, turns: Option<usize>, live: bool) {
        // There are as many as the function has blocks, unless it has turned out to be invalid.
        let fatal = self.fatal.next().unwrap_or(false);
        self.open.push(Block { stretch, turns, reached: live, live, left: false, fatal });
    }

    fn begin(&mut self, kind: Kind, behind: u32, around: usize) -> usize {
        self.stretches.push(Stretch { kind, behind, around, operators: 0 });
        self.stretches.len() - 1
    }

    /// The stretch that goes on behind an operator after which a branch may go elsewhere.
    fn skippable(&mut self, behind: u32, around: usize, live: bool) -> usize {
        if self.contract == Contract::One || !live {
            return around;
        }
        self.begin(Kind::Skippable, behind, around)
    }

    /// Notes a branch to the block so many outside the innermost; whether it skips anything.
    fn branch(&mut self, depth: u32) -> bool {
        let inside = depth as usize;
        let target = self.open.len() - 1 - inside;
        if self.open[target].fatal && self.open[target].turns.is_none() {
            return false;
        }
        self.open.iter_mut().skip(target + 1).for_each(|block| block.left = true);
        if let Some(stretch) = self.open[target].turns {
            self.stretches[stretch].kind = Kind::Loop { turns: true };
        }
        true
    }

    fn close(&mut self, index: u32) {
        let closed = self.open.pop().expect("the function's block is open until its end");
        let Some(&Block { stretch: around, live, .. }) = self.open.last() else { return };
        if closed.left {
            self.last().stretch = self.skippable(index, around, live);
        }
    }
}

/// For each block of a function, in the order in which they open, whether what follows its end reaches `unreachable` before
/// any other operator of control.
fn fatal(mut operators: OperatorsReader<'_>) -> Vec<bool> {
    let (mut fatal, mut open) = (Vec::new(), Vec::new());
    // Blocks whose end has come since the last operator of control.
    let mut ended = Vec::new();
    // Where the function is not valid that is found out later.
    while let Ok(operator) = operators.read() {
        match operator {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                ended.clear();
                open.push(fatal.len());
                fatal.push(false);
            }
            Operator::End => ended.extend(open.pop()),
            Operator::Unreachable => ended.drain(..).for_each(|block: usize| fatal[block] = true),
            Operator::Else
            | Operator::Br { .. }
            | Operator::BrIf { .. }
            | Operator::BrTable { .. }
            | Operator::Return => ended.clear(),
            _ => {}
        }
    }
    fatal
}
