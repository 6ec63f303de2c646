//! Random secrets of an installation.

/// Returns a random secret of 64 hexadecimal digits.
pub fn secret() -> String {
    secret_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn secret_bytes() -> [u8; 32] {
    rand::random()
}
