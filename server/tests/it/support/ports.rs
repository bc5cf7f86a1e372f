//! Ports for processes that must come back at the same address.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which the system takes ports for outgoing connections (32,768 on Linux), so that none of those
/// can sit on a port between a process's death and its return.
const LOWEST: u16 = 20_000;
const COUNT: u16 = 12_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// Ports that nobody listens on; no other call gives them.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    std::array::from_fn(|_| free_port())
}

fn free_port() -> u16 {
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap();
    for _ in 0..COUNT {
        let place = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = LOWEST + (start.wrapping_add(place)) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {LOWEST} to {}", LOWEST + COUNT);
}
