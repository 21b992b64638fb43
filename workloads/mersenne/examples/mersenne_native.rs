//! The kernel as native code: `cargo run --release -p mersenne --example mersenne_native -- PARAMS [INPUT...]`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    starling_sdk::native::program::<mersenne::Mersenne>()
}
