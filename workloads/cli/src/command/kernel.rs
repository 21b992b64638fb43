//! `starling kernel`: makes, builds and checks kernels.

mod build;
mod check;
mod new;

use super::Context;
use crate::args::Kernel;
use crate::error::Error;

pub(super) fn run(args: Kernel, context: &Context) -> Result<(), Error> {
    match args {
        Kernel::New { name } => new::run(&name, context.output),
        Kernel::Build { path } => build::run(&path, context.output),
        Kernel::Check(args) => check::run(args, context.output),
    }
}
