//! What the compiler says to users when types do not fit: see `tests/messages.rs`.
