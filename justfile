# `just NAME`: short names for commands that can be typed as well. What a submission must pass is .ci/run.

# Formatting, lints and documentation, as in .ci/run.
check: && docs
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings

# All tests whose names contain NAME.
test NAME="":
    cargo test --workspace --locked {{NAME}}

# One simulated world.
sim SEED:
    cargo run --release --locked -p tests --bin simulate seed {{SEED}}

# One bench, with what it takes behind its name.
bench NAME *ARGUMENTS:
    cargo bench --locked -p tests --bench {{NAME}} -- {{ARGUMENTS}}

# Documentation of all crates, private items too.
docs:
    RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --document-private-items --locked
