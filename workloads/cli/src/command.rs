//! Takes the command line apart and runs what it says.

mod audit;
mod cancel;
#[cfg(feature = "demo")]
mod demo;
mod evidence;
mod fetch;
mod jobs;
mod kernel;
mod login;
mod logs;
mod pulsar;
mod receipt;
mod seti;
mod source;
mod submit;
mod try_out;
mod verify;
mod view;
mod watch;
mod why;

use crate::args::{Cli, Command};
use crate::client::Client;
use crate::error::Error;
use crate::output::{self, Output};
use crate::profile::{self, Profile};
use clap::{CommandFactory, Parser};
use std::path::PathBuf;
use std::process::ExitCode;

/// What all commands share.
#[derive(Debug)]
struct Context {
    output: Output,
    profile: Option<PathBuf>,
}

impl Context {
    fn profile_path(&self) -> Result<PathBuf, Error> {
        self.profile.clone().map_or_else(profile::default_path, Ok)
    }

    async fn connect(&self) -> Result<Client, Error> {
        Client::connect(Profile::load(&self.profile_path()?)?).await
    }
}

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|verb| verb == sandbox::CHILD_VERB) {
        return sandbox::child_main();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) => return program::output::arguments(&said),
    };
    // What the parts of a demo log is for who asks for it.
    program::log::start("off");
    let output = Output::new(cli.output);
    let context = Context { output, profile: cli.profile };
    match run(cli.command, &context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(command: Command, context: &Context) -> Result<(), Error> {
    match command {
        Command::Kernel(args) => kernel::run(args, context),
        Command::Try(args) => try_out::run(args, context),
        Command::Pulsar(args) => pulsar::run(args, context),
        Command::Seti(args) => seti::run(args, context),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "starling", &mut script);
            output::raw(&script)
        }
        command => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
            let runtime =
                runtime.map_err(|error| Error::Failed(format!("could not start: {error}")))?;
            let result = runtime.block_on(run_async(command, context));
            runtime.shutdown_background();
            result
        }
    }
}

async fn run_async(command: Command, context: &Context) -> Result<(), Error> {
    match command {
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::run(args, context).await,
        Command::Login(args) => login::run(args, context).await,
        Command::Submit(args) => submit::run(args, context).await,
        Command::Jobs => jobs::run(context).await,
        Command::Watch(args) => watch::run(args.job, context).await,
        Command::Why(args) => why::run(args.of.get()?, context).await,
        Command::Logs(args) => logs::run(args, context).await,
        Command::Fetch(args) => fetch::run(args, context).await,
        Command::Cancel(args) => cancel::run(&args, context).await,
        Command::Receipt(args) => receipt::run(args, context).await,
        Command::Evidence(args) => evidence::run(args, context).await,
        Command::Verify(args) => verify::run(args, context).await,
        Command::Audit(args) => audit::run(args, context).await,
        Command::Kernel(_)
        | Command::Try(_)
        | Command::Pulsar(_)
        | Command::Seti(_)
        | Command::Completions { .. } => Ok(()),
    }
}
