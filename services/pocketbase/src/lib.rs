//! The pocketbase service.
