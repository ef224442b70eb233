//! All orchestration, as a library.
