//! Randomness from the operating system, for keys, tokens and nonces. The tracker draws its samples by itself: they are no
//! secret.

/// 32 random bytes.
#[must_use]
pub(crate) fn bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    rand::rngs::SysRng
        .try_fill_bytes(&mut bytes)
        .expect("the operating system gives randomness, or nothing is safe");
    bytes
}

/// A bearer token of 256 random bits, in letters and digits.
#[must_use]
pub(crate) fn token() -> String {
    format!("st-{}", data_encoding::BASE32_NOPAD.encode(&bytes()).to_lowercase())
}

use rand::TryRng as _;
