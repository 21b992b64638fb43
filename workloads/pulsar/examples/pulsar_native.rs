//! The kernel as native code: `cargo run --release -p pulsar --example pulsar_native -- PARAMS [INPUT...]`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    starling_sdk::native::program::<pulsar::Pulsar>()
}
