//! Compiles the protocol with a protobuf compiler written in Rust.

use prost::Message;
use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=starling");
    let sources = ["grid", "head", "hold", "jobs", "log", "peers"]
        .map(|name| format!("starling/v1/{name}.proto"));
    let files = protox::compile(sources, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("starling.v1.bin"), files.encode_to_vec())?;
    let server = env::var_os("CARGO_FEATURE_SERVER").is_some();
    tonic_prost_build::configure()
        .build_transport(false)
        .build_server(server)
        .bytes(".")
        .compile_fds(files)?;
    Ok(())
}
