//! How to guard an SDK, reqwest, and any other future.
