//! The nats service.
